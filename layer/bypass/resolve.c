/* Resolving (resolve.h). The order of calls, and which names need a look whether they are directories, are glibc's. */
#include "resolve.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bypass.h"

#define LINKS_MAX 40

struct walk {
	char *name;       /* so far, without a NUL */
	size_t len;
	const char *rest; /* still to be walked */
	unsigned int links;
	char links_rest[RESOLVE_ROOM]; /* of what links said */
};

/* The name ends before the component's slash; the root keeps its own. */
static void drop_component(struct walk *walk)
{
	while (walk->len > 1 && walk->name[walk->len - 1] != '/')
		walk->len--;
	if (walk->len > 1)
		walk->len--;
}

static bool append(struct walk *walk, const char *component, size_t len)
{
	size_t slash = walk->name[walk->len - 1] != '/';

	/* A slash and a NUL are added when it is looked at. */
	if (walk->len + slash + len + 2 > RESOLVE_ROOM)
		return false;
	if (slash)
		walk->name[walk->len++] = '/';
	for (size_t i = 0; i < len; i++)
		walk->name[walk->len++] = component[i];
	return true;
}

/* Whether nothing but the end, "." or ".." follows: then no later call would notice a name that is no directory. */
static bool needs_look(const char *rest)
{
	while (*rest == '/') {
		while (*rest == '/')
			rest++;
		if (*rest == '\0')
			return true;
		if (*rest != '.')
			return false;
		rest++;
		if (*rest == '\0' || (*rest == '.' && (rest[1] == '\0' || rest[1] == '/')))
			return true;
	}
	return false;
}

static int look(struct walk *walk)
{
	struct bypass_path path = {AT_FDCWD, walk->name, false};
	long result;

	walk->name[walk->len] = '/';
	walk->name[walk->len + 1] = '\0';
	result = bypass_call(&path, SYS_faccessat2, AT_FDCWD, (long)walk->name, F_OK, AT_EACCESS, 0);
	return result == -EOVERFLOW ? 0 : (int)result;
}

/* What the link says comes before what is left. */
static int follow(struct walk *walk, const char *link, size_t len)
{
	size_t rest = 0;

	if (++walk->links > LINKS_MAX)
		return -ELOOP;
	while (walk->rest[rest])
		rest++;
	if (len + rest >= RESOLVE_ROOM)
		return RESOLVE_OTHERWISE;
	/* The rest may lie in the same buffer, before or behind its new place. */
	if (walk->rest < walk->links_rest + len) {
		for (size_t i = rest + 1; i-- > 0;)
			walk->links_rest[len + i] = walk->rest[i];
	} else {
		for (size_t i = 0; i <= rest; i++)
			walk->links_rest[len + i] = walk->rest[i];
	}
	for (size_t i = 0; i < len; i++)
		walk->links_rest[i] = link[i];
	walk->rest = walk->links_rest;
	if (link[0] == '/')
		walk->len = 1;
	else
		drop_component(walk);
	return 0;
}

static int step(struct walk *walk, const char *component, size_t len)
{
	char link[RESOLVE_ROOM];
	long got;

	if (len == 1 && component[0] == '.')
		return 0;
	if (len == 2 && component[0] == '.' && component[1] == '.') {
		drop_component(walk);
		return 0;
	}
	if (!append(walk, component, len))
		return RESOLVE_OTHERWISE;
	walk->name[walk->len] = '\0';
	got = bypass_readlink(walk->name, link, sizeof(link));
	if (got == (long)sizeof(link))
		return RESOLVE_OTHERWISE;
	if (got >= 0)
		return follow(walk, link, (size_t)got);
	if (needs_look(walk->rest))
		return look(walk);
	return got == -EINVAL ? 0 : (int)got;
}

static bool begin(struct walk *walk, const char *name)
{
	long got;

	walk->name[0] = '/';
	walk->len = 1;
	walk->rest = name;
	if (name[0] == '/')
		return true;
	got = bypass_cwd(walk->name, RESOLVE_ROOM);
	walk->len = got > 0 ? (size_t)got - 1 : 0;
	return got > 1 && walk->name[0] == '/';
}

int resolve(const char *name, char out[RESOLVE_ROOM])
{
	struct walk walk = {.name = out};
	int failed = 0;

	out[0] = '\0';
	if (name[0] == '\0')
		return -ENOENT;
	if (!begin(&walk, name))
		return RESOLVE_OTHERWISE;
	while (!failed) {
		const char *component;

		while (*walk.rest == '/')
			walk.rest++;
		if (*walk.rest == '\0')
			break;
		component = walk.rest;
		while (*walk.rest && *walk.rest != '/')
			walk.rest++;
		failed = step(&walk, component, (size_t)(walk.rest - component));
	}
	out[walk.len] = '\0';
	return failed;
}
