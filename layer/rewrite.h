/*
 * Makes a thread that waits in a trapped call do other calls in its place: what no supervisor can do for it (change its
 * directory, replace its program). The thread is traced for as long as that takes; x86-64.
 */
#ifndef LAYER_REWRITE_H
#define LAYER_REWRITE_H

#include <signal.h>
#include <stdint.h>
#include <sys/user.h>

#include "stops.h"

struct rewrite {
	pid_t tid;
	struct expected expected;
	struct user_regs_struct saved;
	sigset_t held; /* came meanwhile, for afterwards */
};

struct rewrite_call {
	uint64_t nr, args[6];
};

/* Begins to trace the thread, which goes on waiting. 0 or -errno: somebody else traces it, or Yama forbids. */
int rewrite_seize(struct rewrite *rewrite, pid_t tid);

/* Takes the thread out of call `nr`, whose instruction ends at `ip`. -EAGAIN: it is somewhere else and no longer traced. */
int rewrite_stop(struct rewrite *rewrite, uint64_t nr, uint64_t ip);

/* What the call returned; 1 with *has_execed: another program runs, untraced. -ESRCH: the thread is gone. */
int64_t rewrite_do(struct rewrite *rewrite, const struct rewrite_call *call, int *has_execed);

/* The trapped call has returned `result`. Ends the tracing. */
void rewrite_return(struct rewrite *rewrite, int64_t result);

/* Ends the tracing of a thread that was seized and not stopped. */
void rewrite_abandon(struct rewrite *rewrite);

#endif
