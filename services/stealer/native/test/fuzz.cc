/*
 * libFuzzer: the first byte says whether the others are a request, an answer, an answer to HEAD, texts and what they are looked
 * for in, or frames of a client or of a target. What must hold however they are: no byte is read that is not there; a plain message
 * ends in one place only, so that nothing hides behind it; a screen finds what a plain search finds; frames mean the same wherever
 * they are cut, and what may not pass counts for nothing.
 */
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "plain_message.h"
#include "screen.h"
#include "streams_pair.h"

namespace
{

constexpr size_t PREFIXES = 512;

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
	       one.cut_request().left == other.cut_request().left && one.cut_answer().left == other.cut_answer().left;
}

void try_frames(const std::string &bytes, bool is_client)
{
	const StreamsPair fresh(1, {1}, {"", "\x82"});
	auto passes = [&bytes, is_client](StreamsPair &pair, size_t from, size_t to) {
		std::unique_ptr<uint8_t[]> exact(new uint8_t[to - from]);
		uint64_t requests = 0;

		memcpy(exact.get(), bytes.data() + from, to - from);
		return is_client ? pair.ask(exact.get(), to - from, &requests) : pair.answer(exact.get(), to - from);
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

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	std::string bytes(data + 1, data + size);

	unsigned kind = data[0] % 6;

	if (kind > 3)
		try_frames(bytes, kind == 4);
	else if (kind == 3)
		try_screen(bytes);
	else
		try_message(bytes, kind);
	return 0;
}
