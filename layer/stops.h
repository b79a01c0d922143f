/*
 * Stops of threads that we trace. Only one thread of a process can wait for children without stealing the others' events,
 * so the one that reaps hands each stop to whoever expects it.
 */
#ifndef LAYER_STOPS_H
#define LAYER_STOPS_H

#include <sys/types.h>

struct expected {
	struct expected *next;
	pid_t tid, process; /* execve makes the thread its process's first one */
	pid_t pid;          /* of the last event */
	int status, events;
};

/* Before the thread is traced, and after. */
void stops_expect(struct expected *expected, pid_t tid, pid_t process);
void stops_forget(struct expected *expected);

/* The wait status of the next event: a stop, or the thread's end. */
int stops_wait(struct expected *expected);

/* From the thread that reaps. */
void stops_deliver(pid_t pid, int status);

#endif
