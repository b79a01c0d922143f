/* Descriptors of the local process (net_socket.h). Threads share the pidfd of their process; a cached one is used only if
 * the thread still is of that process. */
#include "net_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "answer.h"
#include "tracee.h"
#include "unreadable.h"

#define CACHED 256u

struct known {
	pid_t tid, process;
	int pidfd;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct known cache[CACHED];

static void forget(struct known *known)
{
	if (known->tid)
		close(known->pidfd);
	known->tid = 0;
}

/* Under the lock. */
static int learn(struct known *known, pid_t tid)
{
	pid_t process = tracee_process(tid);
	int pidfd = (int)syscall(SYS_pidfd_open, process, 0);

	forget(known);
	if (pidfd < 0)
		return -errno;
	*known = (struct known){tid, process, pidfd};
	return 0;
}

static int take(pid_t tid, int number, pid_t *process)
{
	struct known *known = &cache[(unsigned int)tid % CACHED];
	int fd, failed;

	if (known->tid == tid && syscall(SYS_tgkill, known->process, tid, 0) == 0) {
		fd = (int)syscall(SYS_pidfd_getfd, known->pidfd, number, 0);
		*process = known->process;
		if (fd >= 0 || errno != ESRCH)
			return fd < 0 ? -errno : fd;
	}
	failed = learn(known, tid);
	if (failed)
		return failed;
	*process = known->process;
	fd = (int)syscall(SYS_pidfd_getfd, known->pidfd, number, 0);
	return fd < 0 ? -errno : fd;
}

int net_socket_take(const struct seccomp_notif *n, int number, struct net_socket *socket)
{
	*socket = (struct net_socket){.fd = -1};
	pthread_mutex_lock(&lock);
	socket->fd = take((pid_t)n->pid, number, &socket->process);
	pthread_mutex_unlock(&lock);
	if (socket->fd < 0)
		return socket->fd;
	net_socket_identify(socket);
	return 0;
}

void net_socket_missing(const struct seccomp_notif *n, int failed)
{
	unreadable_tell((pid_t)n->pid, failed);
	if (failed == -EBADF || failed == -ESRCH || failed == -EPERM)
		(void)answer_continue(n->id);
	else
		(void)answer_value(n->id, failed == -ENOMEM || failed == -ENFILE ? failed : -EMFILE);
}

void net_socket_identify(struct net_socket *socket)
{
	struct stat st;

	if (fstat(socket->fd, &st) == 0 && S_ISSOCK(st.st_mode))
		socket->inode = st.st_ino;
}

int net_socket_option(int fd, int level, int name)
{
	int value = 0;
	socklen_t len = sizeof(value);

	return getsockopt(fd, level, name, &value, &len) == 0 ? value : 0;
}

void net_socket_unpace(int fd)
{
	char name[16] = "";
	socklen_t len = sizeof(name) - 1;

	if (getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len) == 0 && strncmp(name, "bbr", 3) == 0)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", strlen("reno"));
}

void net_socket_describe(struct net_socket *socket)
{
	socket->domain = net_socket_option(socket->fd, SOL_SOCKET, SO_DOMAIN);
	socket->type = net_socket_option(socket->fd, SOL_SOCKET, SO_TYPE);
	socket->protocol = net_socket_option(socket->fd, SOL_SOCKET, SO_PROTOCOL);
	socket->is_nonblocking = fcntl(socket->fd, F_GETFL) & O_NONBLOCK;
}

struct net_addr net_socket_name(int fd)
{
	struct net_addr addr = {.len = sizeof(addr.un)};

	if (getsockname(fd, &addr.sa, &addr.len) != 0)
		addr.len = 0;
	return addr;
}

struct net_addr net_socket_peer(int fd)
{
	struct net_addr addr = {.len = sizeof(addr.un)};

	if (getpeername(fd, &addr.sa, &addr.len) != 0)
		addr.len = 0;
	return addr;
}

int64_t net_socket_timeout_ms(int fd, int name)
{
	struct timeval value = {0};
	socklen_t len = sizeof(value);

	if (getsockopt(fd, SOL_SOCKET, name, &value, &len) != 0)
		return 0;
	return (int64_t)value.tv_sec * 1000 + value.tv_usec / 1000;
}
