/* Unix sockets with abstract names of a target's network namespace, and who is at their other end, as the kernel knows. */
#include "stealer.h"

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/* Linux 5.1; the number is the same on every architecture (asm-generic/unistd.h). */
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif

/* Stealers that wait to be accepted. */
static const int backlog = 64;

/* The leading zero makes the name an abstract one: of this namespace, and gone with its last descriptor. */
static int to_address(const std::string &name, struct sockaddr_un *address, socklen_t *length)
{
	if (name.size() + 1 > sizeof address->sun_path)
		return -ENAMETOOLONG;
	memset(address, 0, sizeof *address);
	address->sun_family = AF_UNIX;
	memcpy(address->sun_path + 1, name.data(), name.size());
	*length = static_cast<socklen_t>(offsetof(struct sockaddr_un, sun_path) + 1 + name.size());
	return 0;
}

static int closing(int fd, int error)
{
	close(fd);
	return error;
}

int claim_in(int namespace_fd, const std::string &name)
{
	struct sockaddr_un address;
	socklen_t length;
	int error = to_address(name, &address, &length);
	int fd = error < 0 ? error : socket_in(namespace_fd, AF_UNIX);

	if (fd < 0)
		return fd;
	if (bind(fd, reinterpret_cast<struct sockaddr *>(&address), length) < 0 || listen(fd, backlog) < 0)
		return closing(fd, -errno);
	return fd;
}

int join_in(int namespace_fd, const std::string &name)
{
	struct sockaddr_un address;
	socklen_t length;
	int error = to_address(name, &address, &length);
	int fd = error < 0 ? error : socket_in(namespace_fd, AF_UNIX);

	if (fd < 0)
		return fd;
	if (connect(fd, reinterpret_cast<struct sockaddr *>(&address), length) < 0)
		return closing(fd, -errno);
	return fd;
}

int end_process(int pid_fd)
{
	return syscall(SYS_pidfd_send_signal, pid_fd, SIGKILL, nullptr, 0) < 0 ? -errno : 0;
}

int peer_of(int fd, struct peer *peer)
{
	struct ucred credentials;
	socklen_t length = sizeof credentials;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0)
		return -errno;
	peer->pid = credentials.pid;
	peer->uid = credentials.uid;
	peer->pid_fd = -1;
	/* Of another process namespace, which we cannot look into. */
	if (credentials.pid <= 0)
		return 0;
	length = sizeof peer->pid_fd;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &peer->pid_fd, &length) == 0)
		return 0;
	/* Before Linux 6.5 there is only the number. */
	if (errno == ENOPROTOOPT)
		peer->pid_fd = static_cast<int>(syscall(SYS_pidfd_open, credentials.pid, 0));
	return peer->pid_fd < 0 ? -errno : 0;
}
