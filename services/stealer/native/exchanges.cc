/* Passes plain messages on between the two sockets of a pair. */
#include "exchanges.h"

#include <cerrno>

#include "plain_message.h"

/* Reads that fill the memory, of one socket, before it is another's turn. */
static constexpr int READS_OF_ONE = 8;

void Exchanges::set_screen(uint32_t screen, const std::optional<std::vector<std::string>> &texts)
{
	if (screen >= MAX_SCREENS)
		return;
	if (screen >= screens_.size())
		screens_.resize(screen + 1);
	screens_[screen].screen = texts ? Screen(*texts) : Screen();
}

uint64_t Exchanges::take_count(uint32_t screen)
{
	uint64_t count = screen < screens_.size() ? screens_[screen].count : 0;

	if (count > 0)
		screens_[screen].count = 0;
	return count;
}

bool Exchanges::join(int client, uint32_t client_id, int origin, uint32_t origin_id, uint32_t screen)
{
	size_t most = static_cast<size_t>(client > origin ? client : origin);

	if (client < 0 || origin < 0 || client == origin || screen >= screens_.size())
		return false;
	if (most >= sides_.size())
		sides_.resize(most + 1);
	part(client);
	part(origin);
	sides_[static_cast<size_t>(client)] = {origin, client_id, screen, true, 0, 0};
	sides_[static_cast<size_t>(origin)] = {client, origin_id, screen, false, 0, 0};
	return true;
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
	struct one_side &client = sides_[at].is_client ? sides_[at] : other;

	other = {};
	sides_[at] = {};
	client.left = left;
	return PAIR_PARTED | asked | (left > 0 ? PAIR_UNSENT : 0U);
}

uint64_t Exchanges::take_left(int client)
{
	size_t at = static_cast<size_t>(client);
	uint64_t left = 0;

	if (at < sides_.size() && sides_[at].other < 0)
		std::swap(left, sides_[at].left);
	return left;
}

/*
 * A request, or the beginning of one, that no filter can want, or what follows of its body. Then what is on its way with it, and
 * what is still to come.
 */
bool Exchanges::may_pass(const struct one_side &client, const uint8_t *bytes, size_t count, uint32_t *asked, uint64_t *left) const
{
	struct plain_message message;

	if (client.asked != 0) {
		*asked = client.asked;
		*left = client.left - count;
		return count <= client.left;
	}
	if (!read_plain_beginning(bytes, count, &message) || screens_[client.screen].screen.stops(bytes, message.head_end))
		return false;
	*asked = message.is_head ? PAIR_ASKED | PAIR_ASKED_HEAD : PAIR_ASKED;
	*left = message.left;
	return true;
}

/* @param asked what is on its way when this has been written */
struct passed Exchanges::forward(int fd, uint32_t asked, const uint8_t *bytes, size_t count)
{
	struct one_side &side = sides_[static_cast<size_t>(fd)];
	struct one_side &client = side.is_client ? side : sides_[static_cast<size_t>(side.other)];
	int64_t written = streams_.write(side.other, bytes, count);
	size_t start = written > 0 ? static_cast<size_t>(written) : 0;

	client.asked = asked;
	if (start == count)
		return {0, 0, 0};
	/* An error is met again by who writes the rest. */
	return {part(fd) | PAIR_REST, start, static_cast<int64_t>(count - start)};
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
		uint32_t asked;
		uint64_t left;

		if (got == -EAGAIN)
			return {0, 0, 0};
		/* An end is told with what precedes it. */
		if (count == 0 || streams_.has_end(fd) || (!is_all && reads == READS_OF_ONE) || !may_pass(side, bytes, count, &asked, &left))
			return {part(fd) | PAIR_READ, 0, got};
		if (side.asked == 0)
			screens_[side.screen].count++;
		side.left = left;
		passed = forward(fd, asked, bytes, count);
		if (passed.told != 0 || is_all)
			return passed;
	}
}

struct passed Exchanges::pass(int fd, uint8_t *bytes, size_t size)
{
	const struct one_side &side = sides_[static_cast<size_t>(fd)];

	if (side.is_client)
		return pass_request(fd, bytes, size);
	int64_t got = streams_.read(fd, bytes, size);
	size_t count = got > 0 ? static_cast<size_t>(got) : 0;
	const struct one_side &client = sides_[static_cast<size_t>(side.other)];
	bool is_to_head = (client.asked & PAIR_ASKED_HEAD) != 0;
	struct plain_message message;

	if (got == -EAGAIN)
		return {0, 0, 0};
	/* An answer before all of the request is nothing plain. */
	if (count > 0 && count < size && !streams_.has_end(fd) && client.asked != 0 && client.left == 0 &&
	    read_plain_response(bytes, count, is_to_head, &message))
		return forward(fd, 0, bytes, count);
	return {part(fd) | PAIR_READ, 0, got};
}

size_t Exchanges::turn(const struct ready_socket *ready, size_t count, size_t *next, uint8_t *bytes, size_t size, struct told_socket *told)
{
	size_t number = 0;

	while (*next < count) {
		const struct ready_socket &one = ready[*next];
		struct passed passed = {0, 0, 0};
		bool is_one_of_two = is_joined(one.fd, one.id);

		if (is_one_of_two && number > 0)
			break;
		(*next)++;
		if (is_one_of_two) {
			/* Nothing waits to be written. */
			if (one.mask == SOCKET_WRITABLE)
				continue;
			if ((one.mask & SOCKET_ENDS) != 0)
				passed.told = part(one.fd);
			else {
				passed = pass(one.fd, bytes, size);
				if (passed.told == 0)
					continue;
			}
		}
		told[number++] = {one.id, one.mask | passed.told, static_cast<uint32_t>(passed.start), static_cast<int32_t>(passed.count)};
		if ((passed.told & (PAIR_READ | PAIR_REST)) != 0)
			break;
	}
	return number;
}
