/*
 * A process that forbids to be looked at (prctl(2) PR_SET_DUMPABLE 0, or it runs as another user): neither its memory nor its
 * descriptors can be had, so what it asks for is done by this machine's kernel. Told once for each process in a row.
 */
#ifndef LAYER_UNREADABLE_H
#define LAYER_UNREADABLE_H

#include <sys/types.h>

/* `failed`: what was said to a look at the thread's memory or descriptor, -errno. Only -EPERM is told. Any thread may call it. */
void unreadable_tell(pid_t tid, int failed);

#endif
