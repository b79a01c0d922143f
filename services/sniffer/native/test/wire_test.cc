// A wire that loses, doubles and delays packets before and behind the capture, between two ends that send again what was lost:
// whatever order comes of it, the tracker gives out what the target got, and tells of no loss.
#include "tracker.h"

#include <random>

#include "scene.h"
#include "tap.h"

using namespace scene;

namespace {

constexpr uint8_t PUSH = 0x08 | TCP_ACK;
constexpr uint64_t SEND_AGAIN_MS = 200;
constexpr uint16_t PORT = 40000;

struct Packet {
	int way; // of Direction
	uint8_t flags;
	uint32_t sequence, acknowledged;
	std::string payload;
};

// One end: sends `bytes` in segments of random size, then its FIN or a reset; keeps what it has received in order.
struct End {
	std::string bytes;
	size_t written = 0; // of `bytes`, by the program
	uint32_t first = 0; // number of the first byte
	bool is_open = false, is_answered = false, is_reset = false, has_fin = false;
	uint64_t sent_ms = 0;
	uint32_t highest = 0;  // sent
	uint32_t acked = 0;    // by the other side
	uint32_t received = 0; // next that is expected
	std::string got;
	std::map<uint32_t, std::string> early; // by distance from the first
	bool got_fin = false;
	uint32_t got_fin_at = 0;
};

struct Wire {
	std::mt19937 random;
	uint64_t ms = 0;
	std::multimap<uint64_t, Packet> before, behind; // the capture
	End ends[2];				       // by the way they send
	Scene scene;
	bool may_reset;
	uint32_t seen_end = 0; // of what the peer has sent
	// A reset out of place: the target asks for another, and whether it has what nobody saw before it is not known.
	bool is_uncertain = false;

	Wire(unsigned seed, bool may_reset, uint8_t wishes) : random(seed), scene(wishes), may_reset(may_reset) {}

	bool one_in(unsigned count) { return random() % count == 0; }
	uint64_t delay() { return one_in(20) ? random() % 40 : random() % 3; }

	void send(int way, uint8_t flags, uint32_t sequence, const std::string &payload = "")
	{
		Packet packet{way, flags, sequence, ends[1 - way].is_open || (flags & TCP_ACK) ? ends[way].received : 0, payload};
		// What the target sends comes by the capture first.
		if (way == 0 && one_in(25))
			return;
		for (unsigned copies = one_in(25) ? 2 : 1; copies > 0; copies--)
			before.emplace(ms + delay(), packet);
	}

	void capture(const Packet &packet)
	{
		Segment segment = scene.make(static_cast<Direction>(packet.way), packet.flags, packet.sequence,
					     packet.acknowledged, packet.payload, PORT);
		scene.tracker.segment(segment, scene.now);
		if (packet.way == 0) {
			uint32_t end = packet.sequence + static_cast<uint32_t>(packet.payload.size());
			if (packet.flags & TCP_RST)
				is_uncertain = is_uncertain || static_cast<int32_t>(end - seen_end) > 0;
			else if (seen_end == 0 || static_cast<int32_t>(end - seen_end) > 0)
				seen_end = end;
		}
		if (!one_in(25))
			behind.emplace(ms + delay(), packet);
	}

	void acknowledge(int way) { send(way, TCP_ACK, ends[way].highest); }

	void take(const Packet &packet)
	{
		int way = 1 - packet.way; // in which this end answers
		End &own = ends[way];
		if (packet.flags & TCP_RST) {
			// RFC 5961 section 3.2: exactly what is expected, or a challenge.
			if (own.is_open && packet.sequence == own.received)
				own.is_reset = true;
			return;
		}
		if (own.is_reset) {
			send(way, TCP_RST, packet.acknowledged);
			return;
		}
		if (packet.flags & TCP_SYN) {
			bool is_first = !own.is_open;
			own.is_open = true;
			if (is_first)
				own.received = packet.sequence + 1;
			if (way == 1)
				send(1, TCP_SYN | TCP_ACK, own.first - 1);
			else
				acknowledge(0);
			return;
		}
		if (!own.is_open)
			return;
		own.is_answered = true;
		if (static_cast<int32_t>(packet.acknowledged - own.acked) > 0)
			own.acked = packet.acknowledged;
		if (!packet.payload.empty())
			own.early[packet.sequence] = packet.payload;
		if (packet.flags & TCP_FIN) {
			own.got_fin = true;
			own.got_fin_at = packet.sequence + static_cast<uint32_t>(packet.payload.size());
		}
		for (bool has_more = true; has_more;) {
			has_more = false;
			for (auto piece = own.early.begin(); piece != own.early.end(); ++piece) {
				uint32_t behind = own.received - piece->first;
				if (static_cast<int32_t>(behind) < 0 || behind >= piece->second.size())
					continue;
				own.got += piece->second.substr(behind);
				own.received = piece->first + static_cast<uint32_t>(piece->second.size());
				has_more = true;
			}
		}
		bool is_end = own.got_fin && own.received == own.got_fin_at;
		if (is_end)
			own.received++;
		if (!packet.payload.empty() || (packet.flags & TCP_FIN))
			acknowledge(way);
	}

	// What this end's kernel does when nothing has come for a while, and its program now and then.
	void act(int way)
	{
		End &own = ends[way];
		if (own.is_reset)
			return;
		if (!own.is_open || (way == 0 && own.highest == own.first && own.received == 0)) {
			if (way == 0 && (own.sent_ms == 0 || ms - own.sent_ms >= SEND_AGAIN_MS)) {
				own.sent_ms = ms;
				send(0, TCP_SYN, own.first - 1);
			}
			return;
		}
		if (way == 1 && !own.is_answered)
			return;
		if (may_reset && own.written > 0 && one_in(2'000)) {
			own.is_reset = true;
			send(way, TCP_RST | TCP_ACK, own.highest);
			return;
		}
		uint32_t last = own.first + static_cast<uint32_t>(own.bytes.size());
		bool has_unacked = own.acked != own.highest;
		if (has_unacked && ms - own.sent_ms >= SEND_AGAIN_MS) {
			own.sent_ms = ms;
			send_from(own, way, own.acked);
			return;
		}
		if (static_cast<int32_t>(own.highest - last) < 0 && own.highest - own.acked < 30'000 && one_in(3)) {
			own.sent_ms = ms;
			own.written = 1;
			send_from(own, way, own.highest);
		} else if (own.highest == last && !own.has_fin && one_in(20)) {
			own.sent_ms = ms;
			own.has_fin = true;
			send_from(own, way, own.highest);
		}
	}

	void send_from(End &own, int way, uint32_t sequence)
	{
		size_t at = sequence - own.first;
		size_t bytes = at < own.bytes.size() ? std::min<size_t>(own.bytes.size() - at, 1 + random() % 3000) : 0;
		bool is_last = at + bytes >= own.bytes.size();
		uint8_t fin = is_last && own.has_fin ? TCP_FIN : 0;
		send(way, PUSH | fin, sequence, at < own.bytes.size() ? own.bytes.substr(at, bytes) : "");
		uint32_t end = sequence + static_cast<uint32_t>(bytes) + (fin != 0);
		if (static_cast<int32_t>(end - own.highest) > 0)
			own.highest = end;
	}

	bool is_over() const
	{
		bool have_both = true;
		for (const End &own : ends)
			have_both = have_both && (own.is_reset || (own.has_fin && own.acked == own.highest && own.got_fin &&
								    own.received == own.got_fin_at + 1));
		return have_both && before.empty() && behind.empty();
	}

	void run()
	{
		for (int way : {0, 1}) {
			End &own = ends[way];
			size_t bytes = random() % 60'000;
			for (size_t at = 0; at < bytes; at++)
				own.bytes += static_cast<char>('A' + random() % 26);
			own.first = own.highest = own.acked = static_cast<uint32_t>(random());
		}
		for (ms = 1; ms < 600'000 && !is_over(); ms++) {
			scene.now.ms = 1000 + ms;
			for (int way : {0, 1})
				act(way);
			while (!before.empty() && before.begin()->first <= ms) {
				Packet packet = before.begin()->second;
				before.erase(before.begin());
				capture(packet);
			}
			while (!behind.empty() && behind.begin()->first <= ms) {
				Packet packet = behind.begin()->second;
				behind.erase(behind.begin());
				take(packet);
			}
			if (ms % 8 == 0)
				scene.tracker.tick(scene.now);
		}
		scene.pass(Stream::HOLE_MS);
	}
};

void many(bool may_reset, uint8_t wishes, unsigned count)
{
	for (unsigned seed = 1; seed <= count; seed++) {
		Wire wire(seed, may_reset, wishes);
		wire.run();
		const Lines &lines = wire.scene.lines;
		const std::string &got = wire.ends[1].got;
		std::string heard;
		for (const auto &of : lines.bytes[0])
			heard += of.second;
		bool is_whole = heard.compare(0, got.size(), got) == 0 && (may_reset || heard.size() == got.size());
		bool has_gap = lines.lost > 0 || lines.text.find('[') != std::string::npos;
		bool is_silent = (!has_gap || wire.is_uncertain) && lines.text.find("older") == std::string::npos &&
				 wire.scene.tracker.counters().connections <= 1;
		bool is_over = lines.text.find("closed") != std::string::npos || lines.text.find("reset") != std::string::npos;
		if (!is_whole || !is_silent || !is_over) {
			const std::string &told = lines.text;
			printf("# seed %u: target got %zu, heard %zu, lost %llu, ends %d %d, %llu ms: ...%s\n", seed, got.size(),
			       heard.size(), static_cast<unsigned long long>(lines.lost), wire.ends[0].is_reset,
			       wire.ends[1].is_reset, static_cast<unsigned long long>(wire.ms),
			       told.substr(told.size() > 200 ? told.size() - 200 : 0).c_str());
		}
		HOLDS(is_whole);
		HOLDS(is_silent);
		HOLDS(is_over);
		EQUAL(wire.scene.tracker.held_bytes(), size_t{0});
	}
}

} // namespace

int main()
{
	tap::test("what a bad wire brings to its end in the end is copied whole, and nothing is lost", [] { many(false, 0, 100); });
	tap::test("the same where what the target sends is copied too", [] { many(false, Tracker::ANSWERS, 100); });
	tap::test("of what is reset everything that the target got is copied, and nothing is lost", [] { many(true, 0, 300); });
	tap::test("the same where what the target sends is copied as well", [] { many(true, Tracker::ANSWERS, 300); });
	return tap::done();
}
