// Requests that the filter in the kernel leaves out, as the tracker sees it: named cases, then conversations that are mixed up,
// repeated, lost and forgotten, against a model that knows of each byte what became of it.
#include "tracker.h"

#include <algorithm>
#include <random>

#include "scene.h"
#include "tap.h"

using namespace scene;

namespace {

constexpr uint8_t PUSH = 0x08 | TCP_ACK;
constexpr uint8_t END = TCP_FIN | TCP_ACK;

void say(Scene &s, uint32_t sequence, const std::string &payload, LeftOut left, uint8_t flags = PUSH)
{
	Segment segment = s.make(Direction::TO_TARGET, flags, sequence, 0, payload, 40000);
	segment.left = left;
	s.tracker.segment(segment, s.now);
}

void cases()
{
	tap::test("what is left out stands in front of the next request, of an end and of a reset", [] {
		struct Case {
			uint8_t flags;
			const char *payload, *told;
		};
		for (const Case &one : {Case{PUSH, "ask", "1open 1>abc 1>[100:64] 1>ask"}, Case{END, "", "1open 1>abc 1>[100:64] 1>fin"},
					Case{TCP_RST | TCP_ACK, "", "1open 1>abc 1>[100:64] 1peer-reset"}}) {
			Scene s(Tracker::PREFILTERED);
			s.shake_hands();
			s.to(PUSH, 1001, "abc");
			say(s, 1104, one.payload, {1004, 100, false}, one.flags);
			EQUAL(s.lines.take(), one.told);
		}
	});
	tap::test("what is told and lies behind a loss is no part of the loss", [] {
		Scene s(Tracker::PREFILTERED);
		s.shake_hands();
		s.now.ring_losses++;
		say(s, 1501, "ask", {1101, 100, false});
		s.pass(Stream::HOLE_OF_RING_MS);
		EQUAL(s.lines.take(), "1open 1>[100:1] 1>[100:64]");
		s.pass(Stream::HOLE_OF_RING_MS);
		EQUAL(s.lines.take(), "1>[300:1] 1>ask");
	});
	tap::test("what the kernel may have forgotten is not wanted, unless it comes", [] {
		Scene s(Tracker::PREFILTERED);
		s.shake_hands();
		say(s, 1301, "ask", {1101, 200, true});
		s.to(PUSH, 1001, std::string(50, 'x'));
		EQUAL(s.lines.take(), "1open 1>" + std::string(50, 'x'));
		s.pass(Stream::HOLE_OF_RING_MS);
		EQUAL(s.lines.take(), "1>[50:64] 1>[200:64] 1>ask");
		s.to(PUSH, 1404, "late");
		s.pass(Stream::HOLE_OF_RING_MS);
		EQUAL(s.lines.take(), "");
		s.pass(Stream::HOLE_MS);
		EQUAL(s.lines.take(), "1>[100:3] 1>late");
	});
	tap::test("a connection that nobody follows is no older one for requests that nobody wants", [] {
		Scene s(Tracker::PREFILTERED);
		Segment unwanted = s.make(Direction::TO_TARGET, PUSH, 1001, 0, "GET /health", 40000);
		unwanted.captured_bytes = 0;
		s.tracker.segment(unwanted, s.now);
		EQUAL(s.tracker.flows(), size_t{0});
		say(s, 2001, "GET /", {1001, 1000, true});
		EQUAL(s.lines.take(), "1middle 1>GET /");
		say(s, 5001, "rest", {}, PUSH);
		EQUAL(s.tracker.flows(), size_t{1});
	});
	tap::test("what was captured while a filter was there counts as its, also when it is gone", [] {
		Scene s(Tracker::PREFILTERED);
		s.shake_hands();
		s.tracker.set_port(PROTOCOL_TCP, 80, Tracker::WATCHED);
		Segment unwanted = s.make(Direction::TO_TARGET, PUSH, 1001, 0, "GET /", 40000);
		unwanted.captured_bytes = 0;
		s.tracker.segment(unwanted, s.now);
		EQUAL(s.lines.take(), "1open 1>[5:64]");
	});
}

// As bpf/left-out.h and bpf/capture.bpf.c have it, for one connection.
struct Kernel {
	bool is_known = false;
	uint32_t next = 0, from = 0, to = 0;
	bool has_left = false, is_from_middle = false, is_doubtful = false, has_lost = false, is_doubted = false;

	enum Answer { NOTHING, HEADERS, WHOLE };

	Answer judge(uint32_t begin, uint32_t end, bool is_unwanted, LeftOut *left)
	{
		if (!is_known) {
			*this = {};
			is_known = true;
			next = begin;
			is_from_middle = is_doubtful = true;
		}
		bool is_old = static_cast<int32_t>(end - next) <= 0;
		bool may_leave_out = !is_old && is_unwanted && !is_doubted && begin == next;
		bool is_jump = !is_old && begin != next;
		is_doubted = is_doubted || is_jump;
		is_doubtful = is_doubtful || (is_jump && is_from_middle);
		if (!is_old)
			next = end;
		if (may_leave_out && !has_lost && (!has_left || to == begin)) {
			from = has_left ? from : begin;
			to = end;
			has_left = true;
			return NOTHING;
		}
		*left = {has_left ? from : 0, has_left ? to - from : 0, is_doubtful};
		has_left = is_doubtful = has_lost = false;
		return may_leave_out ? HEADERS : WHOLE;
	}
	void lose(const LeftOut &left)
	{
		from = left.from;
		to = left.from + left.bytes;
		has_left = left.bytes > 0;
		is_doubtful = left.is_doubtful;
		has_lost = true;
	}
};

// What became of each byte, and whether what is told of it is so.
class Checked final : public TrackerSink {
      public:
	enum Fate : uint8_t { UNSEEN = 0, LEFT_OUT = 1, LOST = 2, PASSED = 4 };
	std::string truth;
	std::vector<uint8_t> fates; // what comes again may have several
	bool may_forget = false;
	size_t position = 0, lost = 0, wrong = 0;
	bool has_ended = false;

	void on_open(const Flow &) override {}
	void on_bytes(const Flow &, Direction, const uint8_t *data, size_t bytes) override
	{
		wrong += position + bytes > truth.size() || memcmp(truth.data() + position, data, bytes) != 0;
		position += bytes;
	}
	void on_gap(const Flow &, Direction, uint64_t bytes, Loss reason) override
	{
		bool is_loss = reason != Loss::NOT_WANTED;
		for (size_t at = position; at < position + bytes; at++) {
			uint8_t fate = at < fates.size() ? fates[at] : uint8_t{PASSED};
			bool is_right = is_loss ? fate == LOST : (fate & LEFT_OUT) != 0 || (may_forget && (fate & PASSED) == 0);
			wrong += !is_right;
			lost += is_loss;
		}
		position += bytes;
	}
	void on_half_close(const Flow &, Direction direction, uint64_t) override { has_ended |= direction == Direction::TO_TARGET; }
	void on_close(const Flow &, End, uint64_t) override {}
	void on_older(const Flow &, Loss) override { wrong++; }
	void on_older_bytes(const Flow &) override { wrong++; }
	void on_older_close(const Flow &) override { wrong++; }
	void on_no_room(const FlowKey &) override { wrong++; }
};

struct Trouble {
	bool loses, mixes, forgets;
};

struct Request {
	uint32_t at, bytes;
	bool is_unwanted;
};

// In the order in which they come by: some late, some twice.
std::vector<Request> conversation(std::mt19937 &random, std::string *truth, bool mixes)
{
	std::vector<Request> all;
	for (unsigned count = 1 + random() % 200; count > 0; count--) {
		auto bytes = 1 + static_cast<uint32_t>(random() % 60);
		all.push_back({static_cast<uint32_t>(truth->size()), bytes, random() % 8 != 0});
		for (uint32_t i = 0; i < bytes; i++)
			truth->push_back(static_cast<char>(random()));
	}
	for (size_t at = 0; mixes && at < all.size(); at++) {
		if (random() % 40 == 0)
			std::swap(all[at], all[std::min(all.size() - 1, at + 1 + random() % 3)]);
		if (random() % 30 == 0)
			all.insert(all.begin() + static_cast<long>(at), all[random() % (at + 1)]);
	}
	return all;
}

void random_leaving(unsigned seed, Trouble trouble)
{
	std::mt19937 random(seed);
	Checked out;
	Now now{1000, 0, 0};
	Tracker tracker(out, {}, {}, 42);
	tracker.set_port(PROTOCOL_TCP, 80, Tracker::WATCHED | Tracker::PREFILTERED);
	Scene scene;
	auto first = static_cast<uint32_t>(random());
	std::vector<Request> requests = conversation(random, &out.truth, trouble.mixes);
	out.fates.assign(out.truth.size(), Checked::UNSEEN);
	out.may_forget = trouble.forgets;
	tracker.segment(scene.make(Direction::TO_TARGET, TCP_SYN, first - 1, 0, "", 40000), now);
	tracker.segment(scene.make(Direction::FROM_TARGET, TCP_SYN | TCP_ACK, 5000, first, "", 40000), now);
	Kernel kernel;
	kernel.is_known = true;
	kernel.next = first;
	bool is_full = false;
	auto give = [&](uint32_t at, const std::string &payload, uint32_t captured, uint8_t flags, LeftOut left) {
		// Exactly as long, so that the sanitizer sees a byte too far.
		std::string exact = payload.substr(0, captured);
		Segment segment = scene.make(Direction::TO_TARGET, flags, first + at, 0, exact, 40000);
		segment.bytes = static_cast<uint32_t>(payload.size());
		segment.left = left;
		tracker.segment(segment, now);
	};
	for (const Request &request : requests) {
		if (trouble.forgets && random() % 50 == 0)
			kernel.is_known = false;
		if (trouble.loses && random() % 20 == 0)
			is_full = !is_full;
		LeftOut left;
		uint32_t begin = first + request.at;
		Kernel::Answer answer = kernel.judge(begin, begin + request.bytes, request.is_unwanted, &left);
		bool is_lost = answer != Kernel::NOTHING && is_full;
		for (uint32_t i = request.at; i < request.at + request.bytes; i++)
			out.fates[i] |= is_lost ? Checked::LOST : answer == Kernel::WHOLE ? Checked::PASSED : Checked::LEFT_OUT;
		if (is_lost) {
			kernel.lose(left);
			now.ring_losses = 1;
		} else if (answer != Kernel::NOTHING) {
			std::string payload = out.truth.substr(request.at, request.bytes);
			give(request.at, payload, answer == Kernel::WHOLE ? request.bytes : 0, PUSH, left);
		}
	}
	auto total = static_cast<uint32_t>(out.truth.size());
	LeftOut left;
	kernel.judge(first + total, first + total, false, &left);
	give(total, "", 0, END, left);
	for (size_t count = 0; count < out.truth.size() && !out.has_ended; count++) {
		now.ms += Stream::HOLE_MS;
		tracker.tick(now);
	}
	HOLDS(out.has_ended);
	EQUAL(out.wrong, size_t{0});
	EQUAL(out.position, out.truth.size());
	EQUAL(tracker.held_bytes(), size_t{0});
	auto lost = static_cast<size_t>(std::count(out.fates.begin(), out.fates.end(), Checked::LOST));
	if (trouble.forgets)
		HOLDS(out.lost <= lost);
	else
		EQUAL(out.lost, lost);
}

void properties()
{
	struct Kind {
		const char *what;
		Trouble trouble;
	};
	unsigned seed = 0;
	for (const Kind &kind : {Kind{"in order", {false, false, false}}, Kind{"mixed up and repeated", {false, true, false}},
				 Kind{"beside a ring that overflows", {true, false, false}},
				 Kind{"mixed up, beside a ring that overflows", {true, true, false}},
				 Kind{"mixed up, of a kernel that forgets", {false, true, true}},
				 Kind{"in all of this at once", {true, true, true}}})
		tap::test(std::string("of 300 conversations every byte comes, was left out, or is lost and told: ") + kind.what,
			  [&] {
				  for (int count = 0; count < 300; count++)
					  random_leaving(++seed, kind.trouble);
			  });
}

} // namespace

int main()
{
	cases();
	properties();
	return tap::done();
}
