/* The parts of the addon that know nothing of Node, under ASAN and UBSAN. TAP. */
#include "sockets.h"
#include "stealer.h"
#include "tap.h"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <unistd.h>
#include <vector>

/* 127.0.0.1 or ::1, in IPv6's form. */
static struct endpoint loopback(bool is_v4, uint16_t port)
{
	struct endpoint to = {};

	if (is_v4)
		inet_pton(AF_INET6, "::ffff:127.0.0.1", to.address);
	else
		inet_pton(AF_INET6, "::1", to.address);
	to.port = port;
	return to;
}

static struct endpoint local_of(int fd)
{
	struct sockaddr_storage address = {};
	socklen_t length = sizeof address;

	getsockname(fd, reinterpret_cast<struct sockaddr *>(&address), &length);
	return to_endpoint(address);
}

/* A connection over loopback, both ends non-blocking and in one epoll descriptor under the ids 0 and 1. */
struct pair {
	int epoll = sockets_open();
	int ends[2] = {-1, -1};

	explicit pair(bool is_v4 = true)
	{
		struct endpoint bound = {};
		int listener = listen_in(-1, 8);
		struct endpoint to = loopback(is_v4, local_of(listener).port);

		ends[0] = bind_in(-1, to, &bound);
		CHECK(ends[0] >= 0 && connect_to(ends[0], to) == 0);
		ends[1] = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
		CHECK(ends[1] >= 0 && memcmp(bound.address, to.address, sizeof bound.address) == 0);
		CHECK(sockets_add(epoll, ends[0], 0) == 0 && sockets_add(epoll, ends[1], 1) == 0);
		close(listener);
	}
	~pair()
	{
		for (int end : ends)
			if (end >= 0)
				close(end);
		close(epoll);
	}
	/* What is told of an end now; 0 for nothing. */
	uint32_t told(uint32_t id)
	{
		struct ready_socket ready[SOCKETS_PER_WAIT];
		int count = sockets_ready(epoll, ready);

		for (int i = 0; i < count; i++)
			if (ready[i].id == id)
				return ready[i].mask;
		return 0;
	}
	/* Whether all of `bits` are told of, now or within seconds: what one end does may reach the other only later. */
	bool is_told(uint32_t id, uint32_t bits)
	{
		uint32_t seen = 0;

		for (int tries = 0; tries < 5000; tries++) {
			seen |= told(id);
			if ((seen & bits) == bits)
				return true;
			usleep(1000);
		}
		return false;
	}
	int64_t send(int end, const char *text)
	{
		return socket_write(ends[end], reinterpret_cast<const uint8_t *>(text), strlen(text));
	}
};

/* As an event loop asks, again and again. */
static bool is_readable_within(int fd, int ms)
{
	struct pollfd asked = {fd, POLLIN, 0};

	return poll(&asked, 1, ms) == 1 && (asked.revents & POLLIN) != 0;
}

static bool is_readable(int fd)
{
	return is_readable_within(fd, 0);
}

static bool gets_readable(int fd)
{
	return is_readable_within(fd, 5000);
}

static void bytes_and_end()
{
	for (bool is_v4 : {true, false}) {
		uint8_t bytes[16];
		pair both(is_v4);

		CHECK(both.told(1) == SOCKET_WRITABLE);
		CHECK(socket_read(both.ends[1], bytes, sizeof bytes) == -EAGAIN);
		CHECK(both.send(0, "hello") == 5);
		CHECK(both.is_told(1, SOCKET_READABLE));
		CHECK(both.told(1) == 0);
		CHECK(socket_read(both.ends[1], bytes, 3) == 3 && memcmp(bytes, "hel", 3) == 0);
		CHECK(both.send(0, "!") == 1 && socket_end(both.ends[0]) == 0);
		CHECK(both.is_told(1, SOCKET_ENDS));
		CHECK(socket_read(both.ends[1], bytes, sizeof bytes) == 3 && memcmp(bytes, "lo!", 3) == 0);
		CHECK(socket_read(both.ends[1], bytes, sizeof bytes) == 0);
		CHECK(both.send(1, "back") == 4 && gets_readable(both.ends[0]) && socket_read(both.ends[0], bytes, sizeof bytes) == 4);
	}
}

static void looked_at()
{
	uint8_t bytes[16];
	pair both;
	int fd = both.ends[1];

	CHECK(socket_peek(fd, bytes, sizeof bytes) == -EAGAIN && !is_readable(fd));
	CHECK(both.send(0, "hello") == 5 && gets_readable(fd));
	CHECK(socket_peek(fd, bytes, sizeof bytes) == 5 && memcmp(bytes, "hello", 5) == 0);
	CHECK(socket_wake_at(fd, 6) == 0 && !is_readable(fd));
	CHECK(both.send(0, "!") == 1 && gets_readable(fd));
	CHECK(socket_peek(fd, bytes, sizeof bytes) == 6 && socket_wake_at(fd, 7) == 0);
	CHECK(socket_end(both.ends[0]) == 0 && gets_readable(fd));
	CHECK(socket_wake_at(fd, 1) == 0);
	CHECK(socket_read(fd, bytes, sizeof bytes) == 6 && socket_read(fd, bytes, sizeof bytes) == 0);
	CHECK(socket_peek(-1, bytes, 1) == -EBADF && socket_wake_at(-1, 1) == -EBADF);
}

static void full_and_drained()
{
	static uint8_t sent[4 << 20];
	static uint8_t got[4 << 20];
	size_t written = 0;
	size_t read = 0;
	pair both;

	for (size_t i = 0; i < sizeof sent; i++)
		sent[i] = static_cast<uint8_t>(i * 31 + i / 251);
	both.told(0);
	while (written < sizeof sent) {
		int64_t took = socket_write(both.ends[0], sent + written, sizeof sent - written);

		CHECK(took >= 0);
		if (took < 0)
			return;
		written += static_cast<size_t>(took);
		if (written == sizeof sent)
			break;
		/* What is read makes room, and that is told. */
		bool is_writable = false;

		for (int tries = 0; !is_writable && tries < 5000; tries++) {
			for (int64_t count; (count = socket_read(both.ends[1], got + read, std::min<size_t>(sizeof got - read, 70000))) > 0;)
				read += static_cast<size_t>(count);
			is_writable = (both.told(0) & SOCKET_WRITABLE) != 0;
			if (!is_writable)
				usleep(1000);
		}
		CHECK(is_writable);
		if (!is_writable)
			return;
	}
	while (read < sizeof got) {
		int64_t count = socket_read(both.ends[1], got + read, sizeof got - read);

		if (count > 0)
			read += static_cast<size_t>(count);
		else if (count != -EAGAIN)
			break;
	}
	CHECK(read == sizeof sent && memcmp(sent, got, sizeof sent) == 0);
}

static void resets()
{
	uint8_t bytes[16];
	pair both;

	CHECK(both.send(1, "last words") == 10);
	socket_close(both.ends[1], true);
	both.ends[1] = -1;
	CHECK(both.is_told(0, SOCKET_READABLE | SOCKET_ENDS));
	CHECK(both.send(0, "x") < 0);
	/* No signal, and what was said before can still be read. */
	CHECK(both.send(0, "x") == -EPIPE);
	CHECK(socket_read(both.ends[0], bytes, sizeof bytes) == 10);
	CHECK(socket_read(both.ends[0], bytes, sizeof bytes) == 0);
}

static void refused()
{
	struct endpoint bound = {};
	uint8_t byte;
	int listener = listen_in(-1, 8);
	struct endpoint to = loopback(true, local_of(listener).port);
	int epoll = sockets_open();
	struct ready_socket ready[SOCKETS_PER_WAIT];

	close(listener);
	int fd = bind_in(-1, to, &bound);
	int error = connect_to(fd, to);

	CHECK(error == 0 || error == -ECONNREFUSED);
	if (error == 0) {
		CHECK(sockets_add(epoll, fd, 7) == 0);
		int count = 0;

		for (int tries = 0; count == 0 && tries < 5000; tries++) {
			count = sockets_ready(epoll, ready);
			if (count == 0)
				usleep(1000);
		}
		CHECK(count == 1 && ready[0].id == 7 && ready[0].fd == fd && (ready[0].mask & SOCKET_ENDS) != 0);
		CHECK(socket_read(fd, &byte, 1) == -ECONNREFUSED);
	}
	socket_close(fd, false);
	CHECK(sockets_add(epoll, -1, 1) == -EBADF);
	close(epoll);
	CHECK(sockets_ready(epoll, ready) == -EBADF);
}

static void many()
{
	std::vector<int> fds;
	std::vector<uint32_t> seen;
	struct ready_socket ready[SOCKETS_PER_WAIT];
	int epoll = sockets_open();
	uint32_t count = SOCKETS_PER_WAIT + 40;

	for (uint32_t id = 0; id < count; id++) {
		int ends[2];

		CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
		CHECK(sockets_add(epoll, ends[0], id) == 0);
		fds.insert(fds.end(), ends, ends + 2);
	}
	for (int told = 1; told > 0;) {
		told = sockets_ready(epoll, ready);
		for (int i = 0; i < told; i++)
			seen.push_back(ready[i].id);
	}
	std::sort(seen.begin(), seen.end());
	CHECK(seen.size() == count && std::unique(seen.begin(), seen.end()) == seen.end() && seen.back() == count - 1);
	for (int fd : fds)
		close(fd);
	close(epoll);
}

static void claims()
{
	int first = claim_in(-1, "mirrord-test-claim");

	CHECK(first >= 0);
	CHECK(claim_in(-1, "mirrord-test-claim") == -EADDRINUSE);
	int joined = join_in(-1, "mirrord-test-claim");
	struct peer peer = {};

	CHECK(joined >= 0 && peer_of(joined, &peer) == 0);
	CHECK(peer.pid == getpid() && peer.uid == getuid());
	if (peer.pid_fd >= 0)
		close(peer.pid_fd);
	close(joined);
	close(first);
	CHECK(join_in(-1, "mirrord-test-claim") == -ECONNREFUSED);
	int second = claim_in(-1, "mirrord-test-claim");

	CHECK(second >= 0);
	close(second);
	CHECK(claim_in(-1, std::string(200, 'x')) == -ENAMETOOLONG);
	CHECK(listen_in(1000000, 1) == -EBADF);
}

/* In a namespace of its own, where port 80 is nobody's: what goes there comes to the listener, our own dials do not. */
static void redirects()
{
	struct redirect *redirect = nullptr;
	std::string message;
	int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	CHECK(own >= 0 && unshare(CLONE_NEWNET) == 0 && system("ip link set lo up") == 0);
	int within = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	int listener = listen_in(within, 8);

	CHECK(redirect_open(within, -1, &redirect, &message) < 0);
	CHECK(redirect_open(within, listener, &redirect, &message) == 0);
	for (bool is_own : {false, true}) {
		struct endpoint bound = {};
		int fd = bind_in(within, loopback(true, 80), &bound);

		CHECK(redirect_port(redirect, 80, true) == 0);
		CHECK(!is_own || redirect_dial(redirect, bound, true) == 0);
		int error = connect_to(fd, loopback(true, 80));
		int accepted = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);

		CHECK(is_own ? accepted < 0 : error == 0 && accepted >= 0);
		CHECK(redirect_dial(redirect, bound, false) == 0 && redirect_port(redirect, 80, false) == 0);
		close(fd);
		if (accepted >= 0)
			close(accepted);
	}
	redirect_close(redirect);
	close(listener);
	close(within);
	CHECK(setns(own, CLONE_NEWNET) == 0);
	close(own);
}

int main()
{
	test("bytes come as they were sent, each is told once, and the end behind them, over both families", bytes_and_end);
	test("what the kernel does not take is said, and so is that it takes bytes again: 4 MiB arrive whole", full_and_drained);
	test("what was looked at stays to be read, and wakes again with more of it or its end", looked_at);
	test("a reset raises no signal, and what was said before it can be read", resets);
	test("a refused connection is told as readable, and its read says why", refused);
	test("more sockets than one call tells of are told by the next, each once", many);
	test("a name is one holder's at a time, who joins knows the holder; bad names and namespaces are errors", claims);
	test("a stolen port comes to the listener, our own dials do not, and nothing is left", redirects);
	return report();
}
