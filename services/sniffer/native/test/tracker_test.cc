// The life of connections as a tracker sees it: each way to begin, to end, and to be mistaken for something else.
#include "tracker.h"

#include "scene.h"
#include "tap.h"

using namespace scene;

namespace {

constexpr uint8_t PUSH = 0x08 | TCP_ACK;
constexpr uint8_t END = TCP_FIN | TCP_ACK;

void beginnings()
{
	tap::test("a connection opens with the target's answer, not with the peer's wish", [] {
		Scene s;
		s.to(TCP_SYN, 1000);
		EQUAL(s.lines.take(), "");
		s.from(TCP_SYN | TCP_ACK, 5000, 1001);
		EQUAL(s.lines.take(), "1open");
		s.to(PUSH, 1001, "hello");
		EQUAL(s.lines.take(), "1>hello");
	});
	tap::test("a connection that the target refuses never was", [] {
		Scene s;
		s.to(TCP_SYN, 1000);
		s.from(TCP_RST | TCP_ACK, 0, 1001);
		EQUAL(s.lines.take(), "");
		EQUAL(s.tracker.counters().refused, uint64_t{1});
		EQUAL(s.tracker.flows(), size_t{0});
	});
	tap::test("SYN and SYN-ACK that come again open nothing again", [] {
		Scene s;
		s.to(TCP_SYN, 1000);
		s.to(TCP_SYN, 1000);
		s.shake_hands();
		s.from(TCP_SYN | TCP_ACK, 5000, 1001);
		EQUAL(s.lines.take(), "1open");
	});
	tap::test("data whose SYN-ACK was lost opens the connection", [] {
		Scene s;
		s.to(TCP_SYN, 1000);
		s.to(PUSH, 1001, "hello");
		EQUAL(s.lines.take(), "1open 1>hello");
	});
	tap::test("a SYN-ACK whose SYN was lost opens it from its first byte", [] {
		Scene s;
		s.from(TCP_SYN | TCP_ACK, 5000, 1001);
		s.to(PUSH, 1004, "def");
		s.to(PUSH, 1001, "abc");
		EQUAL(s.lines.take(), "1open 1>abc 1>def");
	});
	tap::test("both sides may open at once", [] {
		Scene s;
		s.to(TCP_SYN, 1000);
		s.from(TCP_SYN, 5000, 0);
		s.to(TCP_SYN | TCP_ACK, 1000);
		s.from(TCP_SYN | TCP_ACK, 5000, 1001);
		s.to(PUSH, 1001, "hello");
		EQUAL(s.lines.take(), "1open 1>hello");
	});
	tap::test("the target's own connection from a watched port is not copied", [] {
		Scene s;
		s.from(TCP_SYN, 5000, 0);
		s.to(TCP_SYN | TCP_ACK, 1000);
		s.to(PUSH, 1001, "an answer");
		s.from(PUSH, 5001, 1010, "a question");
		EQUAL(s.lines.take(), "");
	});
	tap::test("the target's own connection to a watched port elsewhere is not copied", [] {
		Scene s;
		Segment segment = s.make(Direction::TO_TARGET, TCP_SYN, 1000, 0, "", 40000);
		segment.is_outgoing = true;
		s.tracker.segment(segment, s.now);
		EQUAL(s.tracker.flows(), size_t{0});
	});
	tap::test("on loopback a packet counts once, on its way in", [] {
		Scene s;
		s.interface = 1;
		s.shake_hands();
		Segment segment = s.make(Direction::TO_TARGET, PUSH, 1001, 0, "hello", 40000);
		segment.is_outgoing = true;
		s.tracker.segment(segment, s.now);
		EQUAL(s.lines.take(), "1open");
		s.to(PUSH, 1001, "hello");
		EQUAL(s.lines.take(), "1>hello");
	});
	tap::test("on loopback between two watched ports the SYN says who is the target", [] {
		Scene s;
		s.interface = 1;
		s.tracker.set_port(PROTOCOL_TCP, 40000, Tracker::WATCHED);
		s.shake_hands();
		s.to(PUSH, 1001, "question");
		s.from(PUSH, 5001, 1009, "answer");
		EQUAL(s.lines.take(), "1open 1>question");
	});
	tap::test("a packet that two interfaces show is delivered once", [] {
		Scene s;
		s.shake_hands();
		s.to(PUSH, 1001, "hello");
		s.interface = 3;
		s.shake_hands();
		s.to(PUSH, 1001, "hello");
		EQUAL(s.lines.take(), "1open 1>hello");
	});
	tap::test("a port that nobody watches is not looked at", [] {
		Scene s;
		s.tracker.forget_port(PROTOCOL_TCP, 80, s.now);
		s.shake_hands();
		EQUAL(s.tracker.flows(), size_t{0});
	});
	tap::test("a port that is no longer watched ends its connections", [] {
		Scene s;
		s.shake_hands();
		s.tracker.forget_port(PROTOCOL_TCP, 80, s.now);
		EQUAL(s.lines.take(), "1open 1idle");
		EQUAL(s.tracker.flows(), size_t{0});
	});
}

void middles()
{
	tap::test("a connection from before is older, and tells at its end what it carried", [] {
		Scene s;
		s.to(PUSH, 7000, "the middle of something");
		s.to(PUSH, 7023, "more");
		s.to(END, 7027);
		EQUAL(s.lines.take(), "1older:7 1older-closed:27");
		s.to(PUSH, 7023, "more");
		EQUAL(s.lines.take(), "");
	});
	tap::test("what it carries is told whenever somebody asks, each byte once", [] {
		Scene s;
		s.to(PUSH, 7000, "the middle of something");
		s.lines.take();
		s.tracker.tell_older();
		EQUAL(s.lines.take(), "1older-bytes:23");
		s.tracker.tell_older();
		s.to(PUSH, 7023, "more");
		s.to(END, 7027);
		EQUAL(s.lines.take(), "1older-closed:4");
	});
	tap::test("it is joined where a request begins", [] {
		Scene s;
		s.to(PUSH, 7000, "the middle of something");
		s.to(PUSH, 7023, "GET / HTTP/1.1\r\n\r\n");
		EQUAL(s.lines.take(), "1older:7 1older-bytes:23 1middle 1>GET / HTTP/1.1\r\n\r\n");
	});
	tap::test("it is joined anywhere when that is wanted, behind a gap of unknown size", [] {
		Scene s(Tracker::FROM_ANYWHERE);
		s.to(PUSH, 7000, "middle");
		s.to(PUSH, 7006, "more");
		EQUAL(s.lines.take(), "1middle 1>[0:7] 1>middle 1>more");
	});
	tap::test("a keep-alive probe begins nothing", [] {
		Scene s;
		s.to(TCP_ACK, 7000, "x");
		s.to(TCP_ACK, 7000);
		EQUAL(s.tracker.flows(), size_t{0});
	});
	tap::test("a beginning that the ring has lost is not called older", [] {
		Scene s;
		s.now.ring_losses = 1;
		s.to(PUSH, 7000, "the middle of something");
		EQUAL(s.lines.take(), "1older:1");
	});
	tap::test("ciphertext before a redirect is left out, the plaintext on loopback wins", [] {
		struct Known final : Redirects {
			bool is_redirected(const FlowKey &key, uint64_t) override { return key.peer_port < 40002; }
		} known;
		Scene s;
		s.tracker.set_redirects(&known);
		s.shake_hands();
		s.to(PUSH, 1001, "GET cipher");
		s.to(PUSH, 9000, "GET older cipher", 40001);
		EQUAL(s.lines.take(), "");
		s.shake_hands(40002);
		s.to(PUSH, 1001, "direct", 40002);
		s.interface = 1;
		s.shake_hands(40001);
		s.to(PUSH, 1001, "plain", 40001);
		EQUAL(s.lines.take(), "3open 3>direct 4open 4>plain");
		EQUAL(s.tracker.counters().redirected, uint64_t{2});
	});
	tap::test("bytes with the SYN are delivered once, as the target takes them", [] {
		Scene s;
		s.to(TCP_SYN, 1000, "early");
		s.from(TCP_SYN | TCP_ACK, 5000, 1001);
		s.to(PUSH, 1001, "early");
		EQUAL(s.lines.take(), "1open 1>early");
	});
}

void ends()
{
	tap::test("FIN of both sides, in either order", [] {
		Scene s;
		s.shake_hands();
		s.to(END, 1001, "bye");
		s.from(END, 5001, 1005);
		EQUAL(s.lines.take(), "1open 1>bye 1>fin 1<fin 1closed");
		s.shake_hands(40001);
		s.from(END, 5001, 1001, "", 40001);
		s.to(END, 1001, "", 40001);
		EQUAL(s.lines.take(), "2open 2<fin 2>fin 2closed");
	});
	tap::test("after a half-close the other direction goes on", [] {
		Scene s(Tracker::ANSWERS);
		s.shake_hands();
		s.to(END, 1001, "all");
		s.from(PUSH, 5001, 1005, "answer");
		s.from(END, 5007, 1005);
		EQUAL(s.lines.take(), "1open 1>all 1>fin 1<answer 1<fin 1closed");
	});
	tap::test("RST of either side", [] {
		Scene s;
		s.shake_hands();
		s.to(TCP_RST, 1001);
		s.shake_hands(40001);
		s.from(TCP_RST | TCP_ACK, 5001, 1001, "", 40001);
		EQUAL(s.lines.take(), "1open 1peer-reset 2open 2target-reset");
	});
	tap::test("a RST of another time ends nothing", [] {
		Scene s;
		s.shake_hands();
		s.to(TCP_RST, 1001 + 0x50000000);
		s.to(PUSH, 1001, "alive");
		EQUAL(s.lines.take(), "1open 1>alive");
	});
	tap::test("what comes again after the end is nothing new", [] {
		Scene s;
		s.shake_hands();
		s.to(END, 1001, "bye");
		s.from(END, 5001, 1005);
		s.lines.take();
		s.to(END, 1001, "bye");
		s.from(END, 5001, 1005);
		EQUAL(s.lines.take(), "");
		s.pass(11'000);
		EQUAL(s.tracker.flows(), size_t{0});
	});
	tap::test("addresses that are used again are another connection", [] {
		Scene s;
		s.shake_hands();
		s.to(TCP_SYN, 900'000);
		s.from(TCP_SYN | TCP_ACK, 800'000, 900'001);
		s.to(PUSH, 900'001, "second");
		EQUAL(s.lines.take(), "1open 1idle 2open 2>second");
	});
	tap::test("of a connection with used addresses whose SYN was lost the bytes are counted", [] {
		Scene s;
		s.shake_hands();
		s.to(END, 1001);
		s.from(END, 5001, 1002);
		s.lines.take();
		s.to(PUSH, 90'000, "lost beginning");
		EQUAL(s.lines.take(), "2older:7");
	});
	tap::test("silence ends a connection after a day, datagrams after a minute", [] {
		Scene s;
		s.shake_hands();
		s.datagram("one");
		s.pass(60'000);
		EQUAL(s.lines.take(), "1open 2open 2>one 2idle");
		s.pass(24 * 3600'000);
		EQUAL(s.lines.take(), "1idle");
	});
}

void losses()
{
	tap::test("an acknowledgement of the target tells what the ring has lost", [] {
		Scene s;
		s.shake_hands();
		s.now.ring_losses++;
		s.to(PUSH, 1004, "def");
		HOLDS(s.tracker.has_holes());
		s.from(TCP_ACK, 5001, 1007);
		EQUAL(s.lines.take(), "1open 1>[3:1] 1>def");
		s.pass(1);
		HOLDS(!s.tracker.has_holes());
	});
	tap::test("a segment that the network has lost is waited for", [] {
		Scene s;
		s.shake_hands();
		s.to(PUSH, 1004, "def");
		s.from(TCP_ACK, 5001, 1001);
		s.pass(3000);
		s.to(PUSH, 1001, "abc");
		EQUAL(s.lines.take(), "1open 1>abc 1>def");
	});
	tap::test("a FIN behind a loss closes the connection in time", [] {
		Scene s;
		s.shake_hands();
		s.now.ring_losses++;
		s.to(END, 1101);
		s.from(END, 5001, 1001);
		s.pass(Stream::HOLE_OF_RING_MS);
		EQUAL(s.lines.take(), "1open 1<fin 1>[100:1] 1>fin 1closed");
	});
	tap::test("what is captured without its payload is a gap, or what nobody wanted", [] {
		for (bool is_prefiltered : {false, true}) {
			Scene s(is_prefiltered ? Tracker::PREFILTERED : 0);
			s.shake_hands();
			Segment segment = s.make(Direction::TO_TARGET, PUSH, 1001, 0, "GET /", 40000);
			segment.captured_bytes = 0;
			s.tracker.segment(segment, s.now);
			EQUAL(s.lines.take(), is_prefiltered ? "1open 1>[5:64]" : "1open 1>[5:6]");
		}
	});
	tap::test("bulk without its payload is lost, also where a prefilter looks", [] {
		Scene s(Tracker::PREFILTERED);
		s.shake_hands();
		std::string bulk(5000, 'x');
		Segment segment = s.make(Direction::TO_TARGET, PUSH, 1001, 0, bulk, 40000);
		segment.captured_bytes = 0;
		s.tracker.segment(segment, s.now);
		EQUAL(s.lines.take(), "1open 1>[5000:6]");
	});
	tap::test("headers of answers that nobody wants are no gaps", [] {
		Scene s;
		s.shake_hands();
		Segment segment = s.make(Direction::FROM_TARGET, PUSH, 5001, 1001, "answer", 40000);
		segment.captured_bytes = 0;
		s.tracker.segment(segment, s.now);
		EQUAL(s.lines.take(), "1open");
	});
	tap::test("a flood of SYNs pushes out no connection that talks", [] {
		TrackerLimits limits;
		limits.most_flows = 4;
		Scene s(0, limits);
		s.shake_hands();
		for (uint16_t port = 1; port < 100; port++)
			s.to(TCP_SYN, 1, "", port);
		s.to(PUSH, 1001, "hello");
		EQUAL(s.lines.take(), "1open 1>hello");
		EQUAL(s.tracker.flows(), size_t{4});
	});
	tap::test("a new connection finds no room among those that talk, and is counted", [] {
		TrackerLimits limits;
		limits.most_flows = 2;
		Scene s(0, limits);
		s.shake_hands(1);
		s.shake_hands(2);
		s.lines.take();
		s.to(TCP_SYN, 1000, "", 3);
		EQUAL(s.lines.take(), "no-room");
		s.now.ms += limits.protected_ms;
		s.shake_hands(3);
		EQUAL(s.lines.take(), "1idle 3open");
	});
}

void datagrams()
{
	tap::test("datagrams of one peer are one flow, empty ones too", [] {
		Scene s;
		s.datagram("one");
		s.datagram("");
		s.datagram("other", 40001);
		EQUAL(s.lines.take(), "1open 1>one 1> 2open 2>other");
	});
	tap::test("a datagram that two interfaces show is delivered once", [] {
		Scene s;
		s.datagram("one");
		s.interface = 3;
		s.datagram("one");
		EQUAL(s.lines.take(), "1open 1>one");
		s.now.ms += 5000;
		s.datagram("two");
		EQUAL(s.lines.take(), "1>two");
	});
}

} // namespace

int main()
{
	beginnings();
	middles();
	ends();
	losses();
	datagrams();
	return tap::done();
}
