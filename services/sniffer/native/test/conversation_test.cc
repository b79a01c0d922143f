// Whole conversations, many at once and damaged as networks do: what comes out of a tracker is what was sent.
#include "tracker.h"

#include <random>

#include "scene.h"
#include "tap.h"

using namespace scene;

namespace {

constexpr uint8_t PUSH = 0x08 | TCP_ACK;
constexpr uint8_t END = TCP_FIN | TCP_ACK;

// Conversations of many connections at once, damaged as networks do; the tracker must give out each stream as it was sent.
void random_conversations(unsigned seed, bool may_lose)
{
	std::mt19937 random(seed);
	Scene s(Tracker::ANSWERS);
	struct Event {
		Direction direction;
		uint8_t flags;
		uint32_t sequence, acknowledged;
		std::string payload;
		uint16_t port;
	};
	std::vector<std::vector<Event>> conversations;
	std::map<uint16_t, std::string> sent[2];
	for (uint16_t port = 1; port <= 8; port++) {
		uint32_t next[2] = {static_cast<uint32_t>(random()), static_cast<uint32_t>(random())};
		std::vector<Event> events;
		events.push_back({Direction::TO_TARGET, TCP_SYN, next[0]++, 0, "", port});
		events.push_back({Direction::FROM_TARGET, TCP_SYN | TCP_ACK, next[1]++, next[0], "", port});
		for (unsigned count = random() % 60; count > 0; count--) {
			int way = random() % 3 == 0;
			std::string payload(1 + random() % 400, static_cast<char>('a' + random() % 26));
			events.push_back({static_cast<Direction>(way), PUSH, next[way], next[1 - way], payload, port});
			next[way] += static_cast<uint32_t>(payload.size());
			sent[way][port] += payload;
		}
		events.push_back({Direction::TO_TARGET, END, next[0], next[1], "", port});
		events.push_back({Direction::FROM_TARGET, END, next[1], next[0] + 1, "", port});
		conversations.push_back(events);
	}
	std::vector<size_t> at(conversations.size(), 0);
	for (bool is_running = true; is_running;) {
		is_running = false;
		size_t which = random() % conversations.size();
		for (size_t i = 0; i < conversations.size() && at[which] == conversations[which].size(); i++)
			which = (which + 1) % conversations.size();
		std::vector<Event> &events = conversations[which];
		if (at[which] == events.size())
			break;
		is_running = true;
		size_t here = at[which]++;
		// Neighbours of one direction change places; acknowledgements do not overtake what they are about.
		if (here > 2 && here + 1 < events.size() - 2 && events[here].direction == events[here + 1].direction &&
		    random() % 3 == 0)
			std::swap(events[here], events[here + 1]);
		const Event &event = events[here];
		if (may_lose && here > 1 && random() % 20 == 0) {
			s.now.ring_losses++;
			continue;
		}
		Segment segment = s.make(event.direction, event.flags, event.sequence, event.acknowledged, event.payload,
					 event.port);
		s.tracker.segment(segment, s.now);
		if (random() % 8 == 0)
			s.tracker.segment(segment, s.now);
		s.pass(1);
	}
	s.pass(Stream::HOLE_MS);
	s.tracker.forget_port(PROTOCOL_TCP, 80, s.now);
	EQUAL(s.tracker.flows(), size_t{0});
	EQUAL(s.tracker.held_bytes(), size_t{0});
	uint64_t sent_bytes = 0, got_bytes = 0;
	for (int way : {0, 1}) {
		for (auto &of : sent[way])
			sent_bytes += of.second.size();
		for (auto &of : s.lines.bytes[way])
			got_bytes += of.second.size();
	}
	if (may_lose) {
		// A tail that is lost with its FIN leaves no trace; nothing comes twice.
		HOLDS(got_bytes + s.lines.lost <= sent_bytes);
		return;
	}
	EQUAL(s.lines.lost, uint64_t{0});
	EQUAL(got_bytes, sent_bytes);
	EQUAL(s.tracker.counters().connections, uint64_t{8});
}

// What the peer has of the target's answers when it asks and when it ends.
void unanswered()
{
	tap::test("a peer that ends behind a request says whether the target had answered it", [] {
		struct Step {
			uint8_t flags;
			uint32_t sequence, acknowledged;
			const char *payload;
		};
		struct Case {
			std::vector<Step> steps;
			const char *told;
		};
		for (const Case &one : std::vector<Case>{
			     {{{PUSH, 1001, 5001, "ask"}, {END, 1004, 5001, ""}}, "1>ask 1>fin-unanswered"},
			     {{{PUSH, 1001, 5001, "ask"}, {END, 1004, 5101, ""}}, "1>ask 1>fin"},
			     {{{END, 1001, 5001, ""}}, "1>fin"},
			     {{{END, 1001, 5001, "ask"}}, "1>ask 1>fin-unanswered"},
			     // The second of two; a request that comes again with what was answered meanwhile.
			     {{{PUSH, 1001, 5001, "ask"}, {PUSH, 1004, 5101, "more"}, {END, 1008, 5101, ""}},
			      "1>ask 1>more 1>fin-unanswered"},
			     {{{PUSH, 1001, 5001, "ask"}, {PUSH, 1001, 5101, "ask"}, {END, 1004, 5101, ""}}, "1>ask 1>fin"},
			     // Resets; one without an acknowledgement says nothing.
			     {{{PUSH, 1001, 5001, "ask"}, {TCP_RST | TCP_ACK, 1004, 5001, ""}}, "1>ask 1peer-reset-unanswered"},
			     {{{PUSH, 1001, 5001, "ask"}, {TCP_RST | TCP_ACK, 1004, 5101, ""}}, "1>ask 1peer-reset"},
			     {{{PUSH, 1001, 5001, "ask"}, {TCP_RST, 1004, 0, ""}}, "1>ask 1peer-reset"},
		     }) {
			Scene s;
			s.lines.says_owed = true;
			s.shake_hands();
			for (const Step &step : one.steps) {
				const std::string payload = step.payload;
				Segment segment = s.make(Direction::TO_TARGET, step.flags, step.sequence, 0, payload, 40000);
				segment.acknowledged = step.acknowledged;
				s.tracker.segment(segment, s.now);
			}
			EQUAL(s.lines.take(), std::string("1open ") + one.told);
		}
	});
}

void properties()
{
	tap::test("300 damaged mixtures of 8 conversations come out as they were sent", [] {
		for (unsigned seed = 1; seed <= 300; seed++)
			random_conversations(seed, false);
	});
	tap::test("300 that also lose packets give out nothing twice and leave nothing behind", [] {
		for (unsigned seed = 1001; seed <= 1300; seed++)
			random_conversations(seed, true);
	});
}

} // namespace

int main()
{
	unanswered();
	properties();
	return tap::done();
}
