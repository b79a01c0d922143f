/* Sockets of another network namespace, and a process that cannot be mistaken for another. */
#include "addon.h"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* pidfd_open(2), Linux 5.3; the number is the same on every architecture (asm-generic/unistd.h). */
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

/* The namespace this process was started in; kept open, as /proc may be hidden later. */
static int own_namespace()
{
	static int fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	return fd;
}

static bool is_same(int left, int right)
{
	struct stat one, other;

	return fstat(left, &one) == 0 && fstat(right, &other) == 0 && one.st_dev == other.st_dev &&
	       one.st_ino == other.st_ino;
}

/*
 * A socket belongs to the namespace it was made in, whoever uses it afterwards: nothing else
 * happens in there. The way back is tried before the way in, so that nobody enters who may not
 * leave again.
 */
int socket_in(int namespace_fd, int family, int type)
{
	int own = own_namespace();
	int fd;

	if (own < 0)
		return -EBADF;
	if (is_same(own, namespace_fd)) {
		fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		return fd < 0 ? -errno : fd;
	}
	if (setns(own, CLONE_NEWNET) < 0 || setns(namespace_fd, CLONE_NEWNET) < 0)
		return -errno;
	fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		fd = -errno;
	/* A thread that stays in a target's network would dial and listen there for everybody. */
	if (setns(own, CLONE_NEWNET) < 0)
		abort();
	return fd;
}

/* (fd): whether sockets can be had of the namespace; throws why not. */
Napi::Value assert_network_namespace(const Napi::CallbackInfo &info)
{
	int fd = socket_in(info[0].As<Napi::Number>().Int32Value(), AF_UNIX, SOCK_STREAM);

	if (fd < 0) {
		errno = -fd;
		return fail(info.Env(), "setns");
	}
	close(fd);
	return info.Env().Undefined();
}

/* (pid): a descriptor that is readable once the process has ended. */
Napi::Value open_pidfd(const Napi::CallbackInfo &info)
{
	long fd = syscall(SYS_pidfd_open, info[0].As<Napi::Number>().Int32Value(), 0);

	if (fd < 0)
		return fail(info.Env(), "pidfd_open");
	return Napi::Number::New(info.Env(), static_cast<double>(fd));
}
