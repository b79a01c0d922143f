/* The system calls of the data path of streams. */
#include "sockets.h"

#include <cerrno>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

int sockets_open()
{
	int fd = epoll_create1(EPOLL_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int sockets_add(int epoll_fd, int fd, uint32_t id)
{
	struct epoll_event event = {};
	int yes = 1;

	/* Other streams than TCP have no such thing; one that was reset already tells so when it is read. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
	/* Else it would be left out. */
	if (setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &yes, sizeof yes) < 0)
		return -errno;
	event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET;
	event.data.u64 = static_cast<uint64_t>(static_cast<uint32_t>(fd)) << 32 | id;
	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int sockets_remove(int epoll_fd, int fd)
{
	return epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, nullptr) < 0 ? -errno : 0;
}

int sockets_ready(int epoll_fd, struct ready_socket ready[SOCKETS_PER_WAIT])
{
	struct epoll_event events[SOCKETS_PER_WAIT];
	int count;

	do {
		count = epoll_wait(epoll_fd, events, SOCKETS_PER_WAIT, 0);
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

int64_t socket_write(int fd, const uint8_t *bytes, size_t size)
{
	ssize_t taken;

	do {
		taken = send(fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (taken < 0 && errno == EINTR);
	return taken_of(taken);
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
