// Events as JavaScript reads them.
#include "batch.h"

#include <cstring>

#include "scene.h"
#include "tap.h"

using namespace scene;

namespace {

// A batch that a tracker writes into, and its events as text.
struct Written {
	Batch batch{7};
	Tracker tracker{batch, TrackerLimits(), Budget(), 42};
	Scene maker;

	Written()
	{
		tracker.set_port(PROTOCOL_TCP, 80, Tracker::WATCHED | Tracker::ANSWERS);
		tracker.set_port(PROTOCOL_UDP, 53, Tracker::WATCHED);
		send(Direction::TO_TARGET, TCP_SYN, 1000);
		send(Direction::FROM_TARGET, TCP_SYN | TCP_ACK, 5000);
	}
	void send(Direction direction, uint8_t flags, uint32_t sequence, const std::string &payload = "", uint16_t peer = 40000)
	{
		tracker.segment(maker.make(direction, flags, sequence, 1001, payload, peer), maker.now);
	}
	std::string text(std::vector<uint8_t> bytes)
	{
		std::string out;
		for (size_t at = 0; at < bytes.size();) {
			EventHead head;
			memcpy(&head, bytes.data() + at, sizeof(head));
			out += std::to_string(head.type) + ":" + std::to_string(head.direction) + ":" +
			       std::to_string(head.flow) + ":" + std::to_string(head.bytes) + " ";
			at += sizeof(head) + (head.bytes + 7) / 8 * 8;
		}
		return out;
	}
};

} // namespace

int main()
{
	tap::test("bytes of one direction that follow each other are one event", [] {
		Written w;
		w.send(Direction::TO_TARGET, TCP_ACK, 1001, "abc");
		w.send(Direction::TO_TARGET, TCP_ACK, 1004, "defghi");
		w.send(Direction::FROM_TARGET, TCP_ACK, 5001, "answer");
		w.send(Direction::TO_TARGET, TCP_ACK, 1010, "j");
		std::vector<uint8_t> bytes = w.batch.take();
		EQUAL(w.text(bytes), "1:0:1:48 2:0:1:9 2:1:1:6 2:0:1:1 ");
		EQUAL(memcmp(bytes.data() + 24 + 48 + 24, "abcdefghi", 9), 0);
		HOLDS(w.batch.is_empty());
	});
	tap::test("so are those that other connections come between, each before what ends or interrupts it", [] {
		Written w;
		w.send(Direction::TO_TARGET, TCP_SYN, 1000, "", 40001);
		w.send(Direction::FROM_TARGET, TCP_SYN | TCP_ACK, 5000, "", 40001);
		w.batch.take();
		for (uint32_t at = 0; at < 3; at++)
			for (uint16_t peer : {40000, 40001})
				w.send(Direction::TO_TARGET, TCP_ACK, 1001 + 2 * at, "ab", peer);
		w.send(Direction::TO_TARGET, TCP_RST, 1007, "", 40001);
		w.send(Direction::FROM_TARGET, TCP_ACK, 5001, "answer");
		EQUAL(w.batch.size(), size_t{24 + 8 + 24 + 24 + 8 + 6});
		w.batch.mark(1);
		EQUAL(w.text(w.batch.take()), "2:0:2:6 5:0:2:0 2:0:1:6 2:1:1:6 9:0:0:0 ");
		HOLDS(w.batch.is_empty());
	});
	tap::test("a batch that was taken is not written to any more", [] {
		Written w;
		w.send(Direction::TO_TARGET, TCP_ACK, 1001, "abc");
		w.batch.take();
		w.send(Direction::TO_TARGET, TCP_ACK, 1004, "def");
		EQUAL(w.text(w.batch.take()), "2:0:1:3 ");
	});
	tap::test("an event fits into one frame", [] {
		Written w;
		w.batch.take();
		uint32_t sequence = 1001;
		for (int count = 0; count < 5; count++, sequence += 60'000)
			w.send(Direction::TO_TARGET, TCP_ACK, sequence, std::string(60'000, 'x'));
		w.send(Direction::TO_TARGET, TCP_ACK, sequence, std::string(300'000, 'x'));
		EQUAL(w.text(w.batch.take()), "2:0:1:120000 2:0:1:120000 2:0:1:60000 2:0:1:131072 2:0:1:131072 2:0:1:37856 ");
	});
	tap::test("datagrams stay apart, empty ones are there", [] {
		Written w;
		w.batch.take();
		for (const std::string &payload : {std::string("one"), std::string(), std::string("two")}) {
			Segment segment = w.maker.make(Direction::TO_TARGET, 0, 0, 0, payload, 40000);
			segment.protocol = PROTOCOL_UDP;
			segment.destination_port = 53;
			w.tracker.segment(segment, w.maker.now);
		}
		EQUAL(w.text(w.batch.take()), "1:0:2:48 2:0:2:3 2:0:2:0 2:0:2:3 ");
	});
	tap::test("a connection's addresses are those of the target and the peer", [] {
		Written w;
		std::vector<uint8_t> bytes = w.batch.take();
		EventAddresses addresses;
		memcpy(&addresses, bytes.data() + sizeof(EventHead), sizeof(addresses));
		EQUAL(addresses.local[3], 1);
		EQUAL(addresses.peer[3], 2);
		EQUAL(addresses.local_port, 80);
		EQUAL(addresses.peer_port, 40000);
		HOLDS(addresses.sample < 1'000'000);
	});
	tap::test("samples are even: of 100,000 peers a quarter is below a quarter", [] {
		int below = 0;
		for (uint32_t peer = 0; peer < 100'000; peer++) {
			Segment segment;
			segment.source_port = static_cast<uint16_t>(30'000 + peer % 20'000);
			segment.source[3] = static_cast<uint8_t>(peer / 20'000);
			segment.destination_port = 80;
			below += sample_of(FlowKey(segment, Direction::TO_TARGET), 99) < 250'000;
		}
		HOLDS(below > 24'000 && below < 26'000);
	});
	return tap::done();
}
