// Reassembly: named cases, then random ones against a model that says what must come out.
#include "stream.h"

#include <algorithm>
#include <cstring>
#include <random>
#include <string>

#include "tap.h"

using namespace sniffer;

namespace {

constexpr Now START{1, 0, 0};

// "abc", "[3:1]" for three bytes lost for reason 1, "$" for the end.
class Text final : public StreamSink {
      public:
	std::string text;
	void on_bytes(const uint8_t *data, size_t bytes) override
	{
		text.append(reinterpret_cast<const char *>(data), bytes);
	}
	void on_gap(uint64_t bytes, Loss reason) override
	{
		text += "[" + std::to_string(bytes) + ":" + std::to_string(static_cast<int>(reason)) + "]";
	}
	void on_end() override { text += "$"; }
};

struct Fixture {
	Budget budget;
	StreamCounters counters;
	Stream stream;
	Text out;
	Now now = START;

	explicit Fixture(uint32_t first = 1000) { stream.start(first, &budget, &counters); }
	void add(uint32_t sequence, const std::string &bytes, bool is_fin = false, int lost = 0)
	{
		stream.segment(sequence, reinterpret_cast<const uint8_t *>(bytes.data()),
			       static_cast<uint32_t>(bytes.size()) - static_cast<uint32_t>(lost),
			       static_cast<uint32_t>(bytes.size()), is_fin, Loss::RATE_LIMIT, now, out);
	}
};

void cases()
{
	tap::test("bytes in order come out as they came", [] {
		Fixture f;
		f.add(1000, "abc");
		f.add(1003, "def");
		EQUAL(f.out.text, "abcdef");
	});
	tap::test("a segment out of order waits for the one before it", [] {
		Fixture f;
		f.add(1003, "def");
		EQUAL(f.out.text, "");
		f.add(1000, "abc");
		EQUAL(f.out.text, "abcdef");
		EQUAL(f.budget.held_bytes, size_t{0});
	});
	tap::test("bytes that are sent again come out once", [] {
		Fixture f;
		f.add(1000, "abc");
		f.add(1000, "abc");
		f.add(1001, "bcde");
		EQUAL(f.out.text, "abcde");
		EQUAL(f.counters.duplicate_bytes, uint64_t{5});
	});
	tap::test("of overlapping bytes out of order the first to come are kept", [] {
		Fixture f;
		f.add(1004, "EF");
		f.add(1002, "cdxxgh");
		f.add(1000, "ab");
		EQUAL(f.out.text, "abcdEFgh");
	});
	tap::test("sequence numbers wrap around", [] {
		Fixture f(0xfffffffe);
		f.add(1, "def");
		f.add(0xfffffffe, "abc");
		f.add(4, "g");
		EQUAL(f.out.text, "abcdefg");
	});
	tap::test("a FIN ends the stream behind its bytes", [] {
		Fixture f;
		f.add(1003, "def", true);
		f.add(1000, "abc");
		EQUAL(f.out.text, "abcdef$");
		HOLDS(f.stream.has_ended());
	});
	tap::test("a FIN behind a loss of the ring ends the stream, after the time for such a loss", [] {
		Fixture f;
		f.add(1000, "abc");
		f.now.ring_losses++;
		f.add(1010, "", true);
		f.stream.check_hole(f.now, f.out);
		EQUAL(f.out.text, "abc");
		f.now.ms += Stream::HOLE_OF_RING_MS;
		f.stream.check_hole(f.now, f.out);
		EQUAL(f.out.text, "abc[7:1]$");
	});
	tap::test("a hole that nothing explains is given up after ten seconds, not before", [] {
		Fixture f;
		f.add(1003, "def");
		f.now.ms += Stream::HOLE_MS - 1;
		f.stream.check_hole(f.now, f.out);
		EQUAL(f.out.text, "");
		f.now.ms++;
		f.stream.check_hole(f.now, f.out);
		EQUAL(f.out.text, "[3:3]def");
	});
	tap::test("what the receiver has acknowledged and nobody saw is lost at once", [] {
		Fixture f;
		f.add(1003, "def");
		f.stream.acknowledged(1000, f.now, f.out);
		EQUAL(f.out.text, "");
		f.stream.acknowledged(1006, f.now, f.out);
		EQUAL(f.out.text, "[3:3]def");
	});
	tap::test("one acknowledgement tells of every hole in front of it", [] {
		Fixture f;
		f.add(1003, "def");
		f.add(1009, "jkl");
		f.add(1015, "pqr");
		f.stream.acknowledged(1014, f.now, f.out);
		EQUAL(f.out.text, "[3:3]def[3:3]jkl[2:3]");
	});
	tap::test("an acknowledgement in the middle of a hole gives up its half of it", [] {
		Fixture f;
		f.add(1006, "ghi");
		f.stream.acknowledged(1003, f.now, f.out);
		EQUAL(f.out.text, "[3:3]");
		f.add(1003, "def");
		EQUAL(f.out.text, "[3:3]defghi");
	});
	tap::test("what was captured in part has a gap in its place", [] {
		Fixture f;
		f.add(1000, "abcdef", false, 2);
		f.add(1006, "g");
		EQUAL(f.out.text, "abcd[2:6]g");
	});
	tap::test("what was captured in part keeps its gap when it waits", [] {
		Fixture f;
		f.add(1003, "defg", false, 4);
		f.add(1007, "h", true);
		f.add(1000, "abc");
		EQUAL(f.out.text, "abc[4:6]h$");
	});
	tap::test("the limit of one stream gives up its eldest hole", [] {
		Fixture f;
		f.budget.most_bytes_of_stream = 1000;
		f.add(1001, std::string(500, 'a'));
		EQUAL(f.out.text, "");
		f.add(1502, std::string(500, 'b'));
		EQUAL(f.out.text, "[1:4]" + std::string(500, 'a'));
	});
	tap::test("the limit of all streams is paid by the one that grows", [] {
		Fixture f;
		f.budget.most_bytes = 100;
		f.budget.held_bytes = 90;
		f.add(1003, "def");
		EQUAL(f.out.text, "[3:4]def");
		EQUAL(f.budget.held_bytes, size_t{90});
	});
	tap::test("a keep-alive probe is no news", [] {
		Fixture f;
		f.add(1000, "abc");
		f.add(1002, "x");
		f.add(1002, "");
		EQUAL(f.out.text, "abc");
	});
	tap::test("one segment of another time is not placed", [] {
		Fixture f;
		f.add(1000, "abc");
		f.add(1003 + 0x60000000, "zzz");
		f.add(1003, "def");
		EQUAL(f.out.text, "abcdef");
		EQUAL(f.counters.unplaceable_segments, uint64_t{1});
	});
	tap::test("a loss larger than any window is a gap of unknown size", [] {
		Fixture f;
		f.add(1000, "abc");
		f.now.ring_losses++;
		for (uint32_t at = 0; at < 5; at++)
			f.add(1000 + 0x60000000 + at, std::string(1, static_cast<char>('u' + at)));
		EQUAL(f.out.text, "abc[0:1]xy");
		EQUAL(f.counters.resyncs, uint64_t{1});
	});
	tap::test("finish gives out what is held, with its gaps", [] {
		Fixture f;
		f.add(1002, "c");
		f.add(1004, "e");
		f.stream.finish(f.now, f.out);
		EQUAL(f.out.text, "[2:3]c[1:3]e");
		EQUAL(f.budget.held_bytes, size_t{0});
	});
	tap::test("a stream that is dropped gives its memory back", [] {
		Budget budget;
		StreamCounters counters;
		Text out;
		{
			Stream stream;
			stream.start(0, &budget, &counters);
			stream.segment(5, reinterpret_cast<const uint8_t *>("abc"), 3, 3, false, Loss::RATE_LIMIT, START, out);
			HOLDS(budget.held_bytes > 0);
		}
		EQUAL(budget.held_bytes, size_t{0});
	});
}

// What a receiver may rely on: each position comes once, in order, as the byte it is or inside a gap.
class Checked final : public StreamSink {
      public:
	uint64_t position = 0;
	uint64_t lost = 0;
	bool has_ended = false;
	bool is_right = true;
	const std::string *truth = nullptr;
	const std::vector<bool> *seen = nullptr; // bytes that were captured at least once

	void on_bytes(const uint8_t *data, size_t bytes) override
	{
		is_right = is_right && !has_ended && bytes > 0 && position + bytes <= truth->size() &&
			   memcmp(truth->data() + position, data, bytes) == 0;
		position += bytes;
	}
	void on_gap(uint64_t bytes, Loss reason) override
	{
		is_right = is_right && !has_ended && bytes > 0 && reason != Loss::NONE;
		for (uint64_t at = position; at < position + bytes; at++)
			if (at < seen->size() && (*seen)[at])
				mistaken++;
		position += bytes;
		lost += bytes;
	}
	void on_end() override
	{
		is_right = is_right && !has_ended;
		has_ended = true;
	}
	uint64_t mistaken = 0; // in a gap though it came
};

struct Chunk {
	uint64_t at;
	uint32_t bytes;
	uint32_t captured;
	bool is_fin;
};

// Cuts the truth into segments, then repeats, overlaps, truncates, drops and shuffles them.
enum class Damage { NONE, DROPS, CUTS };

std::vector<Chunk> damaged(std::mt19937 &random, uint64_t total, Damage damage)
{
	std::vector<Chunk> chunks;
	auto below = [&](uint64_t n) { return static_cast<uint32_t>(random() % n); };
	for (uint64_t at = 0; at < total;) {
		auto bytes = static_cast<uint32_t>(std::min<uint64_t>(1 + below(300), total - at));
		chunks.push_back({at, bytes, bytes, at + bytes == total});
		at += bytes;
	}
	size_t originals = chunks.size();
	for (size_t i = 0; i < originals / 4; i++) {
		uint64_t at = below(total);
		auto bytes = static_cast<uint32_t>(std::min<uint64_t>(1 + below(700), total - at));
		chunks.push_back({at, bytes, bytes, at + bytes == total && below(2) == 0});
	}
	if (damage != Damage::NONE) {
		for (size_t i = 0; i < originals / 8; i++) {
			Chunk &chunk = chunks[below(chunks.size())];
			if (damage == Damage::CUTS && below(2))
				chunk.captured = below(chunk.bytes + 1);
			else if (chunks.size() > 1)
				chunk = chunks.back(), chunks.pop_back();
		}
	}
	for (size_t i = 0; i < chunks.size(); i++)
		std::swap(chunks[i], chunks[std::min<size_t>(chunks.size() - 1, i + below(12))]);
	return chunks;
}

void run_random(unsigned seed, Damage damage)
{
	std::mt19937 random(seed);
	uint64_t total = 1 + random() % 20'000;
	std::string truth(total, 0);
	for (char &byte : truth)
		byte = static_cast<char>(random());
	uint32_t first = random();
	std::vector<bool> seen(total, false);
	Budget budget;
	StreamCounters counters;
	Checked out;
	out.truth = &truth;
	out.seen = &seen;
	Now now = START;
	{
		Stream stream;
		stream.start(first, &budget, &counters);
		bool has_fin = false;
		for (const Chunk &chunk : damaged(random, total, damage)) {
			auto *data = reinterpret_cast<const uint8_t *>(truth.data()) + chunk.at;
			// Exact copies, so that the sanitizer sees a byte too far.
			std::vector<uint8_t> exact(data, data + chunk.captured);
			stream.segment(first + static_cast<uint32_t>(chunk.at), exact.data(), chunk.captured, chunk.bytes,
				       chunk.is_fin, Loss::RATE_LIMIT, now, out);
			std::fill_n(seen.begin() + static_cast<long>(chunk.at), chunk.captured, true);
			has_fin = has_fin || chunk.is_fin;
			now.ms += random() % 3;
		}
		stream.finish(now, out);
		EQUAL(out.has_ended, has_fin);
	}
	HOLDS(out.is_right);
	EQUAL(budget.held_bytes, size_t{0});
	if (damage == Damage::NONE) {
		EQUAL(out.position, total);
		EQUAL(out.lost, uint64_t{0});
	}
	// A gap is what never came, and nothing else. (What is known to be cut stays a gap when it comes again.)
	if (damage != Damage::CUTS)
		EQUAL(out.mistaken, uint64_t{0});
	HOLDS(out.position <= total);
}

void properties()
{
	tap::test("500 streams cut, repeated, overlapped and shuffled come out byte by byte, and end", [] {
		for (unsigned seed = 1; seed <= 500; seed++)
			run_random(seed, Damage::NONE);
	});
	tap::test("of 500 streams that also lose segments exactly what never came is in a gap", [] {
		for (unsigned seed = 1001; seed <= 1500; seed++)
			run_random(seed, Damage::DROPS);
	});
	tap::test("500 streams that also cut segments come out in order, each byte once or in a gap", [] {
		for (unsigned seed = 2001; seed <= 2500; seed++)
			run_random(seed, Damage::CUTS);
	});
}

} // namespace

int main()
{
	cases();
	properties();
	return tap::done();
}
