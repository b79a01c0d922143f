/* Passes plain messages on between the two sockets of a pair. */
#include "exchanges.h"

#include <cerrno>

#include "plain_message.h"

/* Reads that fill the memory, of one socket, before it is another's turn. */
static constexpr int READS_OF_ONE = 8;

void Exchanges::set_screen(uint32_t screen, const std::optional<std::vector<std::string>> &texts, bool is_judged)
{
	if (screen >= MAX_SCREENS)
		return;
	if (screen >= screens_.size())
		screens_.resize(screen + 1);
	screens_[screen].screen = texts ? Screen(*texts) : Screen();
	screens_[screen].is_judged = is_judged;
	screens_[screen].heads = KnownHeads();
	screens_[screen].changes++;
}

void Exchanges::learn_head(uint32_t screen, const uint8_t *head, size_t size)
{
	if (screen < screens_.size())
		screens_[screen].heads.learn(head, size);
}

uint64_t Exchanges::take_count(uint32_t screen)
{
	uint64_t count = screen < screens_.size() ? screens_[screen].count : 0;

	if (count > 0)
		screens_[screen].count = 0;
	return count;
}

bool Exchanges::join(int client, uint32_t client_id, int origin, uint32_t origin_id, uint32_t screen, bool may_end)
{
	size_t most = static_cast<size_t>(client > origin ? client : origin);

	if (client < 0 || origin < 0 || client == origin || screen >= screens_.size())
		return false;
	if (most >= sides_.size())
		sides_.resize(most + 1);
	part(client);
	part(origin);
	sides_[static_cast<size_t>(client)] = {origin, client_id, screen, true, false, may_end, 0, 0, nullptr, 0};
	sides_[static_cast<size_t>(origin)] = {client, origin_id, screen, false, false, false, 0, 0, nullptr, 0};
	return true;
}

bool Exchanges::join_streams(int client, uint32_t client_id, int origin, uint32_t origin_id, uint32_t screen, std::unique_ptr<StreamsPair> pair)
{
	if (!join(client, client_id, origin, origin_id, screen))
		return false;
	sides_[static_cast<size_t>(client)].streams = std::move(pair);
	sides_[static_cast<size_t>(client)].changes = screens_[screen].changes;
	return true;
}

std::unique_ptr<StreamsPair> Exchanges::take_streams(int client)
{
	size_t at = static_cast<size_t>(client);

	return at < sides_.size() && sides_[at].other < 0 ? std::move(sides_[at].streams) : nullptr;
}

bool Exchanges::is_joined(int fd, uint32_t id) const
{
	size_t at = static_cast<size_t>(fd);

	return at < sides_.size() && sides_[at].other >= 0 && sides_[at].id == id;
}

uint32_t Exchanges::part(int fd)
{
	size_t at = static_cast<size_t>(fd);

	if (fd < 0 || at >= sides_.size() || sides_[at].other < 0)
		return 0;
	struct one_side &other = sides_[static_cast<size_t>(sides_[at].other)];
	uint32_t asked = sides_[at].asked | other.asked;
	uint64_t left = sides_[at].left + other.left;
	std::unique_ptr<StreamsPair> streams = std::move(sides_[at].is_client ? sides_[at].streams : other.streams);
	bool is_last = sides_[at].is_last || other.is_last;
	struct one_side &client = sides_[at].is_client ? sides_[at] : other;

	other = {};
	sides_[at] = {};
	client.left = left;
	client.streams = std::move(streams);
	return PAIR_PARTED | asked | (left > 0 ? PAIR_UNSENT : 0U) | (is_last ? PAIR_LAST : 0U);
}

uint64_t Exchanges::take_left(int client)
{
	size_t at = static_cast<size_t>(client);
	uint64_t left = 0;

	if (at < sides_.size() && sides_[at].other < 0)
		std::swap(left, sides_[at].left);
	return left;
}

/* As the screen, or what is known, or its judge has it. */
bool Exchanges::is_unwanted(uint32_t screen, const uint8_t *head, size_t size, bool has_body)
{
	struct one_screen &one = screens_[screen];

	if (!one.screen.stops(head, size) || one.heads.has(head, size))
		return true;
	if (!one.is_judged || judge_ == nullptr || !judge_->lines.take(head, size) || !judge_->is_unwanted(screen, has_body))
		return false;
	one.heads.learn(head, size);
	return true;
}

/* A request, or the beginning of one, that no filter can want, or what follows of its body. */
bool Exchanges::may_pass(const struct one_side &client, const uint8_t *bytes, size_t count, struct on_its_way *after)
{
	struct plain_message message;

	if (client.asked != 0) {
		*after = {client.asked, client.left - count, client.is_last};
		return count <= client.left;
	}
	if (client.is_last || !read_plain_beginning(bytes, count, &message))
		return false;
	if (!is_unwanted(client.screen, bytes, message.head_end, message.left > 0 || message.head_end < count))
		return false;
	*after = {message.is_head ? PAIR_ASKED | PAIR_ASKED_HEAD : PAIR_ASKED, message.left, message.closes};
	return true;
}

/* @param asked what is on its way when this has been written */
struct passed Exchanges::forward(int fd, uint32_t asked, const uint8_t *bytes, size_t count, bool is_final)
{
	struct one_side &side = sides_[static_cast<size_t>(fd)];
	struct one_side &client = side.is_client ? side : sides_[static_cast<size_t>(side.other)];
	int64_t written = is_final ? socket_write_before_end(side.other, bytes, count) : streams_.write(side.other, bytes, count);
	size_t start = written > 0 ? static_cast<size_t>(written) : 0;

	client.asked = asked;
	if (start == count)
		return {0, 0, 0, is_final};
	/* An error is met again by who writes the rest. */
	return {part(fd) | PAIR_REST | (is_final ? PAIR_FINAL : 0U), start, static_cast<int64_t>(count - start), false};
}

/* One read, and more of them while they fill the memory: what is left is not told anew. */
struct passed Exchanges::pass_request(int fd, uint8_t *bytes, size_t size)
{
	struct one_side &side = sides_[static_cast<size_t>(fd)];

	for (int reads = 0;; reads++) {
		int64_t got = streams_.read(fd, bytes, size);
		size_t count = got > 0 ? static_cast<size_t>(got) : 0;
		bool is_all = count < size;
		struct passed passed;
		struct on_its_way after;

		if (got == -EAGAIN)
			return {0, 0, 0, false};
		/* An end is told with what precedes it. */
		if (count == 0 || streams_.has_end(fd) || (!is_all && reads == READS_OF_ONE) || !may_pass(side, bytes, count, &after))
			return {part(fd) | PAIR_READ, 0, got, false};
		if (side.asked == 0)
			screens_[side.screen].count++;
		side.left = after.left;
		side.is_last = after.is_last;
		passed = forward(fd, after.asked, bytes, count, false);
		if (passed.told != 0 || is_all)
			return passed;
	}
}

bool Exchanges::may_pass_frames(int fd, const struct one_side &client, const uint8_t *bytes, size_t count)
{
	struct one_screen &screen = screens_[client.screen];
	uint64_t requests = 0;

	if (!sides_[static_cast<size_t>(fd)].is_client)
		return client.streams->answer(bytes, count);
	/* What was known of requests is so no more. */
	if (screen.changes != client.changes)
		return false;
	if (!client.streams->ask(bytes, count, {screen.screen, screen.is_judged ? judge_ : nullptr, client.screen}, &requests))
		return false;
	screen.count += requests;
	return true;
}

/* Of HTTP/2, in either direction, as pass_request. */
struct passed Exchanges::pass_frames(int fd, uint8_t *bytes, size_t size)
{
	const struct one_side &side = sides_[static_cast<size_t>(fd)];
	const struct one_side &client = side.is_client ? side : sides_[static_cast<size_t>(side.other)];

	for (int reads = 0;; reads++) {
		int64_t got = streams_.read(fd, bytes, size);
		size_t count = got > 0 ? static_cast<size_t>(got) : 0;
		bool is_all = count < size;
		struct passed passed;

		if (got == -EAGAIN)
			return {0, 0, 0, false};
		if (count == 0 || streams_.has_end(fd) || (!is_all && reads == READS_OF_ONE) || !may_pass_frames(fd, client, bytes, count))
			return {part(fd) | PAIR_READ, 0, got, false};
		passed = forward(fd, 0, bytes, count, false);
		if (passed.told != 0 || is_all)
			return passed;
	}
}

struct passed Exchanges::pass(int fd, uint8_t *bytes, size_t size)
{
	const struct one_side &side = sides_[static_cast<size_t>(fd)];

	if (side.streams != nullptr || sides_[static_cast<size_t>(side.other)].streams != nullptr)
		return pass_frames(fd, bytes, size);
	if (side.is_client)
		return pass_request(fd, bytes, size);
	int64_t got = streams_.read(fd, bytes, size);
	size_t count = got > 0 ? static_cast<size_t>(got) : 0;
	const struct one_side &client = sides_[static_cast<size_t>(side.other)];
	bool is_to_head = (client.asked & PAIR_ASKED_HEAD) != 0;
	struct plain_message message;

	if (got == -EAGAIN)
		return {0, 0, 0, false};
	/* An answer before all of the request is nothing plain. */
	if (count > 0 && count < size && !streams_.has_end(fd) && client.asked != 0 && client.left == 0 &&
	    read_plain_response(bytes, count, is_to_head, &message) && (!message.closes || client.may_end))
		return forward(fd, 0, bytes, count, message.closes);
	return {part(fd) | PAIR_READ, 0, got, false};
}
