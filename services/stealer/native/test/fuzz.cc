/*
 * libFuzzer: the first byte says whether the others are a request, an answer, an answer to HEAD, texts and what they are looked
 * for in, frames of a client or of a target, or header blocks. What must hold however they are: no byte is read that is not there; a plain message
 * ends in one place only, so that nothing hides behind it; a screen finds what a plain search finds; frames mean the same wherever
 * they are cut, and what may not pass counts for nothing; a head passes when a plain search of its lines finds nothing, and what did not
 * pass leaves no trace in the table.
 */
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "plain_message.h"
#include "request_head.h"
#include "screen.h"
#include "streams_pair.h"

namespace
{

constexpr size_t PREFIXES = 512;
/* What 8 KiB of frames unpack to stays within a read's limit. */
constexpr size_t TABLE_BYTES = 128;

void require(bool holds)
{
	if (!holds)
		abort();
}

/* From memory that ends where the message does. */
bool is_plain(const std::string &bytes, size_t size, unsigned kind, struct plain_message *message)
{
	std::unique_ptr<uint8_t[]> exact(new uint8_t[size]);

	memcpy(exact.get(), bytes.data(), size);
	return kind == 0 ? read_plain_request(exact.get(), size, message)
	                 : read_plain_response(exact.get(), size, kind == 2, message);
}

/* What is left makes it whole, and nothing else does. */
void try_beginning(const std::string &bytes)
{
	struct plain_message message = {};
	struct plain_message other = {};
	std::unique_ptr<uint8_t[]> exact(new uint8_t[bytes.size()]);

	memcpy(exact.get(), bytes.data(), bytes.size());
	if (!read_plain_beginning(exact.get(), bytes.size(), &message)) {
		require(!is_plain(bytes, bytes.size(), 0, &other));
		return;
	}
	require(is_plain(bytes, bytes.size(), 0, &other) == (message.left == 0));
	if (message.left == 0 || message.left > 8192)
		return;
	std::string whole = bytes + std::string(message.left, '\n');

	require(is_plain(whole, whole.size(), 0, &other) && other.head_end == message.head_end);
	require(!is_plain(whole, whole.size() - 1, 0, &other));
}

/* Wants nothing; what it was shown last. */
class Listener : public HeadJudge
{
      public:
	Listener() : HeadJudge(memory_) {}
	bool is_unwanted(uint32_t, bool) override
	{
		seen = std::string(reinterpret_cast<char *>(memory_), lines.end());
		return true;
	}

	std::string seen;

      private:
	uint8_t memory_[HEAD_LINES_BYTES];
};

/* A plain head comes to its method, its target and as many lines as it has that are visible, and has no other line feed. */
void try_lines(const std::string &bytes, size_t head_end)
{
	static Listener listener;
	std::unique_ptr<uint8_t[]> exact(new uint8_t[head_end]);
	size_t feeds = 1;

	memcpy(exact.get(), bytes.data(), head_end);
	require(listener.lines.take(exact.get(), head_end) && listener.is_unwanted(0, false));
	size_t method_end = listener.lines.method_end(), target_end = listener.lines.target_end();
	require(bytes.compare(0, target_end, listener.seen.substr(0, method_end) + " " + listener.seen.substr(method_end + 1, target_end - method_end - 1)) == 0);
	for (size_t at = bytes.find("\r\n") + 2, end; (end = bytes.find("\r\n", at)) != at; at = end + 2)
		feeds += std::all_of(bytes.begin() + static_cast<ssize_t>(bytes.find(':', at)), bytes.begin() + static_cast<ssize_t>(end),
		                     [](char octet) { return octet == '\t' || (octet >= 0x20 && octet <= 0x7e); });
	require(static_cast<size_t>(std::count(listener.seen.begin(), listener.seen.end(), '\n')) == feeds);
}

void try_message(const std::string &bytes, unsigned kind)
{
	struct plain_message message = {};
	struct plain_message other = {};

	if (kind == 0)
		try_beginning(bytes);
	if (!is_plain(bytes, bytes.size(), kind, &message))
		return;
	require(message.head_end <= bytes.size());
	require(bytes.find("\r\n\r\n") + 4 == message.head_end);
	if (kind == 0)
		try_lines(bytes, message.head_end);
	for (size_t at = 0; at < message.head_end; at++) {
		require(bytes[at] != '\0');
		require(bytes[at] != '\n' || (at > 0 && bytes[at - 1] == '\r'));
		require(bytes[at] != '\r' || bytes[at + 1] == '\n');
	}
	for (size_t cut = 1; cut <= std::min(PREFIXES, bytes.size()); cut++)
		require(!is_plain(bytes, bytes.size() - cut, kind, &other));
	for (const char *more : {"0", "\r\n", "GET / HTTP/1.1\r\n\r\n"})
		require(!is_plain(bytes + more, bytes.size() + strlen(more), kind, &other));
}

char lower(char octet)
{
	return octet >= 'A' && octet <= 'Z' ? static_cast<char>(octet + 0x20) : octet;
}

/* Lines are the texts, the last one is what they are looked for in. */
void try_screen(const std::string &bytes)
{
	std::vector<std::string> texts;
	size_t start = 0;
	bool is_built = true;

	for (size_t end; (end = bytes.find('\n', start)) != std::string::npos; start = end + 1) {
		texts.push_back(bytes.substr(start, end - start));
		std::string looked = texts.back().substr(0, SCREEN_TEXT_BYTES);

		is_built = is_built && !looked.empty() && std::all_of(looked.begin(), looked.end(), [](char octet) {
			return octet >= 0x20 && octet <= 0x7e && lower(octet) == octet;
		});
	}
	std::string hay = bytes.substr(start);
	std::unique_ptr<uint8_t[]> exact(new uint8_t[hay.size()]);

	memcpy(exact.get(), hay.data(), hay.size());
	bool stops = Screen(texts).stops(exact.get(), hay.size());

	std::transform(hay.begin(), hay.end(), hay.begin(), lower);
	bool is_there = std::any_of(texts.begin(), texts.end(), [&hay](const std::string &text) {
		return hay.find(text.substr(0, SCREEN_TEXT_BYTES)) != std::string::npos;
	});
	require(stops == (is_there || !is_built));
}

bool is_same(const StreamsPair &one, const StreamsPair &other)
{
	return one.highest() == other.highest() && one.window() == other.window() && one.open_streams() == other.open_streams() &&
	       one.has_new_table() == other.has_new_table() && one.table().pack() == other.table().pack() &&
	       one.cut_request().left == other.cut_request().left && one.cut_answer().left == other.cut_answer().left;
}

void try_frames(const std::string &bytes, bool is_client)
{
	const StreamsPair fresh(1, {1}, {"", "\x82"}, HeaderTable(TABLE_BYTES));
	const Screen screen({"alice"});
	auto passes = [&bytes, &screen, is_client](StreamsPair &pair, size_t from, size_t to) {
		std::unique_ptr<uint8_t[]> exact(new uint8_t[to - from]);
		uint64_t requests = 0;

		memcpy(exact.get(), bytes.data() + from, to - from);
		return is_client ? pair.ask(exact.get(), to - from, {screen}, &requests) : pair.answer(exact.get(), to - from);
	};
	StreamsPair whole = fresh;
	bool passes_whole = passes(whole, 0, bytes.size());

	require(passes_whole || is_same(whole, fresh));
	for (size_t cut = 0; cut <= std::min(PREFIXES, bytes.size()); cut++) {
		StreamsPair parts = fresh;

		if (!passes(parts, 0, cut))
			require(is_same(parts, fresh));
		else if (passes(parts, cut, bytes.size()))
			require(passes_whole && is_same(parts, whole));
		else
			require(!passes_whole);
	}
}

/* The lines that filters see, and more; false when the block is not read. */
bool read_lines(HeaderTable *table, const uint8_t *block, size_t size, std::vector<std::string> *lines)
{
	HeadReader reader(table, block, size);
	struct header_field field;
	std::string cookies;

	for (;;) {
		HeadReader::step step = reader.next(&field);

		if (step == HeadReader::step::STRANGE)
			return false;
		if (step == HeadReader::step::END)
			break;
		std::string name(field.name);
		std::string value(field.value);

		if (name == "cookie")
			cookies += (cookies.empty() ? "cookie: " : "; ") + value;
		else if (name == ":method" || name == ":path")
			lines->push_back(value);
		else if (name == ":authority")
			lines->push_back("host: " + value);
		else if (name.empty() || name[0] != ':')
			lines->push_back(name + ": " + value);
	}
	lines->push_back(cookies);
	return true;
}

/* What is judged has each of its lines, but for those that are not visible, and leaves the table as it is for who reads it without. */
void try_judged(const std::string &before, size_t table_bytes, const uint8_t *block, size_t size, const std::vector<std::string> &lines)
{
	static Listener listener;
	HeaderTable table(table_bytes);
	HeaderTable other(table_bytes);
	size_t budget = MAX_READ_HEADS_BYTES;
	std::vector<std::string> none;

	require(table.unpack(reinterpret_cast<const uint8_t *>(before.data()), before.size()));
	require(other.unpack(reinterpret_cast<const uint8_t *>(before.data()), before.size()));
	if (!is_unwanted(&table, block, size, false, {Screen(), &listener}, &budget))
		return;
	require(read_lines(&other, block, size, &none) && table.pack() == other.pack());
	std::string seen = listener.seen;

	std::transform(seen.begin(), seen.end(), seen.begin(), lower);
	for (const std::string &line : lines) {
		bool is_visible = std::all_of(line.begin(), line.end(), [](char octet) { return octet == '\t' || (octet >= 0x20 && octet <= 0x7e); });

		require(!is_visible || line.compare(0, 6, "host: ") == 0 || line.compare(0, 8, "cookie: ") == 0 || seen.find(line) != std::string::npos);
	}
}

/* Each block behind its length; what a table of this size makes of them. */
void try_heads(const std::string &bytes, size_t table_bytes)
{
	const std::vector<std::string> texts = {"alice", "a=1; b=2", "host: s", "/api", "e: c"};
	const Screen screen(texts);
	HeaderTable table(table_bytes);

	for (size_t at = 0, size = 0; at < bytes.size(); at += size) {
		size_t length = static_cast<uint8_t>(bytes[at++]);

		size = std::min(length, bytes.size() - at);
		std::unique_ptr<uint8_t[]> exact(new uint8_t[size]);
		std::string before = table.pack();
		HeaderTable other(table_bytes);
		std::vector<std::string> lines;
		size_t budget = MAX_READ_HEADS_BYTES;

		memcpy(exact.get(), bytes.data() + at, size);
		require(other.unpack(reinterpret_cast<const uint8_t *>(before.data()), before.size()) && other.pack() == before);
		bool is_read = read_lines(&other, exact.get(), size, &lines);
		bool passes = is_unwanted(&table, exact.get(), size, false, {screen}, &budget);
		bool is_there = false;
		bool is_visible = true;

		for (std::string &line : lines) {
			is_visible = is_visible && std::all_of(line.begin(), line.end(), [](char octet) { return octet == '\t' || (octet >= 0x20 && octet <= 0x7e); });
			std::transform(line.begin(), line.end(), line.begin(), lower);
			for (const std::string &text : texts)
				is_there = is_there || line.find(text) != std::string::npos;
		}
		require(!passes || (is_read && !is_there && table.pack() == other.pack()));
		require(passes || !is_read || is_there || !is_visible);
		if (passes)
			table.keep();
		else
			table.undo();
		require(passes || table.pack() == before);
		try_judged(before, table_bytes, exact.get(), size, lines);
	}
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	std::string bytes(data + 1, data + size);

	unsigned kind = data[0] % 8;

	if (kind > 5)
		try_heads(bytes, data[0]);
	else if (kind > 3)
		try_frames(bytes, kind == 4);
	else if (kind == 3)
		try_screen(bytes);
	else
		try_message(bytes, kind);
	return 0;
}
