/*
 * Without FUSE: private copies of the target's files for reading, sealed so that nobody takes them for the file itself.
 */
#ifndef LAYER_COPY_H
#define LAYER_COPY_H

#include <stdbool.h>

#include "fuse.h"
#include "pending.h"

#define COPY_MAX_BYTES (64u << 20)

/* A descriptor, or -errno. */
int copy_of_content(const struct fuse_file *file);

/* Fetches a handle's content piece by piece and finishes the call. True: it was refused, the answer is set. */
bool copy_start(struct pending *pending, const struct fuse_file *file);

/* The target's stat of a copy, found by the copy's own inode. False: not a copy of ours. */
bool copy_stat(pid_t tid, int fd, struct wire_stat *stat);

#endif
