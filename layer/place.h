/*
 * Where the path of a call leads: stays on this machine, lies in the target, or is for the client to decide. Knows relative
 * paths below remote directories and the magic links of /proc that name descriptors of ours.
 */
#ifndef LAYER_PLACE_H
#define LAYER_PLACE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "rules.h"

/* A directory of the target's and a name below it. */
#define PLACE_PATH_MAX (2 * PATH_MAX)

enum place {
	PLACE_LOCAL,
	PLACE_REMOTE,
	PLACE_ASK,
	PLACE_NOT_FOUND,
	PLACE_MAGIC, /* a link of /proc to a descriptor of ours: path is what it says */
};

struct place_path {
	size_t len;
	char text[PLACE_PATH_MAX + 1];
};

void place_init(const struct rules *rules);

/* From now on descriptors of the target's files or directories are in the hands of local processes. */
void place_descriptor_given(void);
bool place_has_given(void);

/* path holds what the process said and is rewritten into a path of the target's. dir is a descriptor or AT_FDCWD. */
enum place place_find(pid_t tid, int dir, struct place_path *path, bool is_write);

/* Target's path of the thread's working directory; its length, 0 if it is local. */
size_t place_cwd(pid_t tid, char *out, size_t out_len);

/* What the client said of a path that the rules could not decide: so that it is asked once. */
void place_remember_local(const struct place_path *path, bool is_write);

#endif
