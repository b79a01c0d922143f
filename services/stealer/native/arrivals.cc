/* Doors, and how a connection that comes in at one is dialled on, kept and given away. */
#include "arrivals.h"

#include <cerrno>
#include <ctime>
#include <sys/epoll.h>
#include <unistd.h>

/* Connections taken in one turn of the loop, so that those we have are not starved. */
static constexpr int ACCEPTED_PER_TURN = 64;

static int64_t now_ms()
{
	struct timespec now = {};

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return static_cast<int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1000000;
}

Arrivals::~Arrivals()
{
	while (!doors_.empty())
		for (int client : close_door(doors_.begin()->first)) {
			one *left = at(client);

			if (left != nullptr)
				finish(*left, true, true);
		}
}

/* Also of one that is handed over and not taken. */
Arrivals::one *Arrivals::at(int fd)
{
	size_t place = static_cast<size_t>(fd);

	if (fd < 0 || place >= places_.size() || places_[place] == 0)
		return nullptr;
	return &all_[places_[place] - 1];
}

Arrivals::one *Arrivals::find(int fd, uint32_t id)
{
	one *found = at(fd);

	if (found == nullptr || found->phase == phase::handed)
		return nullptr;
	return (found->facts.client == fd ? found->facts.client_id : found->facts.origin_id) == id ? found : nullptr;
}

/* ---- doors */

/* Told whenever somebody waits. */
static int listen_on(int epoll_fd, int operation, int fd, uint32_t id, uint32_t events)
{
	struct epoll_event event = {};

	event.events = events;
	event.data.u64 = static_cast<uint64_t>(static_cast<uint32_t>(fd)) << 32 | id;
	return epoll_ctl(epoll_fd, operation, fd, &event) < 0 ? -errno : 0;
}

uint32_t Arrivals::open_door(const struct door &door, int *error)
{
	uint32_t id = FIRST_ARRIVAL_ID | ++last_id_;

	/* What is accepted has it from here. */
	*error = socket_prepare(door.listener_fd, false);
	if (*error == 0)
		*error = listen_on(epoll_fd_, EPOLL_CTL_ADD, door.listener_fd, id, EPOLLIN);
	if (*error < 0)
		return 0;
	doors_[id] = {door, door.to == nullptr ? endpoint{} : *door.to, {}};
	return id;
}

void Arrivals::set_port(uint32_t door_id, uint16_t port, int64_t screen)
{
	auto found = doors_.find(door_id);

	if (found == doors_.end())
		return;
	/* What cannot be joined is not dealt with here. */
	if (screen < 0 || !exchanges_.has_screen(static_cast<uint32_t>(screen)))
		found->second.screens.erase(port);
	else
		found->second.screens[port] = static_cast<uint32_t>(screen);
}

void Arrivals::resume(uint32_t door_id)
{
	auto found = doors_.find(door_id);

	if (found != doors_.end())
		listen_on(epoll_fd_, EPOLL_CTL_MOD, found->second.door.listener_fd, door_id, EPOLLIN);
}

std::vector<int> Arrivals::close_door(uint32_t door_id)
{
	auto found = doors_.find(door_id);
	std::vector<int> left;

	if (found == doors_.end())
		return left;
	sockets_remove(epoll_fd_, found->second.door.listener_fd);
	for (one &some : all_) {
		if (some.phase == phase::gone || some.facts.door_id != door_id)
			continue;
		if (some.phase == phase::closing)
			finish(some, false, false);
		else
			left.push_back(some.facts.client);
	}
	doors_.erase(found);
	return left;
}

bool Arrivals::take(int client, struct arrival *taken)
{
	one *found = at(client);

	if (found == nullptr || found->phase == phase::closing || found->facts.client != client)
		return false;
	*taken = found->facts;
	release(*found);
	return true;
}

size_t Arrivals::count_of(uint32_t screen) const
{
	return screen < counts_.size() ? counts_[screen] : 0;
}

bool Arrivals::take_news()
{
	bool has_news = has_news_;

	has_news_ = false;
	return has_news;
}

/* ---- coming in */

/* Connected to from where it was meant to go, past the redirect. */
int Arrivals::dial(const struct one_door &door, const struct endpoint &to, struct endpoint *bound) const
{
	int fd = bind_in(door.door.namespace_fd, to, bound);
	int error;

	if (fd < 0)
		return fd;
	/* Without the right to it a sniffer sees it twice; a translation would bring it back to us. */
	error = door.door.namespace_fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_MARK, &own_mark, sizeof own_mark) < 0 ? -errno : 0;
	if (error == 0 || !door.door.is_translated)
		error = socket_prepare(fd, is_loopback(to));
	if (error == 0 && door.door.redirect != nullptr)
		error = redirect_dial(door.door.redirect, *bound, true);
	if (error == 0) {
		error = connect_to(fd, to);
		if (error < 0 && door.door.redirect != nullptr)
			redirect_dial(door.door.redirect, *bound, false);
	}
	if (error == 0)
		return fd;
	close(fd);
	return error;
}

void Arrivals::put(one &some)
{
	uint32_t place = static_cast<uint32_t>(&some - all_.data()) + 1;
	size_t most = static_cast<size_t>(some.facts.client > some.facts.origin ? some.facts.client : some.facts.origin);

	if (most >= places_.size())
		places_.resize(most + 1, 0);
	places_[static_cast<size_t>(some.facts.client)] = place;
	places_[static_cast<size_t>(some.facts.origin)] = place;
	if (some.facts.screen >= counts_.size())
		counts_.resize(some.facts.screen + 1, 0);
	counts_[some.facts.screen]++;
}

/* False when it is for who is told of strange ones: the descriptor is as it was. */
bool Arrivals::welcome(uint32_t door_id, const struct one_door &door, int client, const struct endpoint &peer)
{
	struct sockaddr_storage address = {};
	socklen_t length = sizeof address;
	struct arrival facts;

	if (door.door.is_translated) {
		if (original_of(client, &facts.local) < 0)
			return false;
	} else if (getsockname(client, reinterpret_cast<struct sockaddr *>(&address), &length) < 0) {
		return false;
	} else {
		facts.local = to_endpoint(address);
	}
	auto screen = door.screens.find(facts.local.port);

	if (screen == door.screens.end())
		return false;
	facts.origin = dial(door, door.door.to == nullptr ? facts.local : door.to, &facts.bound);
	if (facts.origin < 0)
		return false;
	facts.client = client;
	facts.peer = peer;
	facts.door_id = door_id;
	facts.screen = screen->second;
	facts.is_dialling = true;
	facts.client_id = FIRST_ARRIVAL_ID | (++last_id_ & (FIRST_ARRIVAL_ID - 1));
	facts.origin_id = FIRST_ARRIVAL_ID | (++last_id_ & (FIRST_ARRIVAL_ID - 1));
	/* All other properties are its listener's. */
	if (is_loopback(peer))
		(void)socket_prepare(client, true);
	if (sockets_add_prepared(epoll_fd_, facts.origin, facts.origin_id) < 0 ||
	    sockets_add_prepared(epoll_fd_, client, facts.client_id) < 0) {
		if (door.door.redirect != nullptr)
			redirect_dial(door.door.redirect, facts.bound, false);
		close(facts.origin);
		return false;
	}
	if (free_.empty()) {
		free_.push_back(static_cast<uint32_t>(all_.size()));
		all_.emplace_back();
	}
	one &some = all_[free_.back()];

	free_.pop_back();
	some.facts = facts;
	some.phase = phase::dialling;
	put(some);
	dials_.push_back({client, facts.client_id, now_ms() + DIAL_PATIENCE_MS});
	return true;
}

/* False when none waits, or none can be had. */
bool Arrivals::accept_one(uint32_t door_id, struct one_door &door, struct told_socket *told, size_t *number)
{
	struct sockaddr_storage peer = {};
	socklen_t length = sizeof peer;
	int client = accept4(door.door.listener_fd, reinterpret_cast<struct sockaddr *>(&peer), &length, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (client < 0) {
		/* Errors of the connection itself are skipped, as its manual page says. */
		if (errno == ECONNABORTED || errno == EINTR || errno == EPROTO)
			return true;
		if (errno != EAGAIN && errno != EWOULDBLOCK) {
			/* It would be ready again at once, and refused again. */
			listen_on(epoll_fd_, EPOLL_CTL_MOD, door.door.listener_fd, door_id, 0);
			told[(*number)++] = {door_id, ARRIVAL_SHORTAGE, 0, 0};
		}
		return false;
	}
	if (welcome(door_id, door, client, to_endpoint(peer)))
		has_news_ = true;
	else
		told[(*number)++] = {door_id, ARRIVAL_STRANGE, static_cast<uint32_t>(client), 0};
	return true;
}

/* ---- given away */

void Arrivals::forget_dial(const one &some) const
{
	auto found = doors_.find(some.facts.door_id);

	if (found != doors_.end() && found->second.door.redirect != nullptr)
		redirect_dial(found->second.door.redirect, some.facts.bound, false);
}

void Arrivals::hand_over(one &some, struct told_socket *told, size_t *number)
{
	some.phase = phase::handed;
	told[(*number)++] = {some.facts.client_id, ARRIVAL_BORN, static_cast<uint32_t>(some.facts.client), 0};
}

/* It is nobody's any more; what is open stays so. */
void Arrivals::release(one &some)
{
	for (int fd : {some.facts.client, some.facts.origin})
		if (fd >= 0)
			places_[static_cast<size_t>(fd)] = 0;
	counts_[some.facts.screen]--;
	some = {};
	free_.push_back(static_cast<uint32_t>(&some - all_.data()));
}

size_t Arrivals::turn(const struct ready_socket *ready, size_t count, size_t *next, uint8_t *bytes, size_t size, struct told_socket *told,
                      size_t most)
{
	size_t number = 0;

	for (; *next < count && number + 2 <= most; (*next)++) {
		const struct ready_socket &now = ready[*next];
		auto door = now.id >= FIRST_ARRIVAL_ID ? doors_.find(now.id) : doors_.end();

		if (door != doors_.end()) {
			for (int some = 0; some < ACCEPTED_PER_TURN && number < most; some++)
				if (!accept_one(now.id, door->second, told, &number))
					break;
			continue;
		}
		one *own = find(now.fd, now.id);
		bool is_joined = own == nullptr && exchanges_.is_joined(now.fd, now.id);

		if ((own != nullptr || is_joined) && number > 0)
			break;
		if (own != nullptr) {
			if (!on_ready(*own, now, {bytes, size}, told, &number))
				continue;
			(*next)++;
			break;
		}
		struct passed passed = {0, 0, 0, false};

		if (is_joined) {
			/* Nothing waits to be written. */
			if (now.mask == SOCKET_WRITABLE)
				continue;
			if ((now.mask & SOCKET_ENDS) != 0)
				passed.told = exchanges_.part(now.fd);
			else {
				passed = exchanges_.pass(now.fd, bytes, size);
				if (passed.told == 0)
					continue;
			}
		}
		told[number++] = {now.id, now.mask | passed.told, static_cast<uint32_t>(passed.start), static_cast<int32_t>(passed.count)};
		if ((passed.told & (PAIR_READ | PAIR_REST)) != 0) {
			(*next)++;
			break;
		}
	}
	return number;
}

size_t Arrivals::sweep(struct told_socket *told, size_t most)
{
	return sweep_at(now_ms(), told, most);
}

size_t Arrivals::sweep_at(int64_t now, struct told_socket *told, size_t most)
{
	size_t number = 0;

	for (; !dials_.empty() && dials_.front().at_ms <= now && number < most; dials_.pop_front()) {
		one *found = find(dials_.front().client, dials_.front().client_id);

		if (found != nullptr && found->phase == phase::dialling)
			hand_over(*found, told, &number);
	}
	for (; !lingers_.empty() && lingers_.front().at_ms <= now; lingers_.pop_front()) {
		one *found = find(lingers_.front().client, lingers_.front().client_id);

		if (found != nullptr && found->phase == phase::closing)
			finish(*found, true, false);
	}
	return number;
}

void Arrivals::linger(one &some)
{
	some.phase = phase::closing;
	lingers_.push_back({some.facts.client, some.facts.client_id, now_ms() + LINGER_MS});
}
