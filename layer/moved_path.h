/*
 * What we remember by its path follows a rename that the local process makes: descriptors of folders and working directories
 * are the folder, wherever it is now. What others rename in the target, we do not hear of.
 */
#ifndef LAYER_MOVED_PATH_H
#define LAYER_MOVED_PATH_H

#include <stdbool.h>
#include <stddef.h>

struct move {
	const char *from, *to;
	size_t from_len, to_len;
	bool is_exchange; /* `to` became `from` as well */
};

/* Changes *path, which is of malloc and ends in NUL, if it is what was moved or lies below that. Keeps it when memory is short. */
void moved_path_follow(const struct move *move, char **path, size_t *len);

#endif
