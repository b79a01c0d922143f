/* Probing (probe.h). */
#include "probe.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wire.h"

#define CHILD_HAS_SYNC 1
#define CHILD_HAS_ADDFD_SEND 2

/* Whether a process below us can be traced as rewrite.c does. It is left running. */
static bool can_trace(pid_t pid)
{
	return ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC) == 0;
}

struct outcome {
	int error;
	unsigned int has;
};

static void try_in_child(int parent)
{
	struct sock_filter allow[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
	struct sock_fprog program = {1, allow};
	struct outcome outcome = {0};
	struct seccomp_notif_addfd add = {.id = 1, .flags = SECCOMP_ADDFD_FLAG_SEND, .srcfd = 0};
	int fd = -1;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    (fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
			       &program)) < 0) {
		outcome.error = errno;
	} else {
		add.srcfd = (uint32_t)fd;
		if (ioctl(fd, SECCOMP_IOCTL_NOTIF_ADDFD, &add) < 0 && errno == ENOENT)
			outcome.has |= CHILD_HAS_ADDFD_SEND;
		if (ioctl(fd, SECCOMP_IOW(4, uint64_t), 1) == 0)
			outcome.has |= CHILD_HAS_SYNC;
	}
	(void)!write(parent, &outcome, sizeof(outcome));
	/* Until it has been tried out. */
	(void)!read(parent, &outcome, 1);
}

static int yama_scope(void)
{
	FILE *file = fopen("/proc/sys/kernel/yama/ptrace_scope", "re");
	int scope = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%d", &scope) != 1)
		scope = 0;
	fclose(file);
	return scope;
}

static int explain(int error, char *why, size_t why_len)
{
	if (error == EBUSY)
		snprintf(why, why_len,
			 "this program already runs under a seccomp supervisor (mirrord inside mirrord, or a "
			 "container manager that listens): Linux allows one. Start mirrord outside of it");
	else
		snprintf(why, why_len,
			 "the kernel refuses seccomp user notification (errno %d): mirrord needs Linux 5.14 or "
			 "newer and a container profile that allows seccomp(2). Ask who runs this machine",
			 error);
	return -error;
}

int probe(uint32_t *can, char *why, size_t why_len)
{
	struct outcome outcome = {.error = EIO};
	int pair[2];
	ssize_t got;
	pid_t pid;

	*can = 0;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		close(pair[0]);
		try_in_child(pair[1]);
		_exit(0);
	}
	close(pair[1]);
	got = read(pair[0], &outcome, sizeof(outcome));
	if (got == (ssize_t)sizeof(outcome) && can_trace(pid))
		*can |= WIRE_CAN_PTRACE;
	close(pair[0]);
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (got != (ssize_t)sizeof(outcome) || outcome.error)
		return explain(outcome.error, why, why_len);
	if (!(outcome.has & CHILD_HAS_ADDFD_SEND))
		return explain(ENOSYS, why, why_len);
	*can |= WIRE_CAN_INJECT_ATOMIC;
	if (outcome.has & CHILD_HAS_SYNC)
		*can |= WIRE_CAN_SYNC_WAKE_UP;
	if (yama_scope() <= 1 || geteuid() == 0)
		return 0;
	snprintf(why, why_len,
		 "kernel.yama.ptrace_scope is %d: no program may read another's memory, which mirrord does to "
		 "see the paths of calls. Whoever runs this machine must set it to 1 or 0",
		 yama_scope());
	return -EPERM;
}
