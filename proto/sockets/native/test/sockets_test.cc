/* The parts of the addon that know nothing of Node, under ASAN and UBSAN. TAP. */
#include "sockets.h"
#include "tap.h"

#include <arpa/inet.h>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

/* Two connected ends in one epoll descriptor, under the ids 0 and 1. */
struct pair {
	int epoll_fd, ends[2];
};

static struct pair tcp_pair()
{
	struct sockaddr_in at = {};
	socklen_t length = sizeof at;
	struct pair pair = {sockets_open(), {-1, -1}};
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	at.sin_family = AF_INET;
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	CHECK(bind(listener, reinterpret_cast<struct sockaddr *>(&at), length) == 0 && listen(listener, 1) == 0);
	getsockname(listener, reinterpret_cast<struct sockaddr *>(&at), &length);
	pair.ends[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(connect(pair.ends[0], reinterpret_cast<struct sockaddr *>(&at), length) == 0);
	pair.ends[1] = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
	close(listener);
	for (uint32_t id = 0; id < 2; id++)
		CHECK(sockets_add(pair.epoll_fd, pair.ends[id], id) == 0);
	return pair;
}

static void close_pair(struct pair pair)
{
	for (int fd : pair.ends)
		if (fd >= 0)
			socket_close(fd, false);
	close(pair.epoll_fd);
}

/* The mask of one id, 0 where it is not told of. */
static uint32_t mask_of(struct pair pair, uint32_t id)
{
	struct ready_socket ready[SOCKETS_PER_WAIT];
	int count = sockets_ready(pair.epoll_fd, ready);

	for (int i = 0; i < count; i++)
		if (ready[i].id == id)
			return ready[i].fd == pair.ends[id] ? ready[i].mask : 0;
	return 0;
}

/* Whether all of `bits` are told of, now or within seconds: what one end does may reach the other only later. */
static bool is_told(struct pair pair, uint32_t id, uint32_t bits)
{
	uint32_t seen = 0;

	for (int tries = 0; tries < 5000; tries++) {
		seen |= mask_of(pair, id);
		if ((seen & bits) == bits)
			return true;
		usleep(1000);
	}
	return false;
}

/* Until so many bytes can be read. */
static void await_bytes(int fd, int bytes)
{
	int there = 0;

	for (int tries = 0; tries < 5000 && there < bytes; tries++) {
		if (ioctl(fd, FIONREAD, &there) < 0)
			break;
		if (there < bytes)
			usleep(1000);
	}
	CHECK(there >= bytes);
}

static int64_t write_text(int fd, const char *first, const char *second)
{
	struct iovec pieces[] = {{const_cast<char *>(first), strlen(first)}, {const_cast<char *>(second), strlen(second)}};

	return socket_write_pieces(fd, pieces, 2);
}

static void pieces_arrive_in_order()
{
	struct pair pair = tcp_pair();
	uint8_t bytes[16] = {};

	CHECK(mask_of(pair, 1) == SOCKET_WRITABLE);
	CHECK(write_text(pair.ends[0], "abc", "def") == 6);
	await_bytes(pair.ends[1], 6);
	CHECK(is_told(pair, 1, SOCKET_READABLE));
	CHECK(socket_read(pair.ends[1], bytes, 4) == 4);
	CHECK(socket_read(pair.ends[1], bytes + 4, 12) == 2);
	CHECK(memcmp(bytes, "abcdef", 6) == 0);
	CHECK(socket_read(pair.ends[1], bytes, 16) == -EAGAIN);
	CHECK(mask_of(pair, 1) == 0);
	close_pair(pair);
}

static void a_full_peer_takes_no_more_and_says_when()
{
	struct pair pair = tcp_pair();
	std::vector<uint8_t> block(1 << 20);
	int64_t sent = 0, taken;

	mask_of(pair, 0);
	/* Until it stays full: what is on its way to the peer makes room. */
	for (int quiet = 0; quiet < 20; quiet++) {
		while ((taken = socket_write(pair.ends[0], block.data(), block.size())) > 0) {
			sent += taken;
			quiet = 0;
		}
		usleep(1000);
	}
	CHECK(taken == 0 && sent > 0);
	mask_of(pair, 0);
	CHECK((mask_of(pair, 0) & SOCKET_WRITABLE) == 0);
	for (int tries = 0; sent > 0 && tries < 5000; tries++) {
		while (sent > 0 && (taken = socket_read(pair.ends[1], block.data(), block.size())) > 0)
			sent -= taken;
		usleep(1000);
	}
	CHECK(sent == 0);
	CHECK(is_told(pair, 0, SOCKET_WRITABLE));
	close_pair(pair);
}

static void an_end_comes_after_what_was_written()
{
	struct pair pair = tcp_pair();
	uint8_t bytes[4];

	CHECK(write_text(pair.ends[0], "x", "") == 1);
	CHECK(socket_end(pair.ends[0]) == 0);
	CHECK(is_told(pair, 1, SOCKET_ENDS));
	CHECK(socket_read(pair.ends[1], bytes, sizeof bytes) == 1);
	CHECK(socket_read(pair.ends[1], bytes, sizeof bytes) == 0);
	CHECK(write_text(pair.ends[1], "back", "") == 4);
	await_bytes(pair.ends[0], 4);
	CHECK(socket_read(pair.ends[0], bytes, sizeof bytes) == 4);
	close_pair(pair);
}

static void a_reset_is_told_after_what_came_before_it()
{
	struct pair pair = tcp_pair();
	uint8_t bytes[4];

	CHECK(write_text(pair.ends[0], "last", "") == 4);
	socket_close(pair.ends[0], true);
	pair.ends[0] = -1;
	CHECK(is_told(pair, 1, SOCKET_ENDS));
	CHECK(socket_read(pair.ends[1], bytes, sizeof bytes) == 4);
	CHECK(socket_read(pair.ends[1], bytes, sizeof bytes) == -ECONNRESET);
	CHECK(write_text(pair.ends[1], "x", "") == -EPIPE);
	close_pair(pair);
}

static void urgent_data_is_in_its_place_and_what_is_behind_it_is_read()
{
	struct pair pair = tcp_pair();
	uint8_t bytes[16] = {};
	int64_t had = 0, count;

	mask_of(pair, 1);
	CHECK(write_text(pair.ends[0], "ab", "") == 2 && send(pair.ends[0], "!", 1, MSG_OOB) == 1);
	CHECK(write_text(pair.ends[0], "cd", "") == 2);
	await_bytes(pair.ends[1], 5);
	CHECK(is_told(pair, 1, SOCKET_ENDS));
	while ((count = socket_read(pair.ends[1], bytes + had, sizeof bytes - (size_t)had)) > 0)
		had += count;
	CHECK(count == -EAGAIN && had == 5 && memcmp(bytes, "ab!cd", 5) == 0);
	CHECK(write_text(pair.ends[0], "e", "") == 1);
	await_bytes(pair.ends[1], 1);
	CHECK(mask_of(pair, 1) == (SOCKET_READABLE | SOCKET_WRITABLE));
	close_pair(pair);
}

/* Where the kernel has BBR. */
static void nothing_is_paced_on_its_way_to_loopback()
{
	struct pair pair = tcp_pair();
	char name[16] = {};
	socklen_t length = sizeof name;
	bool has_bbr = setsockopt(pair.ends[0], IPPROTO_TCP, TCP_CONGESTION, "bbr", 3) == 0;

	CHECK(sockets_remove(pair.epoll_fd, pair.ends[0]) == 0 && sockets_add(pair.epoll_fd, pair.ends[0], 0) == 0);
	CHECK(getsockopt(pair.ends[0], IPPROTO_TCP, TCP_CONGESTION, name, &length) == 0);
	CHECK(strncmp(name, "bbr", 3) != 0 && (!has_bbr || strcmp(name, "reno") == 0));
	close_pair(pair);
}

static int send_buffer_of(int fd)
{
	int bytes = 0;
	socklen_t length = sizeof bytes;

	CHECK(getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, &length) == 0);
	return bytes;
}

static void what_stays_on_this_machine_keeps_the_kernels_buffer()
{
	struct pair pair = tcp_pair();
	int ends[2];
	int tcp = send_buffer_of(pair.ends[0]);

	socket_reach(pair.ends[0]);
	CHECK(send_buffer_of(pair.ends[0]) == tcp);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
	int local = send_buffer_of(ends[0]);
	socket_reach(ends[0]);
	CHECK(send_buffer_of(ends[0]) == local);
	close(ends[0]);
	close(ends[1]);
	close_pair(pair);
}

static void one_that_was_taken_out_is_not_told_of()
{
	struct pair pair = tcp_pair();

	mask_of(pair, 1);
	CHECK(sockets_remove(pair.epoll_fd, pair.ends[1]) == 0);
	CHECK(sockets_remove(pair.epoll_fd, pair.ends[1]) == -ENOENT);
	CHECK(write_text(pair.ends[0], "x", "y") == 2);
	CHECK(mask_of(pair, 1) == 0);
	close_pair(pair);
}

static void a_unix_stream_is_one_too()
{
	struct pair pair = {sockets_open(), {-1, -1}};
	uint8_t bytes[4];

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.ends) == 0);
	CHECK(sockets_add(pair.epoll_fd, pair.ends[1], 1) == 0);
	CHECK(write_text(pair.ends[0], "ab", "cd") == 4);
	CHECK(is_told(pair, 1, SOCKET_READABLE));
	CHECK(socket_read(pair.ends[1], bytes, sizeof bytes) == 4);
	CHECK(sockets_add(pair.epoll_fd, -1, 2) == -EBADF);
	close_pair(pair);
}

static void who_shares_one_keeps_it_when_the_other_is_closed()
{
	struct pair pair = tcp_pair();
	int shared = socket_share(pair.ends[1]);
	uint8_t bytes[4];

	CHECK(shared >= 0 && shared != pair.ends[1] && (fcntl(shared, F_GETFD) & FD_CLOEXEC) != 0);
	close(pair.ends[1]);
	/* Another's from here on. */
	CHECK(dup2(pair.ends[0], pair.ends[1]) == pair.ends[1]);
	CHECK(write_text(pair.ends[0], "ab", "cd") == 4);
	await_bytes(shared, 4);
	CHECK(socket_read(pair.ends[1], bytes, sizeof bytes) == -EAGAIN);
	CHECK(socket_read(shared, bytes, sizeof bytes) == 4 && memcmp(bytes, "abcd", 4) == 0);
	socket_close(shared, false);
	CHECK(socket_share(-1) == -EBADF);
	close_pair(pair);
}

int main()
{
	test("pieces arrive in order, whatever is read at once", pieces_arrive_in_order);
	test("a full peer takes no more and says when it does", a_full_peer_takes_no_more_and_says_when);
	test("an end comes after what was written, and the other direction goes on", an_end_comes_after_what_was_written);
	test("a reset is told after what came before it", a_reset_is_told_after_what_came_before_it);
	test("urgent data is in its place, and what is behind it is read", urgent_data_is_in_its_place_and_what_is_behind_it_is_read);
	test("nothing is paced on its way to loopback", nothing_is_paced_on_its_way_to_loopback);
	test("what stays on this machine keeps the kernel's buffer", what_stays_on_this_machine_keeps_the_kernels_buffer);
	test("one that was taken out is not told of", one_that_was_taken_out_is_not_told_of);
	test("who shares one keeps it when the other descriptor is closed", who_shares_one_keeps_it_when_the_other_is_closed);
	test("a unix stream is one too", a_unix_stream_is_one_too);
	return report();
}
