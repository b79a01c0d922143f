/* Decisions about paths (place.h). The common way, an absolute path that is local, takes no lock and no system call. */
#include "place.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bypass_offer.h"
#include "copy_known.h"
#include "fuse.h"
#include "path_kind.h"
#include "tracee.h"

#define CACHED 1024u
#define CACHED_PATH_MAX 200u

struct cached {
	uint8_t is_used, is_write, len;
	char path[CACHED_PATH_MAX];
};

static const struct rules *rules;
static bool has_given;
static pthread_mutex_t cache_lock = PTHREAD_MUTEX_INITIALIZER;
static struct cached cache[CACHED];

void place_init(const struct rules *r)
{
	rules = r;
}

void place_descriptor_given(void)
{
	__atomic_store_n(&has_given, true, __ATOMIC_RELEASE);
	bypass_descriptor_given();
}

bool place_has_given(void)
{
	return __atomic_load_n(&has_given, __ATOMIC_ACQUIRE);
}

/* As fuse_path_of, for descriptors of either kind. */
static ssize_t path_of(const char *proc_path, char *out, size_t out_len)
{
	ssize_t len = fuse_path_of(proc_path, out, out_len);

	return len != 0 ? len : copy_path_of(proc_path, out, out_len);
}

static struct cached *slot_of(const struct place_path *path, bool is_write)
{
	uint32_t hash = 2166136261u + is_write;

	for (size_t i = 0; i < path->len; i++)
		hash = (hash ^ (uint8_t)path->text[i]) * 16777619u;
	return &cache[hash % CACHED];
}

static bool slot_holds(const struct cached *slot, const struct place_path *path, bool is_write)
{
	return slot->is_used && slot->is_write == is_write && slot->len == path->len &&
	       memcmp(slot->path, path->text, path->len) == 0;
}

void place_remember_local(const struct place_path *path, bool is_write)
{
	struct cached *slot = slot_of(path, is_write);

	if (path->len > CACHED_PATH_MAX)
		return;
	pthread_mutex_lock(&cache_lock);
	slot->is_used = 1;
	slot->is_write = is_write;
	slot->len = (uint8_t)path->len;
	memcpy(slot->path, path->text, path->len);
	pthread_mutex_unlock(&cache_lock);
}

static bool is_remembered_local(const struct place_path *path, bool is_write)
{
	struct cached *slot = slot_of(path, is_write);
	bool is_local;

	pthread_mutex_lock(&cache_lock);
	is_local = slot_holds(slot, path, is_write);
	pthread_mutex_unlock(&cache_lock);
	return is_local;
}

static enum place decide(const struct place_path *path, bool is_relative, bool is_write)
{
	switch (rules_decide(rules, path->text, path->len, is_relative, is_write)) {
	case VERDICT_REMOTE:
		return PLACE_REMOTE;
	case VERDICT_NOT_FOUND:
		return PLACE_NOT_FOUND;
	case VERDICT_ASK:
		return is_remembered_local(path, is_write) ? PLACE_LOCAL : PLACE_ASK;
	default:
		return PLACE_LOCAL;
	}
}

/* path = directory + "/" + path. False: too long. */
static bool prepend(struct place_path *path, const char *directory, size_t len, size_t skip)
{
	size_t rest = path->len - skip;
	bool has_slash = rest == 0 || path->text[skip] == '/' || directory[len - 1] == '/';

	if (len + rest + 1 > PLACE_PATH_MAX)
		return false;
	memmove(path->text + len + !has_slash, path->text + skip, rest);
	memcpy(path->text, directory, len);
	if (!has_slash)
		path->text[len] = '/';
	path->len = len + !has_slash + rest;
	path->text[path->len] = '\0';
	return true;
}

static size_t skip_digits(const char *text, size_t at)
{
	while (text[at] >= '0' && text[at] <= '9')
		at++;
	return at;
}

/*
 * Splits a path through a magic link into the link, spelled so that it means the same to us as to the thread, and the rest.
 * Returns the length of the path up to the rest, 0 if there is no such link.
 */
static size_t split_magic(pid_t tid, const char *path, char *link, size_t link_len)
{
	size_t at, name;

	if (strncmp(path, "/dev/fd/", 8) == 0) {
		at = skip_digits(path, 8);
		snprintf(link, link_len, "/proc/%d/fd/%.*s", tid, (int)(at - 8), path + 8);
		return at > 8 && at < 18 ? at : 0;
	}
	if (strncmp(path, "/proc/", 6) != 0)
		return 0;
	name = 6;
	if (strncmp(path + 6, "self/", 5) == 0)
		name = 11;
	else if (strncmp(path + 6, "thread-self/", 12) == 0)
		name = 18;
	else
		name = skip_digits(path, 6) + 1;
	if (name < 8 || path[name - 1] != '/')
		return 0;
	if (strncmp(path + name, "fd/", 3) == 0)
		at = skip_digits(path, name + 3);
	else if (strncmp(path + name, "cwd", 3) == 0 || strcmp(path + name, "exe") == 0)
		at = name + 3;
	else
		return 0;
	if (path[at] != '\0' && path[at] != '/')
		return 0;
	if (path[6] >= '0' && path[6] <= '9')
		snprintf(link, link_len, "%.*s", (int)at, path);
	else
		snprintf(link, link_len, "/proc/%d/%.*s", tid, (int)(at - name), path + name);
	return at;
}

static enum place find_magic(pid_t tid, struct place_path *path)
{
	char link[80], target[PATH_MAX];
	size_t at = split_magic(tid, path->text, link, sizeof(link));
	ssize_t len = at > 0 ? path_of(link, target, sizeof(target)) : 0;
	bool has_rest;

	if (len <= 0)
		return PLACE_LOCAL;
	has_rest = path->text[at] == '/';
	if (!prepend(path, target, (size_t)len, at))
		return PLACE_LOCAL;
	return has_rest ? PLACE_REMOTE : PLACE_MAGIC;
}

size_t place_cwd(pid_t tid, char *out, size_t out_len)
{
	char link[40];
	ssize_t len;

	if (!place_has_given())
		return 0;
	snprintf(link, sizeof(link), "/proc/%d/cwd", tid);
	len = path_of(link, out, out_len);
	return len > 0 ? (size_t)len : 0;
}

static enum place find_relative(pid_t tid, int dir, struct place_path *path, bool is_write)
{
	char link[48], directory[PATH_MAX];
	ssize_t len = 0;
	enum place place;

	if (place_has_given()) {
		if (dir == AT_FDCWD)
			snprintf(link, sizeof(link), "/proc/%d/cwd", tid);
		else
			snprintf(link, sizeof(link), "/proc/%d/fd/%d", tid, dir);
		len = fuse_directory_of(link, directory, sizeof(directory));
		if (len == 0)
			len = copy_path_of(link, directory, sizeof(directory));
	}
	if (len > 0)
		return prepend(path, directory, (size_t)len, 0) ? PLACE_REMOTE : PLACE_LOCAL;
	if (dir != AT_FDCWD)
		return PLACE_LOCAL;
	place = decide(path, true, is_write);
	if (place != PLACE_REMOTE && place != PLACE_ASK)
		return place;
	/* The target is asked for the path that the process means. */
	snprintf(link, sizeof(link), "/proc/%d/cwd", tid);
	len = readlink(link, directory, sizeof(directory));
	if (len <= 0 || (size_t)len >= sizeof(directory) || !prepend(path, directory, (size_t)len, 0))
		return PLACE_LOCAL;
	return place;
}

enum place place_find(pid_t tid, int dir, struct place_path *path, bool is_write)
{
	enum place place;

	if (path->len == 0)
		return PLACE_LOCAL;
	if (path->text[0] != '/')
		return find_relative(tid, dir, path, is_write);
	if (place_has_given() && path_may_be_magic(path->text)) {
		place = find_magic(tid, path);
		if (place != PLACE_LOCAL)
			return place;
	}
	return decide(path, false, is_write);
}
