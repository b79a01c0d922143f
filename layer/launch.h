/* Starts the local process under the filter. */
#ifndef LAYER_LAUNCH_H
#define LAYER_LAUNCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct launch {
	char **argv;
	uint32_t features;
	bool has_fuse;
	uint64_t cookie; /* of the bypass; 0: none */
	pid_t pid;
	int listener;
	int status_fd; /* says whether execve worked: launch_outcome */
};

/* Remembers how signals were when we were started and makes keeper and worker deaf to those of the terminal. */
void launch_ignore_signals(void);

/* No core file of ours, which would hold what was read of the target; the local process gets its own limit back. */
void launch_forbid_core(void);

/* Forks. 0 or -errno; the listener is there, and execve waits for it to be served. */
int launch(struct launch *launch);

/* 0 when the command runs, -errno when it could not. */
int launch_outcome(struct launch *launch);

/* Exit as the process with this wait status did. */
void launch_exit_like(int status) __attribute__((noreturn));

#endif
