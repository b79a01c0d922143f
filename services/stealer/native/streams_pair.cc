/* Reads the frames of HTTP/2 (RFC 9113 section 6) as far as they may pass. */
#include "streams_pair.h"

#include <algorithm>
#include <cstring>

#include "request_head.h"

static constexpr size_t HEAD_BYTES = 9;
static constexpr size_t PRIORITY_BYTES = 5;

enum : uint8_t { DATA = 0, HEADERS = 1, PRIORITY = 2, RST_STREAM = 3, PING = 6, WINDOW_UPDATE = 8 };
enum : uint8_t { END_STREAM = 1, END_HEADERS = 4, PADDED = 8, HAS_PRIORITY = 0x20 };

static uint32_t number_at(const uint8_t *bytes)
{
	return static_cast<uint32_t>(bytes[0]) << 24 | static_cast<uint32_t>(bytes[1]) << 16 | static_cast<uint32_t>(bytes[2]) << 8 | bytes[3];
}

bool StreamsPair::is_known(const uint8_t *block, size_t size, bool has_body) const
{
	auto is_same = [block, size](const std::string &one) { return one.size() == size && memcmp(one.data(), block, size) == 0; };

	return std::any_of(blocks_.begin(), blocks_.end(), is_same) ||
	       std::any_of(judged_.begin(), judged_.end(), [=](const judged_block &one) { return one.has_body == has_body && is_same(one.block); });
}

/* What leaves the table as it is is judged once. */
void StreamsPair::learn(const uint8_t *block, size_t size, bool has_body)
{
	if (size > MAX_JUDGED_BLOCK_BYTES)
		return;
	if (judged_.size() == MAX_JUDGED_BLOCKS)
		judged_.erase(judged_.begin());
	judged_.push_back({std::string(reinterpret_cast<const char *>(block), size), has_body});
}

bool StreamsPair::may_begin(const struct frame_head &head, const uint8_t *block, size_t size, const struct sieve &sieve)
{
	bool has_body = (head.flags & END_STREAM) == 0;

	/* What is known means what it did as long as the table is the same. */
	if (table_.is_on_trial() || !is_known(block, size, has_body)) {
		if (!is_unwanted(&table_, block, size, has_body, sieve, &change_.budget))
			return false;
		if (sieve.judge != nullptr && sieve.screen.stops_all() && !table_.is_on_trial())
			learn(block, size, has_body);
	}
	change_.highest = head.stream;
	change_.begun.push_back(head.stream);
	return true;
}

/* @param count what there is of the payload, at most all of it */
bool StreamsPair::may_ask(const struct frame_head &head, const uint8_t *payload, size_t count, const struct sieve &sieve)
{
	size_t start = (head.flags & HAS_PRIORITY) != 0 ? PRIORITY_BYTES : 0;

	if (head.type == DATA)
		return head.stream != 0;
	if (count < head.length)
		return false;
	switch (head.type) {
	case HEADERS:
		return head.stream % 2 == 1 && head.stream > change_.highest && (head.flags & (END_HEADERS | PADDED)) == END_HEADERS &&
		       count >= start && may_begin(head, payload + start, count - start, sieve);
	case PRIORITY:
		return head.stream != 0 && head.length == PRIORITY_BYTES;
	case RST_STREAM:
		change_.ended.push_back(head.stream);
		return head.stream != 0 && head.length == 4;
	case PING:
		return head.stream == 0 && head.length == 8;
	case WINDOW_UPDATE:
		if (head.stream == 0 && head.length == 4)
			change_.window += number_at(payload) & 0x7fffffff;
		return head.length == 4;
	default:
		return false;
	}
}

bool StreamsPair::may_answer(const struct frame_head &head, bool is_whole)
{
	switch (head.type) {
	case DATA:
		change_.window -= head.length;
		return head.stream != 0;
	case HEADERS:
		return head.stream != 0 && (head.flags & END_HEADERS) != 0;
	case RST_STREAM:
		change_.ended.push_back(head.stream);
		return is_whole && head.stream != 0 && head.length == 4;
	case PING:
		return head.stream == 0 && head.length == 8;
	case WINDOW_UPDATE:
		return head.length == 4;
	default:
		return false;
	}
}

/* Of a frame of the target's whose last byte has come. */
void StreamsPair::note_end(const struct frame_head &head)
{
	if ((head.type == DATA || head.type == HEADERS) && (head.flags & END_STREAM) != 0)
		change_.ended.push_back(head.stream);
}

/* @param cut what was before, and then what is after. @param sieve null: of the target's */
bool StreamsPair::look(struct cut_frame *cut, const uint8_t *bytes, size_t count, const struct sieve *sieve)
{
	size_t at = std::min<size_t>(cut->left, count);
	bool was_cut = cut->left > 0;
	bool is_client = sieve != nullptr;

	change_.budget = MAX_READ_HEADS_BYTES;
	change_.highest = highest_;
	change_.window = 0;
	change_.begun.clear();
	change_.ended.clear();
	cut->left -= static_cast<uint32_t>(at);
	if (was_cut && cut->left == 0 && !is_client)
		note_end(cut->head);
	while (at < count) {
		const uint8_t *head = bytes + at;
		struct frame_head now;

		if (count - at < HEAD_BYTES)
			return false;
		now = {number_at(head) >> 8, head[3], head[4], number_at(head + 5) & 0x7fffffff};
		at += HEAD_BYTES;
		size_t there = std::min<size_t>(now.length, count - at);

		if (!(is_client ? may_ask(now, bytes + at, there, *sieve) : may_answer(now, there == now.length)))
			return false;
		*cut = {now, static_cast<uint32_t>(now.length - there)};
		if (cut->left == 0 && !is_client)
			note_end(now);
		at += there;
	}
	return true;
}

bool StreamsPair::apply(const struct cut_frame &cut, struct cut_frame *kept)
{
	if (open_.size() + change_.begun.size() > MAX_OPEN_STREAMS)
		return false;
	open_.insert(open_.end(), change_.begun.begin(), change_.begun.end());
	for (uint32_t stream : change_.ended) {
		auto found = std::find(open_.begin(), open_.end(), stream);

		if (found != open_.end())
			open_.erase(found);
	}
	highest_ = change_.highest;
	window_ += change_.window;
	*kept = cut;
	return true;
}

bool StreamsPair::ask(const uint8_t *bytes, size_t count, const struct sieve &sieve, uint64_t *requests)
{
	struct cut_frame cut = asking_;

	if (!look(&cut, bytes, count, &sieve) || !apply(cut, &asking_)) {
		table_.undo();
		return false;
	}
	if (table_.is_on_trial()) {
		has_new_table_ = true;
		blocks_.clear();
		judged_.clear();
		table_.keep();
	}
	*requests = change_.begun.size();
	return true;
}

bool StreamsPair::answer(const uint8_t *bytes, size_t count)
{
	struct cut_frame cut = answering_;

	return look(&cut, bytes, count, nullptr) && apply(cut, &answering_);
}
