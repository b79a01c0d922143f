/* Names of files and directories: what the C library makes of many calls of its own, which nobody can stand in front of. */
#include "bypass.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>

#include "raw.h"
#include "resolve.h"

typedef struct __dirstream directory;

extern directory *fdopendir(int fd) OPTIONAL;
extern void *malloc(size_t size) OPTIONAL;
/* Tells glibc: what names become is not the same in every C library. */
extern const char *gnu_get_libc_version(void) OPTIONAL;

static void *fail(int error)
{
	bypass_set_errno(error);
	return NULL;
}

static void copy(char *to, const char *from)
{
	while ((*to++ = *from++))
		;
}

static char *duplicate(const char *text)
{
	size_t len = 0;
	char *out;

	while (text[len])
		len++;
	out = malloc ? malloc(len + 1) : NULL;
	if (!out)
		return fail(ENOMEM);
	copy(out, text);
	return out;
}

static char *name_resolve(const char *name, char *out)
{
	char found[RESOLVE_ROOM];
	int failed = !name ? -EINVAL : gnu_get_libc_version ? resolve(name, found) : RESOLVE_OTHERWISE;
	char *(*next)(const char *, char *) = failed == RESOLVE_OTHERWISE ? bypass_next("realpath") : NULL;

	if (next)
		return next(name, out);
	if (failed == RESOLVE_OTHERWISE)
		return fail(ENAMETOOLONG);
	/* Also the part that failed, where glibc tells it. */
	if (out && (!failed || failed == -EACCES || (failed == -ENOENT && found[0])))
		copy(out, found);
	if (failed)
		return fail(-failed);
	return out ? out : duplicate(found);
}
EXPORT_AS(realpath, name_resolve);

static char *name_resolve_new(const char *name)
{
	return name_resolve(name, NULL);
}
EXPORT_AS(canonicalize_file_name, name_resolve_new);

static char *name_resolve_checked(const char *name, char *out, size_t size)
{
	char *(*next)(const char *, char *, size_t) = size < PATH_MAX ? bypass_next("__realpath_chk") : NULL;

	return next ? next(name, out, size) : name_resolve(name, out);
}
EXPORT_AS(__realpath_chk, name_resolve_checked);

static char *name_of_cwd(char *buf, size_t size)
{
	char own[RESOLVE_ROOM];
	char *(*next)(char *, size_t);
	long len = -ERANGE;

	if (buf && size > 0)
		len = bypass_cwd(buf, size);
	else if (!buf && size == 0)
		len = bypass_cwd(own, sizeof(own));
	if (len > 0 && (buf ? buf : own)[0] == '/')
		return buf ? buf : duplicate(own);
	if (buf && len < 0 && len != -ENAMETOOLONG)
		return fail(size > 0 ? (int)-len : EINVAL);
	/* Longer than the kernel can say, outside of the root, or for a buffer of a size that is asked for. */
	next = bypass_next("getcwd");
	return next ? next(buf, size) : fail(ENAMETOOLONG);
}
EXPORT_AS(getcwd, name_of_cwd);

static char *name_of_cwd_checked(char *buf, size_t size, size_t room)
{
	char *(*next)(char *, size_t, size_t) = size > room ? bypass_next("__getcwd_chk") : NULL;

	return next ? next(buf, size, room) : name_of_cwd(buf, size);
}
EXPORT_AS(__getcwd_chk, name_of_cwd_checked);

static directory *directory_open(const char *name)
{
	directory *(*next)(const char *) = fdopendir ? NULL : bypass_next("opendir");
	directory *found = NULL;
	long fd;

	if (next)
		return next(name);
	fd = bypass_openat(AT_FDCWD, name, O_RDONLY | O_NONBLOCK | O_DIRECTORY | O_CLOEXEC, 0);
	if (bypass_result(fd) < 0)
		return NULL;
	if (fdopendir)
		found = fdopendir((int)fd);
	if (!found)
		raw_call(SYS_close, fd, 0, 0, 0, 0, 0);
	return found;
}
EXPORT_AS(opendir, directory_open);
