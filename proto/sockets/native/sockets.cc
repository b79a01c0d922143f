/* The system calls of the data path of streams. */
#include "sockets.h"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* Of the send buffer of a session over a distance: 16 MiB of credit and what the kernel adds to it. */
static const int REACH_BYTES = 32 << 20;

int sockets_open()
{
	int fd = epoll_create1(EPOLL_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static bool is_to_loopback(int fd)
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} peer = {};
	socklen_t length = sizeof peer;

	if (getpeername(fd, &peer.any, &length) < 0)
		return false;
	if (peer.any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&peer.v6.sin6_addr))
		return peer.v6.sin6_addr.s6_addr[12] == IN_LOOPBACKNET;
	if (peer.any.sa_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&peer.v6.sin6_addr);
	return peer.any.sa_family == AF_INET && ntohl(peer.v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

/* BBR paces by timers, which costs a third of what bulk takes where there is nothing to pace it for. */
static bool is_paced(int fd)
{
	char name[16] = "";
	socklen_t length = sizeof name - 1;

	return getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length) == 0 && strncmp(name, "bbr", 3) == 0;
}

int socket_prepare(int fd, bool is_near)
{
	int yes = 1;

	/* Other streams than TCP have no such thing; one that was reset already tells so when it is read. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
	if (is_near && is_paced(fd))
		(void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", strlen("reno"));
	/* Else it would be left out. */
	return setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &yes, sizeof yes) < 0 ? -errno : 0;
}

int sockets_add_prepared(int epoll_fd, int fd, uint32_t id)
{
	struct epoll_event event = {};

	event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET;
	event.data.u64 = static_cast<uint64_t>(static_cast<uint32_t>(fd)) << 32 | id;
	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int sockets_add(int epoll_fd, int fd, uint32_t id)
{
	int error = socket_prepare(fd, is_to_loopback(fd));

	return error < 0 ? error : sockets_add_prepared(epoll_fd, fd, id);
}

int sockets_remove(int epoll_fd, int fd)
{
	return epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, nullptr) < 0 ? -errno : 0;
}

int sockets_ready(int epoll_fd, struct ready_socket ready[SOCKETS_PER_WAIT], int wait_ms)
{
	struct epoll_event events[SOCKETS_PER_WAIT];
	int count;

	do {
		count = epoll_wait(epoll_fd, events, SOCKETS_PER_WAIT, wait_ms);
	} while (count < 0 && errno == EINTR);
	if (count < 0)
		return -errno;
	for (int i = 0; i < count; i++) {
		uint32_t said = events[i].events;
		uint32_t mask = 0;

		if ((said & EPOLLIN) != 0)
			mask |= SOCKET_READABLE;
		if ((said & EPOLLOUT) != 0)
			mask |= SOCKET_WRITABLE;
		if ((said & (EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI)) != 0)
			mask |= SOCKET_READABLE | SOCKET_ENDS;
		ready[i].fd = static_cast<int32_t>(events[i].data.u64 >> 32);
		ready[i].id = static_cast<uint32_t>(events[i].data.u64);
		ready[i].mask = mask;
	}
	return count;
}

static int setting_of_kernel(const char *path, const char *format)
{
	FILE *file = fopen(path, "re");
	int value = 0;

	if (file == nullptr)
		return 0;
	if (fscanf(file, format, &value) != 1)
		value = 0;
	fclose(file);
	return value;
}

/*
 * What is on its way is bounded by the kernel's send buffer, which grows by itself to the third of tcp_wmem (4 MiB as a rule: some
 * 2.3 MiB of bytes, 23 MiB/s at 100 ms). Where wmem_max allows for more, it is asked for.
 */
void socket_reach(int fd)
{
	int by_itself = setting_of_kernel("/proc/sys/net/ipv4/tcp_wmem", "%*d %*d %d");
	int most = std::min(setting_of_kernel("/proc/sys/net/core/wmem_max", "%d"), REACH_BYTES / 2);
	char name[16];
	socklen_t length = sizeof name;

	/* The kernel takes twice what it is told. */
	if (by_itself > 0 && most > by_itself / 2 && !is_to_loopback(fd) &&
	    getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length) == 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &most, sizeof most);
}

int socket_share(int fd)
{
	int other = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	return other < 0 ? -errno : other;
}

static int64_t receive(int fd, uint8_t *bytes, size_t size, int flags)
{
	ssize_t count;

	do {
		count = recv(fd, bytes, size, MSG_DONTWAIT | flags);
	} while (count < 0 && errno == EINTR);
	return count < 0 ? -errno : count;
}

int64_t socket_read(int fd, uint8_t *bytes, size_t size)
{
	return receive(fd, bytes, size, 0);
}

int64_t socket_peek(int fd, uint8_t *bytes, size_t size)
{
	return receive(fd, bytes, size, MSG_PEEK);
}

int socket_wake_at(int fd, int bytes)
{
	return setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof bytes) < 0 ? -errno : 0;
}

/* Of a send that ended so. */
static int64_t taken_of(ssize_t taken)
{
	if (taken < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return 0;
	return taken < 0 ? -errno : taken;
}

static int64_t give(int fd, const uint8_t *bytes, size_t size, int flags)
{
	ssize_t taken;

	do {
		taken = send(fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL | flags);
	} while (taken < 0 && errno == EINTR);
	return taken_of(taken);
}

int64_t socket_write(int fd, const uint8_t *bytes, size_t size)
{
	return give(fd, bytes, size, 0);
}

int64_t socket_write_before_end(int fd, const uint8_t *bytes, size_t size)
{
	return give(fd, bytes, size, MSG_MORE);
}

int64_t socket_write_pieces(int fd, struct iovec *pieces, size_t count)
{
	struct msghdr message = {};
	ssize_t taken;

	message.msg_iov = pieces;
	message.msg_iovlen = count;
	do {
		taken = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (taken < 0 && errno == EINTR);
	return taken_of(taken);
}

int socket_end(int fd)
{
	return shutdown(fd, SHUT_WR) < 0 ? -errno : 0;
}

void socket_close(int fd, bool is_reset)
{
	struct linger at_once = {1, 0};

	if (is_reset)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
	close(fd);
}
