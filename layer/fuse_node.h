/*
 * What the FUSE server knows: nodes (one per file of the target, the kernel's inodes), names (one per fuse_open, flat in
 * the root), opened files (the kernel's struct file) and sources (where the bytes come from, shared by re-opened files).
 *
 * Everything here is guarded by one lock. It is never held over a system call or a call into link.h, because a dead link
 * answers on the caller's thread.
 */
#ifndef LAYER_FUSE_NODE_H
#define LAYER_FUSE_NODE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "fuse.h"
#include "wire.h"

struct source {
	uint32_t refs;
	uint32_t handle;        /* 0: content */
	int flags;              /* O_* it was opened with */
	uint8_t *content;       /* a snapshot ... */
	size_t content_len;
	uint64_t version;       /* ... of this version of the node */
};

struct dir_page;

struct opened {
	uint32_t refs;          /* the kernel's until RELEASE, and one per call in flight */
	int flags;
	bool keeps_cache;
	bool is_reopened;       /* through /proc/PID/fd: shares another's name */
	struct node *node;
	struct name *name;
	struct source *source;
	struct dir_page *page; /* fuse_dir.c */
	struct opened *next;         /* of the node */
};

struct name {
	uint64_t number;
	struct node *node;
	uint32_t opened;        /* files open under it */
	struct opened *pending; /* between fuse_open and the kernel's OPEN ... */
	pid_t opener;           /* ... by this thread */
	bool is_closed;
	struct name *closed_next, *closed_prev;
	struct name *next;      /* of the node, newest first */
	struct name *next_by_number;
	size_t path_len;
	char *path;             /* follows the local process's renames */
};

struct node {
	/* A number can be used again after an unlink: birth time and type tell the two files apart. */
	uint64_t dev, ino;
	int64_t btime_ns;
	uint32_t type;
	uint32_t pins;          /* fuse_opens and calls in flight */
	uint32_t reopened;      /* open files that are is_reopened */
	uint64_t lookups;       /* what the kernel will FORGET */
	uint64_t version;       /* counts the changes of its content that we know of */
	struct wire_stat stat;
	struct opened *opened;
	struct name *names;
	struct node *next_by_key;
};

extern pthread_mutex_t fuse_lock;

/* The rest needs fuse_lock. NULL means that memory is short. */

/* Finds or makes the node of stat, and pins it. *is_unchanged: it was known and its content is the same. */
struct node *node_take(const struct wire_stat *stat, bool *is_unchanged);
struct node *node_find(const struct wire_stat *stat);
bool node_is_of(const struct node *node, const struct wire_stat *stat);
/* One with a file that is open by this path. */
struct node *node_open_as(const char *path, size_t len);
void node_unpin(struct node *node);
void node_forget(struct node *node, uint64_t lookups);
void node_update(struct node *node, const struct wire_stat *stat);

struct name *name_add(struct node *node, const char *path, size_t len);
/* No file was opened under it after all. */
void name_abandon(struct name *name);
struct name *name_find(uint64_t number);
void names_move(const struct move *move);
/* Takes out a name of a closed file that the kernel need not remember any more; 0 if there is none. */
uint64_t name_take_stale(void);

struct opened *opened_add(struct node *node, struct name *name, struct source *source, int flags);
/* The files of the node become those the kernel knows. */
void opened_link(struct opened *opened);
void opened_unlink(struct opened *opened);
/* Returns the handle to release once the lock is dropped, or 0. */
uint32_t opened_put(struct opened *opened);
/* An open file of the node whose source can serve `flags`, or NULL. */
struct opened *opened_find(struct node *node, int flags);
/* An open file with a handle, one that may write if there is one; else any; else NULL. */
struct opened *opened_best(struct node *node);

struct source *source_new(uint32_t handle, int flags);
int source_set_content(struct source *source, const uint8_t *content, size_t len, uint64_t version);
uint32_t source_put(struct source *source);

#endif
