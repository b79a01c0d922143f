// Connections that go on while nobody wants them any more, and ends with something missing, as a tracker sees them.
#include "tracker.h"

#include "scene.h"
#include "tap.h"

using namespace scene;

namespace {

constexpr uint8_t PUSH = 0x08 | TCP_ACK;
constexpr uint8_t END = TCP_FIN | TCP_ACK;

void muting()
{
	FlowKey key;
	tap::test("of a muted connection nothing is told until it begins a request, with which it is another", [&] {
		Scene s;
		s.shake_hands();
		s.to(PUSH, 1001, "GET /1");
		HOLDS(s.tracker.mute(1, &key, s.now));
		EQUAL(key.peer_port, uint16_t{40000});
		s.to(PUSH, 1007, "no request");
		s.to(PUSH, 9000, "behind what the kernel has left out");
		EQUAL(s.tracker.take_unmuted().size(), size_t{0});
		s.to(PUSH, 9035, "POST /2");
		s.to(PUSH, 9042, " and on");
		EQUAL(s.lines.take(), "1open 1>GET /1 2middle 2>POST /2 2> and on");
		std::vector<FlowKey> unmuted = s.tracker.take_unmuted();
		EQUAL(unmuted.size(), size_t{1});
		HOLDS(unmuted.at(0) == key);
	});
	tap::test("a muted connection gives back what it held, and leaves with its second FIN or a RST", [&] {
		Scene s;
		for (uint16_t port : {1, 2}) {
			s.shake_hands(port);
			s.to(PUSH, 1004, "held", port);
			HOLDS(s.tracker.mute(port, &key, s.now));
		}
		EQUAL(s.tracker.held_bytes(), size_t{0});
		s.pass(1);
		HOLDS(!s.tracker.has_holes());
		s.to(END, 5000, "", 1);
		EQUAL(s.tracker.flows(), size_t{2});
		s.from(END, 9000, 5001, "", 1);
		s.from(TCP_RST, 9000, 0, "", 2);
		EQUAL(s.tracker.flows(), size_t{0});
		EQUAL(s.lines.take(), "1open 2open");
	});
	tap::test("who subscribes to its port may have a muted connection, as an older one", [&] {
		Scene s;
		s.shake_hands();
		HOLDS(s.tracker.mute(1, &key, s.now));
		s.tracker.set_port(PROTOCOL_TCP, 80, Tracker::WATCHED | Tracker::FROM_ANYWHERE);
		s.to(PUSH, 1001, "anything");
		EQUAL(s.lines.take(), "1open 2middle 2>[0:7] 2>anything");
	});
	tap::test("a request that comes again behind the end of its copy is not copied again", [&] {
		Scene s;
		s.shake_hands();
		s.to(PUSH, 1001, "GET /1");
		HOLDS(s.tracker.mute(1, &key, s.now));
		s.pass(1'500);
		s.to(PUSH, 1001, "GET /1");
		EQUAL(s.lines.take(), "1open 1>GET /1");
		EQUAL(s.tracker.take_unmuted().size(), size_t{0});
		s.to(PUSH, 1007, "GET /2");
		EQUAL(s.lines.take(), "2middle 2>GET /2");
	});
	tap::test("what is not being copied cannot be muted", [&] {
		Scene s;
		s.datagram("one");
		HOLDS(!s.tracker.mute(1, &key, s.now));
		HOLDS(!s.tracker.mute(7, &key, s.now));
	});
}

} // namespace

int main()
{
	muting();
	tap::test("one whose end was lost can be ended: behind a gap of unknown size", [] {
		Scene s;
		s.shake_hands();
		s.lines.take();
		HOLDS(s.tracker.end_flow(1, s.now));
		EQUAL(s.lines.take(), "1>[0:1] 1idle");
		HOLDS(!s.tracker.end_flow(1, s.now));
		HOLDS(!s.tracker.end_flow(2, s.now));
		EQUAL(s.lines.take(), "");
	});
	tap::test("of one whose end was seen behind a hole the gap tells everything", [] {
		Scene s;
		s.shake_hands();
		s.to(TCP_ACK | TCP_FIN, 1004, "def");
		s.from(TCP_ACK | TCP_FIN, 5001, 1001);
		s.lines.take();
		HOLDS(!s.tracker.end_flow(1, s.now));
		EQUAL(s.lines.take(), "1>[3:3] 1>def 1>fin 1closed");
		s.to(TCP_SYN, 9000);
		s.from(TCP_SYN | TCP_ACK, 9500, 9001);
		s.to(TCP_ACK | TCP_FIN, 9004, "def");
		s.lines.take();
		HOLDS(s.tracker.end_flow(2, s.now));
	});
	tap::test("what a reset cuts off behind a hole the target has as little", [] {
		struct Case {
			uint64_t ring_losses;
			uint32_t reset_at;
			const char *lines;
		};
		for (Case one : {Case{0, 1007, "1open 1peer-reset"}, Case{0, 1001, "1open 1peer-reset"},
				 Case{0, 1020, "1open 1>[3:3] 1>def 1peer-reset"}, Case{0, 1000, "1open 1peer-reset"}, Case{1, 1007, "1open 1>[3:1] 1>def 1peer-reset"}}) {
			Scene s;
			s.now.ring_losses = one.ring_losses;
			s.shake_hands();
			s.to(PUSH, 1004, "def");
			s.to(TCP_RST, one.reset_at);
			s.pass(1'000);
			EQUAL(s.lines.take(), one.lines);
		}
		Scene s;
		s.shake_hands();
		s.to(PUSH, 1004, "def");
		s.from(TCP_RST | TCP_ACK, 5001, 1007);
		EQUAL(s.lines.take(), "1open 1>[3:3] 1>def 1target-reset");
	});
	tap::test("a reset that has overtaken what is before it ends nothing, until the one comes that the target takes", [] {
		Scene s;
		s.shake_hands();
		s.to(TCP_RST, 1007);
		s.pass(20);
		s.to(PUSH, 1001, "abcdef");
		EQUAL(s.lines.take(), "1open 1>abcdef");
		s.to(TCP_RST, 1007);
		EQUAL(s.lines.take(), "1peer-reset");
		HOLDS(s.tracker.has_holes());
		s.pass(1'000);
		EQUAL(s.lines.take(), "");
		HOLDS(!s.tracker.has_holes());
	});
	tap::test("what was on its way while its connection was reset is no other connection", [] {
		Scene s;
		s.shake_hands();
		s.from(TCP_RST | TCP_ACK, 5001, 1001);
		s.to(PUSH, 1001, "abc");
		s.pass(6'000);
		s.to(PUSH, 1004, "def");
		EQUAL(s.lines.take(), "1open 1target-reset");
		// Who goes on for longer is counted.
		s.pass(6'000);
		s.to(PUSH, 1007, "ghi");
		EQUAL(s.lines.take(), "2older:7");
	});
	return tap::done();
}
