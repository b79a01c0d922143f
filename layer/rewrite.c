/* Calls in the place of others (rewrite.h), by ptrace(2) without signals: PTRACE_SEIZE, Linux 3.4. */
#include "rewrite.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tracee.h"

#define SYSCALL_BYTES 2
#define ERESTARTSYS 512
#define ERESTART_LAST 516

int rewrite_seize(struct rewrite *rewrite, pid_t tid)
{
	int failed = 0;

	rewrite->tid = tid;
	sigemptyset(&rewrite->held);
	stops_expect(&rewrite->expected, tid, tracee_process(tid));
	if (ptrace(PTRACE_SEIZE, tid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC) != 0) {
		failed = -errno;
		stops_forget(&rewrite->expected);
	}
	return failed;
}

static bool is_event(int status, int event)
{
	return WIFSTOPPED(status) && status >> 16 == event;
}

/* A signal about to be delivered; 0 for any other stop. */
static int signal_of(int status)
{
	if (status >> 16 != 0 || WSTOPSIG(status) == (SIGTRAP | 0x80))
		return 0;
	return WSTOPSIG(status);
}

static int leave(struct rewrite *rewrite, int signal)
{
	(void)ptrace(PTRACE_DETACH, rewrite->tid, 0, (long)signal);
	stops_forget(&rewrite->expected);
	return 0;
}

int rewrite_stop(struct rewrite *rewrite, uint64_t nr, uint64_t ip)
{
	struct user_regs_struct *regs = &rewrite->saved;
	int status;

	if (ptrace(PTRACE_INTERRUPT, rewrite->tid, 0, 0) != 0) {
		stops_forget(&rewrite->expected);
		return -EAGAIN;
	}
	status = stops_wait(&rewrite->expected);
	if (!WIFSTOPPED(status)) {
		stops_forget(&rewrite->expected);
		return -EAGAIN;
	}
	if (ptrace(PTRACE_GETREGS, rewrite->tid, 0, regs) != 0 || regs->orig_rax != nr || regs->rip != ip ||
	    (int64_t)regs->rax != -ERESTARTSYS) {
		leave(rewrite, signal_of(status));
		return -EAGAIN;
	}
	if (signal_of(status))
		sigaddset(&rewrite->held, signal_of(status));
	return 0;
}

/* To the next entry into or exit from a call. 0, 1 after an execve, or -ESRCH. */
static int advance(struct rewrite *rewrite)
{
	for (;;) {
		int status;

		if (ptrace(PTRACE_SYSCALL, rewrite->tid, 0, 0) != 0)
			return -ESRCH;
		status = stops_wait(&rewrite->expected);
		if (!WIFSTOPPED(status))
			return -ESRCH;
		if (WSTOPSIG(status) == (SIGTRAP | 0x80))
			return 0;
		if (is_event(status, PTRACE_EVENT_EXEC)) {
			rewrite->tid = rewrite->expected.pid;
			return 1;
		}
		if (signal_of(status))
			sigaddset(&rewrite->held, signal_of(status));
	}
}

static void give_back_signals(struct rewrite *rewrite)
{
	pid_t process = rewrite->expected.process;

	for (int signal = 1; signal < NSIG; signal++) {
		if (sigismember(&rewrite->held, signal) == 1)
			(void)syscall(SYS_tgkill, process, rewrite->tid, signal);
	}
}

int64_t rewrite_do(struct rewrite *rewrite, const struct rewrite_call *call, int *has_execed)
{
	struct user_regs_struct regs = rewrite->saved;
	int outcome;

	*has_execed = 0;
	regs.orig_rax = (unsigned long long)-1; /* nothing to restart */
	regs.rip -= SYSCALL_BYTES;
	regs.rax = call->nr;
	regs.rdi = call->args[0];
	regs.rsi = call->args[1];
	regs.rdx = call->args[2];
	regs.r10 = call->args[3];
	regs.r8 = call->args[4];
	regs.r9 = call->args[5];
	if (ptrace(PTRACE_SETREGS, rewrite->tid, 0, &regs) != 0)
		return -ESRCH;
	outcome = advance(rewrite);
	if (outcome == 0)
		outcome = advance(rewrite);
	if (outcome == 1) {
		*has_execed = 1;
		give_back_signals(rewrite);
		leave(rewrite, 0);
		return 1;
	}
	if (outcome < 0 || ptrace(PTRACE_GETREGS, rewrite->tid, 0, &regs) != 0)
		return -ESRCH;
	if ((int64_t)regs.rax <= -ERESTARTSYS && (int64_t)regs.rax >= -ERESTART_LAST)
		return -EINTR;
	return (int64_t)regs.rax;
}

void rewrite_return(struct rewrite *rewrite, int64_t result)
{
	struct user_regs_struct regs = rewrite->saved;

	regs.orig_rax = (unsigned long long)-1;
	regs.rax = (unsigned long long)result;
	(void)ptrace(PTRACE_SETREGS, rewrite->tid, 0, &regs);
	give_back_signals(rewrite);
	leave(rewrite, 0);
}

void rewrite_abandon(struct rewrite *rewrite)
{
	if (ptrace(PTRACE_INTERRUPT, rewrite->tid, 0, 0) == 0) {
		int status = stops_wait(&rewrite->expected);

		if (WIFSTOPPED(status)) {
			leave(rewrite, signal_of(status));
			return;
		}
	}
	stops_forget(&rewrite->expected);
}
