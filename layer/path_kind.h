/* What a call's words say of it, for the supervisor and the bypass alike. */
#ifndef LAYER_PATH_KIND_H
#define LAYER_PATH_KIND_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>

static inline bool open_writes(uint32_t flags)
{
	if (flags & O_PATH)
		return false;
	return (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC | O_APPEND));
}

static inline bool path_begins(const char *path, const char *with)
{
	while (*with && *path == *with) {
		path++;
		with++;
	}
	return *with == '\0';
}

/* Links of /proc may lead to descriptors of ours, once a process has one. */
static inline bool path_may_be_magic(const char *path)
{
	return path_begins(path, "/proc/") || path_begins(path, "/dev/fd/");
}

#endif
