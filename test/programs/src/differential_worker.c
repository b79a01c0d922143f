/* Random choices, and what is said (differential.h). */
#define _GNU_SOURCE
#include "differential.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAMES (sizeof(names) / sizeof(names[0]))

static const char long_name[256] = {[0 ... 254] = 'n'}, too_long_name[257] = {[0 ... 255] = 'n'};
static const char *const names[] = {"a", "b", "c", "d", "e", "new\nline", "\xff\xfe", long_name, too_long_name};
static const char *const ends[] = {"/", "/.", "/..", "//", "/../a", "/./b"};

uint32_t any(struct worker *w, uint32_t below)
{
	w->random = w->random * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(w->random >> 33) % below;
}

void say(struct worker *w, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vfprintf(w->log, format, list);
	va_end(list);
}

long told(struct worker *w, long result)
{
	if (result < 0)
		say(w, " = %s", strerrorname_np(errno));
	else
		say(w, " = %ld", result);
	return result;
}

uint32_t hash_of(const void *data, size_t len)
{
	const uint8_t *bytes = data;
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ bytes[i]) * 16777619u;
	return hash;
}

/* Relative to the worker's folder; said. */
const char *relative(struct worker *w, char out[1024])
{
	char *at = out;

	for (uint32_t depth = any(w, 10) < 6 ? 0 : 1 + any(w, 2); depth > 0; depth--)
		at += sprintf(at, "%s/", names[any(w, 3)]);
	at += sprintf(at, "%s", names[any(w, any(w, 8) ? 5 : NAMES)]);
	if (any(w, 12) == 0)
		sprintf(at, "%s", ends[any(w, sizeof(ends) / sizeof(ends[0]))]);
	say(w, " %.40s", out);
	return out;
}

const char *absolute(struct worker *w, char out[1536])
{
	char rest[1024];

	sprintf(out, "%s/%s", w->folder, relative(w, rest));
	return out;
}

int slot(struct worker *w)
{
	uint32_t i = any(w, SLOTS);

	/* Mostly one that is open. */
	for (int tries = 0; tries < 6 && w->fds[i] < 0; tries++)
		i = any(w, SLOTS);
	say(w, " #%u", i);
	return (int)i;
}

void keep(struct worker *w, int fd)
{
	uint32_t i = any(w, SLOTS);

	told(w, fd < 0 ? -1 : (long)i);
	if (fd < 0)
		return;
	if (w->fds[i] >= 0)
		close(w->fds[i]);
	w->fds[i] = fd;
}

void say_stat(struct worker *w, const struct stat *st, bool is_by_path)
{
	say(w, " %o %u:%u", st->st_mode, st->st_uid, st->st_gid);
	/* What making and moving files changes in their folder is seen through its descriptor within a second. */
	if (S_ISDIR(st->st_mode))
		return;
	say(w, " %lu", (unsigned long)st->st_size);
	/* A link made or lost by another name is, too. */
	if (is_by_path)
		say(w, " %lu", (unsigned long)st->st_nlink);
	/* Times that somebody set. */
	if (st->st_mtim.tv_sec < 1000000000)
		say(w, " @%ld.%ld", st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
}

bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

bool is_one_file(int a, int b)
{
	struct stat one, other;

	return fstat(a, &one) == 0 && fstat(b, &other) == 0 && is_same(&one, &other);
}

/* A folder is known to the layer by its path: one that was moved since is another one there, and not asked about. */
int base(struct worker *w)
{
	int fd = w->fds[slot(w)];
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) ? -1 : fd;
}

uint32_t length(struct worker *w)
{
	switch (any(w, 8)) {
	case 0:
		return any(w, LARGEST);
	case 1:
		return 0;
	case 2:
		return 4096 * any(w, 20);
	default:
		return any(w, 300);
	}
}

void fill(struct worker *w, size_t len)
{
	uint32_t at = any(w, 251);

	for (size_t i = 0; i < len; i++)
		w->data[i] = (uint8_t)(at + i % 253);
}
