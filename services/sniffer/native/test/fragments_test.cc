// Reassembly of fragments: by example, within its limits, and against a model that knows nothing but a row of bytes.
#include "fragments.h"

#include <algorithm>
#include <optional>
#include <random>
#include <string>

#include "tap.h"

using namespace sniffer;

namespace {

struct Wire {
	Fragments fragments;
	uint64_t now_ms = 1'000;

	explicit Wire(FragmentLimits limits = {}) : fragments(limits, 42) {}
	// "" for nothing.
	std::string send(uint32_t id, uint32_t offset, const std::string &bytes, bool has_more, uint8_t host = 2,
			 uint32_t interface = 2, uint8_t family = 4)
	{
		Fragment fragment;
		fragment.source[0] = host;
		fragment.destination[0] = 1;
		fragment.family = family;
		fragment.protocol = PROTOCOL_UDP;
		fragment.id = id;
		fragment.offset = offset;
		fragment.has_more = has_more;
		fragment.interface = interface;
		// Of its own, so that reading beyond it is seen.
		std::vector<uint8_t> exact(bytes.begin(), bytes.end());
		exact.shrink_to_fit();
		fragment.data = exact.data();
		fragment.bytes = static_cast<uint32_t>(exact.size());
		const Fragment *whole = fragments.add(fragment, now_ms);
		if (whole == nullptr)
			return "";
		HOLDS(whole->offset == 0 && !whole->has_more && whole->family == family);
		return std::string(reinterpret_cast<const char *>(whole->data), whole->bytes);
	}
	void pass(uint64_t ms)
	{
		now_ms += ms;
		fragments.tick(now_ms);
	}
};

const std::string A(8, 'a'), B(8, 'b'), C(8, 'c');

void examples()
{
	tap::test("fragments become whole in every order, and nothing is kept of them after a moment", [] {
		std::vector<int> order = {0, 1, 2};
		const std::string parts[] = {A, B, "end"};
		do {
			Wire wire;
			std::string got;
			for (int part : order) {
				EQUAL(got, "");
				got = wire.send(7, static_cast<uint32_t>(part) * 8, parts[part], part < 2);
			}
			EQUAL(got, A + B + "end");
			EQUAL(wire.fragments.waiting(), size_t{0});
			wire.pass(1'000);
			EQUAL(wire.fragments.held_bytes(), size_t{0});
		} while (std::next_permutation(order.begin(), order.end()));
	});
	tap::test("what is there already is left out, also as a part of what is there", [] {
		Wire wire;
		wire.send(7, 0, A, true);
		wire.send(7, 0, A, true);
		wire.send(7, 8, B, true);
		wire.send(7, 0, A + B, true);
		EQUAL(wire.send(7, 16, C, false), A + B + C);
		EQUAL(wire.fragments.counters().again, uint64_t{2});
		EQUAL(wire.fragments.counters().overlapping, uint64_t{0});
	});
	tap::test("an overlap ends its datagram, in both families and on both sides", [] {
		for (uint8_t family : {4, 6}) {
			for (uint32_t offset : {0, 16}) {
				Wire wire;
				wire.send(7, 8, B + B, true, 2, 2, family);
				wire.send(7, offset, A + A, true, 2, 2, family);
				EQUAL(wire.fragments.counters().overlapping, uint64_t{1});
				EQUAL(wire.fragments.held_bytes(), size_t{0});
				EQUAL(wire.send(7, 24, "end", false, 2, 2, family), "");
			}
		}
	});
	tap::test("ends that contradict each other end the datagram", [] {
		Wire wire;
		wire.send(7, 16, C, false);
		wire.send(7, 24, C, true);
		EQUAL(wire.fragments.counters().overlapping, uint64_t{1});
		wire.send(8, 16, C, true);
		wire.send(8, 8, B, false);
		EQUAL(wire.fragments.counters().overlapping, uint64_t{2});
		wire.send(9, 16, C, false);
		wire.send(9, 24, C, false);
		EQUAL(wire.fragments.counters().overlapping, uint64_t{3});
		EQUAL(wire.fragments.held_bytes(), size_t{0});
	});
	tap::test("hosts, numbers and families are kept apart", [] {
		Wire wire;
		wire.send(7, 0, A, true);
		wire.send(7, 0, B, true, 3);
		wire.send(8, 0, C, true);
		wire.send(7, 0, "sixtysix", true, 2, 2, 6);
		EQUAL(wire.send(7, 8, "1", false), A + "1");
		EQUAL(wire.send(7, 8, "2", false, 3), B + "2");
		EQUAL(wire.send(8, 8, "3", false), C + "3");
		EQUAL(wire.send(7, 8, "4", false, 2, 2, 6), "sixtysix4");
	});
	tap::test("after 30 seconds, of IPv6 60, nothing is waited for", [] {
		Wire wire;
		wire.send(7, 0, A, true);
		wire.send(7, 0, A, true, 2, 2, 6);
		wire.pass(29'999);
		EQUAL(wire.fragments.waiting(), size_t{2});
		wire.pass(1);
		EQUAL(wire.fragments.waiting(), size_t{1});
		EQUAL(wire.send(7, 8, B, false), "");
		wire.pass(29'999);
		EQUAL(wire.send(7, 8, B, false, 2, 2, 6), A + B);
		wire.pass(60'000);
		EQUAL(wire.fragments.counters().incomplete, uint64_t{2});
		EQUAL(wire.fragments.held_bytes(), size_t{0});
	});
	tap::test("a datagram that was whole does not come again by a second interface or a doubled packet", [] {
		Wire wire;
		wire.send(7, 0, A, true, 2, 2);
		wire.send(7, 0, A, true, 2, 3);
		EQUAL(wire.send(7, 8, B, false, 2, 2), A + B);
		EQUAL(wire.send(7, 8, B, false, 2, 3), "");
		EQUAL(wire.send(7, 0, A, true), "");
		EQUAL(wire.fragments.waiting(), size_t{0});
		EQUAL(wire.fragments.counters().again, uint64_t{3});
		// The next one of that number holds something else.
		EQUAL(wire.send(7, 0, C, true), "");
		EQUAL(wire.send(7, 8, B, false), C + B);
		EQUAL(wire.fragments.counters().datagrams, uint64_t{2});
	});
	tap::test("what the target sends itself is not put together", [] {
		Fragments fragments({}, 1);
		Fragment own;
		own.data = reinterpret_cast<const uint8_t *>(A.data());
		own.bytes = 8;
		own.has_more = own.is_outgoing = true;
		HOLDS(fragments.add(own, 0) == nullptr);
		EQUAL(fragments.held_bytes(), size_t{0});
	});
}

void limits()
{
	tap::test("two hosts have a limit, and others have theirs beside it", [] {
		FragmentLimits limits;
		limits.most_bytes_of_pair = 4'000;
		Wire wire(limits);
		wire.send(1, 0, A, true, 3);
		for (uint32_t id = 1; id <= 20; id++)
			wire.send(id, 0, A, true, 2);
		HOLDS(wire.fragments.held_bytes() <= 5'000);
		HOLDS(wire.fragments.counters().lost >= 13);
		EQUAL(wire.send(1, 8, B, false, 3), A + B);
		EQUAL(wire.send(20, 8, B, false, 2), A + B);
		EQUAL(wire.send(1, 8, B, false, 2), "");
	});
	tap::test("in all there is a limit, at which the oldest goes, and what was whole before it", [] {
		FragmentLimits limits;
		limits.most_bytes = 10'000;
		Wire wire(limits);
		wire.send(1, 0, A, true, 2);
		EQUAL(wire.send(1, 8, B, false, 2), A + B);
		wire.send(2, 0, A, true, 3);
		wire.send(3, 0, std::string(8'000, 'x'), true, 4);
		EQUAL(wire.fragments.counters().lost, uint64_t{0});
		EQUAL(wire.send(3, 8'000, std::string(1'000, 'y'), false, 4).size(), size_t{9'000});
		EQUAL(wire.fragments.counters().lost, uint64_t{1});
		EQUAL(wire.send(4, 0, std::string(9'600, 'x'), true, 5), "");
		EQUAL(wire.fragments.counters().lost, uint64_t{2});
		HOLDS(wire.fragments.held_bytes() <= 10'000);
	});
	tap::test("there are never more datagrams than may be, and those that were whole are as many at most", [] {
		FragmentLimits limits;
		limits.most_datagrams = 10;
		Wire wire(limits);
		for (uint32_t id = 1; id <= 100; id++)
			wire.send(id, 0, A, true, static_cast<uint8_t>(id));
		EQUAL(wire.fragments.waiting(), size_t{10});
		EQUAL(wire.fragments.counters().lost, uint64_t{90});
		Wire other(limits);
		for (uint32_t id = 1; id <= 100; id++) {
			other.send(id, 0, A, true);
			EQUAL(other.send(id, 8, B, false), A + B);
		}
		HOLDS(other.fragments.held_bytes() <= 10 * 1'000);
	});
	tap::test("the largest datagram in the smallest fragments fits", [] {
		Wire wire;
		std::string got;
		for (uint32_t offset = 0; offset < 65'504; offset += 8)
			wire.send(1, offset, A, true);
		got = wire.send(1, 65'504, "abc", false);
		EQUAL(got.size(), size_t{65'507});
		EQUAL(wire.fragments.counters().lost, uint64_t{0});
	});
}

// A row of places, each with its byte or none; an overlap is any fragment that meets some of what is there and is not all there.
struct Model {
	std::vector<std::optional<char>> places;
	std::optional<size_t> end;

	// The datagram; "" for none yet.
	std::string add(size_t offset, const std::string &bytes, bool has_more)
	{
		size_t last = offset + bytes.size();
		size_t known = 0;
		for (size_t at = offset; at < last && at < places.size(); at++)
			known += places[at].has_value();
		bool is_beyond = has_more ? end.has_value() && last > *end
					  : last < places.size() || (end.has_value() && *end != last);
		if (is_beyond || (known > 0 && known < bytes.size())) {
			*this = Model();
			return "";
		}
		if (known > 0)
			return "";
		if (places.size() < last)
			places.resize(last);
		for (size_t at = offset; at < last; at++)
			places[at] = bytes[at - offset];
		if (!has_more)
			end = last;
		if (!end.has_value() || !std::all_of(places.begin(), places.end(), [](auto &place) { return place.has_value(); }))
			return "";
		std::string whole;
		for (auto &place : places)
			whole += *place;
		*this = Model();
		return whole;
	}
};

void model()
{
	tap::test("every mix of orders, doubles, losses, overlaps and lies gives what the model gives", [] {
		std::mt19937 random(5);
		uint64_t wholes = 0;
		FragmentLimits limits;
		// What was whole is remembered not at all: the model does not either.
		limits.whole_ms = 0;
		for (int round = 0; round < 30'000; round++) {
			Wire wire(limits);
			Model row;
			size_t units = 1 + random() % 8;
			struct Cut {
				size_t from, to;
			};
			std::vector<Cut> cuts;
			for (size_t at = 0; at < units;) {
				size_t to = std::min(units, at + 1 + random() % 3);
				cuts.push_back({at, to});
				at = to;
			}
			for (unsigned more = random() % 4; more > 0; more--)
				cuts.push_back(cuts[random() % cuts.size()]);
			if (random() % 3 == 0) {
				size_t from = random() % units;
				cuts.push_back({from, from + 1 + random() % 3});
			}
			std::shuffle(cuts.begin(), cuts.end(), random);
			if (random() % 4 == 0)
				cuts.pop_back();
			for (const Cut &cut : cuts) {
				std::string bytes;
				for (size_t at = cut.from * 8; at < cut.to * 8; at++)
					bytes += static_cast<char>('a' + at % 26);
				bool has_more = cut.to != units;
				if (!has_more)
					bytes.resize(bytes.size() - 3);
				if (random() % 50 == 0)
					has_more = !has_more;
				std::string got = wire.send(1, static_cast<uint32_t>(cut.from * 8), bytes, has_more);
				std::string wanted = row.add(cut.from * 8, bytes, has_more);
				if (got != wanted) {
					EQUAL(got, wanted);
					return;
				}
				wholes += got.empty() ? 0 : 1;
			}
		}
		HOLDS(wholes > 10'000);
	});
}

} // namespace

int main()
{
	examples();
	limits();
	model();
	return tap::done();
}
