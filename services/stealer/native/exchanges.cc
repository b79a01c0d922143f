/* Passes plain messages on between the two sockets of a pair. */
#include "exchanges.h"

#include <cerrno>

#include "plain_message.h"

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
	sides_[static_cast<size_t>(client)] = {origin, client_id, screen, true, 0};
	sides_[static_cast<size_t>(origin)] = {client, origin_id, screen, false, 0};
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

	other = {};
	sides_[at] = {};
	return PAIR_PARTED | asked;
}

/* A request that no filter can want. */
bool Exchanges::is_free_request(const struct one_side &client, const uint8_t *bytes, size_t count, uint32_t *asked) const
{
	struct plain_message message;

	if (!read_plain_request(bytes, count, &message) || screens_[client.screen].screen.stops(bytes, message.head_end))
		return false;
	*asked = message.is_head ? PAIR_ASKED | PAIR_ASKED_HEAD : PAIR_ASKED;
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

struct passed Exchanges::pass(int fd, uint8_t *bytes, size_t size)
{
	const struct one_side &side = sides_[static_cast<size_t>(fd)];
	int64_t got = streams_.read(fd, bytes, size);
	size_t count = got > 0 ? static_cast<size_t>(got) : 0;
	struct plain_message message;
	uint32_t asked;

	if (got == -EAGAIN)
		return {0, 0, 0};
	/* A read that fills the memory may have left something, and an end is told with what precedes it. */
	if (count > 0 && count < size && !streams_.has_end(fd)) {
		if (side.is_client && side.asked == 0 && is_free_request(side, bytes, count, &asked)) {
			screens_[side.screen].count++;
			return forward(fd, asked, bytes, count);
		}
		if (!side.is_client) {
			uint32_t due = sides_[static_cast<size_t>(side.other)].asked;

			if (due != 0 && read_plain_response(bytes, count, (due & PAIR_ASKED_HEAD) != 0, &message))
				return forward(fd, 0, bytes, count);
		}
	}
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
