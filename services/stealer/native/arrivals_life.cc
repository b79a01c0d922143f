/* The life of a connection between its dial and its end. */
#include "arrivals.h"

#include <cerrno>

/* Reads of what a client says after its last answer, of one that is told once. */
static constexpr int READS_AFTER_END = 8;

/* True when something was told that lies in the memory. */
bool Arrivals::on_ready(one &some, const struct ready_socket &ready, struct space memory, struct told_socket *told, size_t *number)
{
	if (some.phase == phase::dialling)
		return on_dialling(some, ready, memory, told, number);
	if (some.phase == phase::joined)
		return on_joined(some, ready.fd, ready.mask, memory, told, number);
	on_closing(some, ready.fd, memory);
	return false;
}

bool Arrivals::on_dialling(one &some, const struct ready_socket &ready, struct space memory, struct told_socket *told, size_t *number)
{
	struct arrival &facts = some.facts;

	if (ready.fd == facts.client) {
		facts.client_mask |= ready.mask;
		return false;
	}
	/* Refused, or over already. */
	if ((ready.mask & SOCKET_ENDS) != 0) {
		hand_over(some, told, number);
		told[(*number)++] = {facts.origin_id, ready.mask, 0, 0};
		return false;
	}
	if ((ready.mask & SOCKET_WRITABLE) == 0)
		return false;
	forget_dial(some);
	facts.is_dialling = false;
	some.phase = phase::joined;
	exchanges_.join(facts.client, facts.client_id, facts.origin, facts.origin_id, facts.screen, true);
	/* Who is to hear of what the target says first hears of what the client is ready for as well. */
	if ((ready.mask & SOCKET_READABLE) != 0 && on_joined(some, facts.origin, ready.mask, memory, told, number))
		return true;
	if (some.phase != phase::joined)
		return false;
	uint32_t mask = facts.client_mask;

	facts.client_mask = 0;
	return on_joined(some, facts.client, mask, memory, told, number);
}

/* What was told of one of the two is told on, behind the birth of both. */
bool Arrivals::tell(one &some, int fd, uint32_t mask, const struct passed &passed, struct told_socket *told, size_t *number)
{
	uint32_t id = fd == some.facts.client ? some.facts.client_id : some.facts.origin_id;

	hand_over(some, told, number);
	told[(*number)++] = {id, mask | passed.told, static_cast<uint32_t>(passed.start), static_cast<int32_t>(passed.count)};
	return (passed.told & (PAIR_READ | PAIR_REST)) != 0;
}

/* The client's end, or its failure. Only one at rest is ours: what comes with it is for who can take it apart. */
bool Arrivals::on_client_end(one &some, uint32_t mask, struct told_socket *told, size_t *number)
{
	uint8_t first;
	int fd = some.facts.client;
	int64_t got = socket_peek(fd, &first, 1);
	const struct passed parted = {exchanges_.part(fd), 0, 0, false};

	if (got > 0 || got == -EAGAIN || (parted.told & PAIR_ASKED) != 0)
		return tell(some, fd, mask, parted, told, number);
	finish(some, false, got < 0);
	return false;
}

bool Arrivals::on_joined(one &some, int fd, uint32_t mask, struct space memory, struct told_socket *told, size_t *number)
{
	bool is_client = fd == some.facts.client;
	bool has_ended = (mask & SOCKET_ENDS) != 0;

	/* Nothing waits to be written. */
	if ((mask & SOCKET_READABLE) == 0)
		return false;
	if (has_ended && is_client)
		return on_client_end(some, mask, told, number);
	struct passed passed = exchanges_.pass(fd, memory.bytes, memory.size);

	some.facts.was_asked = some.facts.was_asked || exchanges_.is_asked(some.facts.client);
	/* The end that is behind the answer, if it is one. */
	if (has_ended && passed.told == 0 && !passed.is_final)
		passed = exchanges_.pass(fd, memory.bytes, memory.size);
	if (passed.is_final) {
		if (has_ended)
			close_side(some, false, false);
		begin_closing(some);
		return false;
	}
	if (is_client || (passed.told & (PAIR_READ | PAIR_ASKED)) != PAIR_READ || passed.count > 0)
		return passed.told != 0 && tell(some, fd, mask, passed, told, number);
	/* The target's end, at rest, or its failure. */
	if (passed.count < 0) {
		finish(some, true, false);
		return false;
	}
	close_side(some, false, false);
	begin_closing(some);
	return false;
}

/* The client has all that it gets: it is read on, to see its end. */
void Arrivals::begin_closing(one &some)
{
	exchanges_.part(some.facts.client);
	if (streams_.end(some.facts.client, false) < 0)
		finish(some, false, false);
	else
		linger(some);
}

void Arrivals::on_closing(one &some, int fd, struct space memory)
{
	if (fd == some.facts.origin) {
		close_side(some, false, false);
		return;
	}
	for (int reads = 0; reads < READS_AFTER_END; reads++) {
		int64_t got = streams_.read(fd, memory.bytes, memory.size);

		if (got == -EAGAIN)
			return;
		if (got <= 0) {
			finish(some, false, false);
			return;
		}
	}
}

void Arrivals::close_side(one &some, bool is_client, bool is_reset)
{
	int &fd = is_client ? some.facts.client : some.facts.origin;

	if (fd < 0)
		return;
	exchanges_.part(fd);
	places_[static_cast<size_t>(fd)] = 0;
	socket_close(fd, is_reset);
	fd = -1;
}

void Arrivals::finish(one &some, bool is_client_reset, bool is_origin_reset)
{
	if (some.facts.is_dialling)
		forget_dial(some);
	close_side(some, true, is_client_reset);
	close_side(some, false, is_origin_reset);
	release(some);
}
