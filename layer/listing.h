/*
 * Without FUSE: a directory of the target's is a memfd that holds its entries as the kernel would write them. Its offset is
 * the cursor, so that lseek, dup and fork do what they do to a directory; getdents64 is trapped. A listing is as of the open.
 */
#ifndef LAYER_LISTING_H
#define LAYER_LISTING_H

#include <linux/seccomp.h>
#include <stdbool.h>

#include "fuse.h"
#include "pending.h"

#define LISTING_MAX_BYTES (64u << 20)

/* Fetches a directory's pages and finishes the call. True: it could not begin, the answer is set. */
bool listing_start(struct pending *pending, const struct fuse_file *file);

/* getdents64 of a listing. False: it is none of ours. */
bool listing_answer(const struct seccomp_notif *notif);

#endif
