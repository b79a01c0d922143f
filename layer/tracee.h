/*
 * What the supervisor reads and writes in a thread that waits in a trapped call. The thread may be gone and its id reused:
 * whoever acts on what was read asks notify_is_valid afterwards.
 */
#ifndef LAYER_TRACEE_H
#define LAYER_TRACEE_H

#include <limits.h>
#include <stdint.h>
#include <sys/types.h>

/* A path with its NUL into buf[PATH_MAX]; its length, or -errno (-ENAMETOOLONG, -EFAULT, -EPERM, -ESRCH). */
ssize_t tracee_read_path(pid_t tid, uint64_t addr, char *buf);

/* Exactly len bytes, or -EFAULT and the like. */
int tracee_read(pid_t tid, uint64_t addr, void *buf, size_t len);
int tracee_write(pid_t tid, uint64_t addr, const void *buf, size_t len);

mode_t tracee_umask(pid_t tid);

/* The thread group of a thread; the thread itself when it cannot be told. */
pid_t tracee_process(pid_t tid);

#endif
