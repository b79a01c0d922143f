/* What may pass of HTTP/2, and what is known afterwards. */
#include "../request_head.h"
#include "../streams_pair.h"

#include "tap.h"

#include <memory>

namespace
{

std::string frame(uint8_t type, uint8_t flags, uint32_t stream, const std::string &payload)
{
	std::string bytes;

	for (int shift : {16, 8, 0})
		bytes.push_back(static_cast<char>(payload.size() >> shift));
	bytes.push_back(static_cast<char>(type));
	bytes.push_back(static_cast<char>(flags));
	for (int shift : {24, 16, 8, 0})
		bytes.push_back(static_cast<char>(stream >> shift));
	return bytes + payload;
}

/* In memory of just that size. */
std::vector<uint8_t> exact(const std::string &bytes)
{
	return std::vector<uint8_t>(bytes.begin(), bytes.end());
}

bool ask(StreamsPair &pair, const std::string &bytes, uint64_t *requests = nullptr, const Screen &screen = Screen())
{
	std::vector<uint8_t> some = exact(bytes);
	uint64_t count = 0;
	bool may_pass = pair.ask(some.data(), some.size(), {screen}, &count);

	if (requests != nullptr)
		*requests = count;
	return may_pass;
}

bool answer(StreamsPair &pair, const std::string &bytes)
{
	std::vector<uint8_t> some = exact(bytes);

	return pair.answer(some.data(), some.size());
}

constexpr size_t TABLE_BYTES = 4096;
const std::string KNOWN = "\x82\x84";
const std::string WINDOW = std::string("\0\0\1\0", 4);

StreamsPair fresh()
{
	return StreamsPair(3, {3}, {KNOWN, "other"}, HeaderTable(TABLE_BYTES));
}

void passes_what_is_known()
{
	StreamsPair pair = fresh();
	uint64_t requests = 0;

	CHECK(ask(pair, frame(1, 5, 5, KNOWN) + frame(8, 0, 0, WINDOW) + frame(1, 4, 7, "other") + frame(0, 0, 7, "body"), &requests));
	CHECK(requests == 2 && pair.highest() == 7 && pair.window() == 256);
	CHECK(pair.open_streams() == std::vector<uint32_t>({3, 5, 7}));
	CHECK(answer(pair, frame(1, 4, 5, "head") + frame(0, 1, 5, "answer") + frame(1, 5, 3, "head")));
	CHECK(pair.open_streams() == std::vector<uint32_t>({7}) && pair.window() == 250);
	CHECK(ask(pair, frame(3, 0, 7, WINDOW)) && pair.open_streams().empty());
	/* Behind a priority. */
	CHECK(ask(pair, frame(1, 0x25, 9, std::string(5, '\0') + KNOWN), &requests) && requests == 1);
	CHECK(ask(pair, frame(2, 0, 9, "12345") + frame(6, 0, 0, "12345678") + frame(8, 0, 9, WINDOW)));
	CHECK(answer(pair, frame(6, 1, 0, "12345678") + frame(8, 0, 0, WINDOW) + frame(3, 0, 9, WINDOW)));
	CHECK(pair.open_streams().empty() && pair.window() == 250);
}

void stops_all_else()
{
	const std::string good = frame(1, 5, 5, KNOWN);

	for (const std::string &bad :
	     {frame(1, 5, 5, "unknown"), frame(1, 5, 5, ""), frame(1, 1, 5, KNOWN), frame(1, 13, 5, std::string(1, '\0') + KNOWN),
	      frame(1, 5, 4, KNOWN), frame(1, 5, 3, KNOWN), frame(1, 0x25, 5, "1234"), frame(4, 0, 0, ""), frame(4, 1, 0, ""),
	      frame(5, 4, 5, ""), frame(7, 0, 0, "12345678"), frame(9, 4, 5, KNOWN), frame(10, 0, 0, ""), frame(0, 0, 0, "x"),
	      frame(2, 0, 5, "1234"), frame(2, 0, 0, "12345"), frame(3, 0, 0, WINDOW), frame(3, 0, 5, "123"), frame(6, 0, 5, "12345678"),
	      frame(6, 0, 0, "1234567"), frame(8, 0, 0, "123"), good + good, good.substr(0, 8), good.substr(0, good.size() - 1)}) {
		StreamsPair pair = fresh();

		/* Nothing of it counts, also what was right. */
		CHECK(!ask(pair, frame(8, 0, 0, WINDOW) + bad));
		CHECK(pair.highest() == 3 && pair.window() == 0 && pair.open_streams() == std::vector<uint32_t>({3}) && pair.cut_request().left == 0);
		CHECK(ask(pair, good));
	}
	for (const std::string &bad : {frame(1, 1, 3, "head"), frame(5, 4, 3, "1234"), frame(4, 0, 0, ""), frame(7, 0, 0, "12345678"),
	                               frame(9, 4, 3, ""), frame(10, 0, 0, ""), frame(0, 0, 0, "x"), frame(1, 4, 0, "x"), frame(3, 0, 3, "123"),
	                               frame(3, 0, 3, WINDOW).substr(0, 11), frame(8, 0, 0, "123"), frame(6, 0, 0, "1")}) {
		StreamsPair pair = fresh();

		CHECK(!answer(pair, frame(0, 0, 3, "data") + bad));
		CHECK(pair.window() == 0 && pair.open_streams().size() == 1 && pair.cut_answer().left == 0);
	}
}

void bodies_may_be_cut_anywhere()
{
	const std::string up = frame(1, 4, 5, KNOWN) + frame(0, 1, 5, std::string(300, 'x')) + frame(0, 0, 3, "");
	const std::string down = frame(1, 4, 5, "head") + frame(0, 1, 5, std::string(300, 'x')) + frame(0, 0, 3, "");
	size_t passed = 0;

	for (size_t cut = 1; cut < up.size(); cut++) {
		StreamsPair pair = fresh();

		if (!ask(pair, up.substr(0, cut)))
			continue;
		passed++;
		CHECK(ask(pair, up.substr(cut)) && pair.cut_request().left == 0 && pair.open_streams().size() == 2);
	}
	CHECK(passed == 302);
	for (size_t cut = 1; cut < down.size(); cut++) {
		StreamsPair pair = fresh();

		CHECK(ask(pair, frame(1, 5, 5, KNOWN)));
		if (!answer(pair, down.substr(0, cut)))
			continue;
		CHECK(pair.open_streams().size() == (cut < down.size() - 9 ? 2U : 1U));
		CHECK(pair.cut_answer().left == 0 || pair.cut_answer().head.stream == 5);
		CHECK(answer(pair, down.substr(cut)) && pair.window() == -300 && pair.open_streams() == std::vector<uint32_t>({3}));
	}
}

void keeps_a_limit()
{
	StreamsPair pair(1, {}, {KNOWN}, HeaderTable());
	std::string many;

	for (uint32_t nth = 0; nth < MAX_OPEN_STREAMS; nth++)
		many += frame(1, 5, 3 + 2 * nth, KNOWN);
	CHECK(ask(pair, many) && pair.open_streams().size() == MAX_OPEN_STREAMS);
	CHECK(!ask(pair, frame(1, 5, 9999, KNOWN)) && pair.open_streams().size() == MAX_OPEN_STREAMS);
}

/* Literals, without Huffman coding. */
std::string literal(char kind, const std::string &name, const std::string &value)
{
	return std::string(1, kind) + static_cast<char>(name.size()) + name + static_cast<char>(value.size()) + value;
}

std::string added(const std::string &name, const std::string &value)
{
	return literal(0x40, name, value);
}

std::string packed(const std::vector<std::pair<std::string, std::string>> &fields)
{
	HeaderTable table(TABLE_BYTES);

	for (const auto &[name, value] : fields)
		table.add(name + value, name.size());
	return table.pack();
}

void new_blocks_pass_by_their_texts()
{
	const Screen screen({"alice", "/api", "a=1; b=2", "host: shop"});
	uint64_t requests = 0;

	for (const std::string &good :
	     {KNOWN, literal(0, "x-user", "bob"), added("x-user", "alic") + added("x", "e"), literal(0, ":scheme", "/api"),
	      literal(0x10, "cookie", "a=1") + literal(0x10, "cookie", "b=3") + literal(0, "cookie", "b=2"), literal(0, "x", "\x80\xff")}) {
		StreamsPair pair(1, {}, {}, HeaderTable(TABLE_BYTES));

		CHECK(ask(pair, frame(1, 4, 3, good) + frame(1, 5, 5, good), &requests, screen) && requests == 2 && pair.highest() == 5);
	}
	for (const std::string &bad :
	     {literal(0, "x-user", "ALICE"), added("x-Alice", ""), literal(0, ":path", "/v1/api?x"), literal(0, ":authority", "Shop"),
	      literal(0x10, "cookie", "a=1") + KNOWN + literal(0, "cookie", "b=2"), literal(0, "cookie", "\x80"), std::string("\x20\x82"),
	      std::string("\xbe"), std::string("\x80"), std::string("\x00\x81\xf0\x00", 4), std::string("\xff\xff\xff\xff\x01")}) {
		StreamsPair pair(1, {}, {}, HeaderTable(TABLE_BYTES));

		CHECK(!ask(pair, frame(1, 4, 3, bad), nullptr, screen) && pair.highest() == 1 && !pair.has_new_table());
	}
	StreamsPair pair(1, {}, {}, HeaderTable(TABLE_BYTES));
	const Screen bodies({"content-length", "transfer-encoding"});

	CHECK(ask(pair, frame(1, 5, 3, KNOWN), nullptr, bodies) && !ask(pair, frame(1, 4, 5, KNOWN), nullptr, bodies));
	CHECK(!ask(pair, frame(1, 5, 5, std::string(MAX_UNPACKED_FIELDS + 1, '\x82')), nullptr, bodies));
}

/* Wants what says so. */
class WordJudge : public HeadJudge
{
      public:
	WordJudge() : HeadJudge(memory_) {}
	bool is_unwanted(uint32_t, bool) override
	{
		seen = std::string(reinterpret_cast<char *>(memory_), lines.end());
		count++;
		return seen.find("x-wanted: yes") == std::string::npos;
	}

	std::string seen;
	int count = 0;

      private:
	uint8_t memory_[HEAD_LINES_BYTES];
};

void what_is_stopped_is_judged()
{
	const Screen all, alice({"alice"});
	auto judge = std::make_unique<WordJudge>();
	uint64_t requests = 0;
	uint32_t stream = 1;
	StreamsPair pair(1, {}, {}, HeaderTable(TABLE_BYTES));
	auto asks = [&](const std::string &block, const Screen &screen, uint8_t flags = 5) {
		std::vector<uint8_t> some = exact(frame(1, flags, stream += 2, block));

		return pair.ask(some.data(), some.size(), {screen, judge.get(), 0}, &requests);
	};
	const std::string first = literal(0, ":method", "PUT") + literal(0, ":path", "/a") + literal(0, ":authority", "shop");

	CHECK(asks(first + literal(0, "cookie", "a=1") + literal(0, "x-A", "\tb") + literal(0, "cookie", "b"), all) && requests == 1);
	CHECK(judge->seen == "PUT\n/a\nx-A: \tb\ncookie: a=1; b\nhost: shop");
	CHECK(asks(first + literal(0, "host", "h") + literal(0, "x", "\x80"), all) && judge->seen == "PUT\n/a\nhost: h");
	CHECK(asks(first, all) && judge->seen == "PUT\n/a\nhost: shop" && judge->count == 3);
	/* Once for each block that leaves the table as it is, with a body and without. */
	CHECK(asks(first, all) && judge->count == 3 && asks(first, all, 4) && judge->count == 4 && asks(first, all, 4) && judge->count == 4);
	CHECK(asks(first + added("x", "1"), all) && judge->count == 5 && pair.has_new_table());
	/* Where texts are looked for, nobody is. */
	CHECK(asks(first + literal(0, "y", "1"), alice) && !asks(first + literal(0, "y", "alice"), alice) && judge->count == 5);
	CHECK(!asks(first + added("x-wanted", "yes"), all) && judge->count == 6 && pair.table().pack() == packed({{"x", "1"}}));
	/* What would be read in two ways is not judged. */
	for (const std::string &bad : {first + first, literal(0, "x", "1") + first, literal(0, ":path", "/\n"), literal(0, "x\n", "1")})
		CHECK(!asks(bad, all) && judge->count == 6);
	for (int nth = 0; nth < 40; nth++)
		CHECK(asks(literal(0, "n", std::to_string(nth)), all));
	CHECK(judge->count == 46 && asks(literal(0, "n", "39"), all) && judge->count == 46 && asks(literal(0, "n", "1"), all) && judge->count == 47);
}

void the_table_goes_along()
{
	const Screen screen({"alice"});
	const std::string block = added("x-a", "1") + added("x-b", "2") + "\xbf";
	StreamsPair pair(1, {}, {KNOWN}, HeaderTable(TABLE_BYTES));

	CHECK(!ask(pair, frame(1, 5, 3, block) + frame(1, 5, 5, added("x-c", "alice")), nullptr, screen));
	CHECK(!pair.has_new_table() && pair.table().pack().empty());
	CHECK(ask(pair, frame(1, 5, 3, block), nullptr, screen) && pair.has_new_table());
	CHECK(pair.table().pack() == packed({{"x-a", "1"}, {"x-b", "2"}}));
	/* What was known may mean something else now. */
	CHECK(!ask(pair, frame(1, 5, 5, KNOWN)));
	CHECK(ask(pair, frame(1, 5, 5, "\xbe\xbf" + added("x-c", "3") + "\xc0"), nullptr, screen) && !ask(pair, frame(1, 5, 7, "\xc1"), nullptr, screen));
	/* By the name of an entry, and the texts of one that is indexed. */
	CHECK(!ask(pair, frame(1, 5, 7, "\x7e\x05" "alice"), nullptr, screen));
	CHECK(pair.table().pack() == packed({{"x-a", "1"}, {"x-b", "2"}, {"x-c", "3"}}));
	/* The eldest go, also for one that is too large itself. */
	StreamsPair small(1, {}, {}, HeaderTable(80));

	CHECK(ask(small, frame(1, 5, 3, block + added("x-c", "3")), nullptr, screen) && small.table().pack() == packed({{"x-b", "2"}, {"x-c", "3"}}));
	CHECK(!ask(small, frame(1, 5, 5, added("x-d", std::string(60, 'x')) + "\xbe"), nullptr, screen));
	CHECK(small.table().pack() == packed({{"x-b", "2"}, {"x-c", "3"}}));
	CHECK(ask(small, frame(1, 5, 5, added("x-d", std::string(60, 'x'))), nullptr, screen) && small.table().pack().empty());
}

void what_is_unpacked_keeps_limits()
{
	HeaderTable table(TABLE_BYTES);
	const Screen screen({"alice"});
	const std::string large(3000, 'v');
	std::string many;

	table.add("n" + large, 1);
	StreamsPair pair(1, {}, {}, table);

	CHECK(ask(pair, frame(1, 5, 3, std::string(20, '\xbe')), nullptr, screen));
	CHECK(!ask(pair, frame(1, 5, 5, std::string(22, '\xbe')), nullptr, screen));
	for (uint32_t nth = 0; nth < 18; nth++)
		many += frame(1, 5, 5 + 2 * nth, std::string(20, '\xbe'));
	CHECK(!ask(pair, many, nullptr, screen) && pair.highest() == 3);
	CHECK(ask(pair, many.substr(0, many.size() - 29), nullptr, screen));
	CHECK(HeaderTable(10).unpack(nullptr, 0));
	for (size_t size = 1; size < 10; size++)
		CHECK(!HeaderTable(10).unpack(exact(std::string("\1\0\0\0\1\0\0\0nv", 10)).data(), size));
}

} // namespace

int main()
{
	test("what is known passes, and is counted along", passes_what_is_known);
	test("anything else stops a read, and nothing of it counts", stops_all_else);
	test("bodies may be cut anywhere, heads of frames and requests may not", bodies_may_be_cut_anywhere);
	test("with too many streams somebody looks", keeps_a_limit);
	test("new blocks pass unless they have a text that a filter must have", new_blocks_pass_by_their_texts);
	test("what is stopped is judged by its lines, once for each block that leaves the table as it is", what_is_stopped_is_judged);
	test("the header table goes along, and only with what passes", the_table_goes_along);
	test("what is unpacked of a read has limits", what_is_unpacked_keeps_limits);
	return report();
}
