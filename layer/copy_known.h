/*
 * What is true of the copies that stand in for the target's files and directories: found by a copy's own inode, so that it
 * holds for duplicates, children and programs after execve. The oldest of COPY_KNOWN_MAX are forgotten.
 */
#ifndef LAYER_COPY_KNOWN_H
#define LAYER_COPY_KNOWN_H

#include <stdbool.h>
#include <sys/types.h>

#include "moved_path.h"
#include "wire.h"

#define COPY_KNOWN_MAX 65536u

/* fd is a copy: it stands for `path` in the target. */
void copy_remember(int fd, const struct wire_stat *stat, const char *path, size_t path_len);

/* The target's stat of what the thread's descriptor is a copy of. False: not a copy. */
bool copy_stat(pid_t tid, int fd, struct wire_stat *stat);

/* Like fuse_path_of, for copies: length of the target's path, 0 if the link does not lead to a copy. */
ssize_t copy_path_of(const char *proc_path, char *out, size_t out_len);

/* The process has renamed what is in the target. */
void copy_path_moved(const struct move *move);

#endif
