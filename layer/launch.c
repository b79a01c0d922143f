/* Birth and death of the local process (launch.h). Between fork and execve only async-signal-safe calls. */
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "filter.h"

static const int ignored[] = {SIGINT,  SIGQUIT, SIGTERM, SIGHUP,  SIGTSTP, SIGTTIN,
			      SIGTTOU, SIGPIPE, SIGUSR1, SIGUSR2, SIGALRM};
#define IGNORED (sizeof(ignored) / sizeof(ignored[0]))

static struct sigaction inherited[IGNORED];
static sigset_t inherited_mask;
static struct rlimit inherited_core;

void launch_ignore_signals(void)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	sigset_t none;

	for (size_t i = 0; i < IGNORED; i++)
		sigaction(ignored[i], &ignore, &inherited[i]);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, &inherited_mask);
}

void launch_forbid_core(void)
{
	struct rlimit none;

	getrlimit(RLIMIT_CORE, &inherited_core);
	none = inherited_core;
	none.rlim_cur = 0;
	setrlimit(RLIMIT_CORE, &none);
}

static void restore_signals(void)
{
	for (size_t i = 0; i < IGNORED; i++)
		sigaction(ignored[i], &inherited[i], NULL);
	sigprocmask(SIG_SETMASK, &inherited_mask, NULL);
}

static int install(const struct launch *launch)
{
	struct sock_filter code[FILTER_MAX];
	struct sock_fprog program = {.filter = code};
	int fd;

	program.len = (unsigned short)filter_build(launch->features, launch->has_fuse, launch->cookie, code);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return -errno;
	fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
			  &program);
	return fd < 0 ? -errno : fd;
}

/* What a child says: an outcome and, when there is one, the number of its listener. */
struct saying {
	int outcome, listener;
};

/* By write(2): sendmsg may be one of the calls that nobody answers yet. */
static void say(int socket, int outcome, int listener)
{
	struct saying saying = {outcome, listener};

	(void)!write(socket, &saying, sizeof(saying));
}

/* 1: *saying is set; 0: the other end is closed; -errno. */
static int hear(int socket, struct saying *saying)
{
	ssize_t n;

	do
		n = read(socket, saying, sizeof(*saying));
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n > 0;
}

/* The child keeps it until it is told that we have it. */
static int take_listener(const struct launch *launch, int number)
{
	int pidfd = (int)syscall(SYS_pidfd_open, launch->pid, 0);
	int fd = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
	int failed = fd < 0 ? -errno : 0;

	if (pidfd >= 0)
		close(pidfd);
	if (!failed && write(launch->status_fd, "", 1) != 1)
		failed = -EIO;
	return failed ? failed : fd;
}

static void be_the_process(const struct launch *launch, int socket)
{
	int listener = install(launch);
	char byte;

	say(socket, listener < 0 ? listener : 0, listener);
	if (listener < 0 || read(socket, &byte, 1) != 1)
		_exit(126);
	close(listener);
	restore_signals();
	setrlimit(RLIMIT_CORE, &inherited_core);
	execvp(launch->argv[0], launch->argv);
	say(socket, -errno, -1);
	_exit(errno == ENOENT ? 127 : 126);
}

int launch(struct launch *launch)
{
	struct saying saying = {-EIO, -1};
	int pair[2], got;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		return -errno;
	launch->pid = fork();
	if (launch->pid == 0)
		be_the_process(launch, pair[1]);
	close(pair[1]);
	launch->status_fd = pair[0];
	if (launch->pid < 0)
		return -errno;
	got = hear(pair[0], &saying);
	if (got <= 0)
		return got < 0 ? got : -EIO;
	if (saying.outcome < 0)
		return saying.outcome;
	launch->listener = take_listener(launch, saying.listener);
	return launch->listener < 0 ? launch->listener : 0;
}

int launch_outcome(struct launch *launch)
{
	struct saying saying;
	int got = hear(launch->status_fd, &saying);

	close(launch->status_fd);
	return got > 0 ? saying.outcome : 0;
}

void launch_exit_like(int status)
{
	struct rlimit none = {0, 0};
	sigset_t one;

	if (!WIFSIGNALED(status))
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
	/* The core, if any, was the local process's. */
	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	signal(WTERMSIG(status), SIG_DFL);
	sigemptyset(&one);
	sigaddset(&one, WTERMSIG(status));
	sigprocmask(SIG_UNBLOCK, &one, NULL);
	raise(WTERMSIG(status));
	_exit(128 + WTERMSIG(status));
}
