/*
 * Without FUSE: private copies of the target's files for reading, sealed so that nobody takes them for the file itself.
 */
#ifndef LAYER_COPY_H
#define LAYER_COPY_H

#include <stdbool.h>

#include "fuse.h"
#include "pending.h"

#define COPY_MAX_BYTES (64u << 20)

/* An empty copy to be written, and the read-only descriptor that it becomes, which stands for the pending's path; it
 * consumes the first. Or -errno. */
int copy_create(void);
int copy_seal(int fd, const struct pending *pending, const struct wire_stat *stat);

/* A descriptor, or -errno. */
int copy_of_content(const struct pending *pending, const struct fuse_file *file);

/* Fetches a handle's content piece by piece and finishes the call. True: it was refused, the answer is set. */
bool copy_start(struct pending *pending, const struct fuse_file *file);

#endif
