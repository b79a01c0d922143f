/* The process that serves the local process; the keeper (main.c) stands behind it. */
#ifndef LAYER_WORKER_H
#define LAYER_WORKER_H

/* keeper: socket that takes the listener and the setup. Does not return. */
void worker_run(char **argv, int keeper) __attribute__((noreturn));

/* Reaps until no descendant is left, and hands over the stops of traced threads. */
void worker_wait_for_all(void (*when_first_ends)(void));

#endif
