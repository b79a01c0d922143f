/* Opening, looking at and reading links, in front of the C library's functions of these names. */
#include "bypass.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../path_kind.h"

#define CANCEL_ASYNCHRONOUS 1 /* in glibc and musl */
#define VERSIONS_OF_STAT 1    /* _STAT_VER_KERNEL and _STAT_VER_LINUX are one structure here */

extern int pthread_setcanceltype(int type, int *old) OPTIONAL;

static int needs_mode(int flags)
{
	return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
}

long bypass_openat(int dir, const char *path, int flags, unsigned int mode)
{
	struct bypass_path named = {dir, path, open_writes((uint32_t)flags)};

	return bypass_call(&named, SYS_openat, dir, (long)path, flags, needs_mode(flags) ? mode : 0, 0);
}

/* A cancellation point, as it is in the C library: a FIFO may block. */
static int open_file(int dir, const char *path, int flags, unsigned int mode)
{
	int old = 0;
	long fd;

	if (!pthread_setcanceltype || pthread_setcanceltype(CANCEL_ASYNCHRONOUS, &old) != 0)
		return (int)bypass_result(bypass_openat(dir, path, flags, mode));
	fd = bypass_openat(dir, path, flags, mode);
	pthread_setcanceltype(old, NULL);
	return (int)bypass_result(fd);
}

static int file_open(const char *path, int flags, unsigned int mode)
{
	return open_file(AT_FDCWD, path, flags, mode);
}
EXPORT_AS(open, file_open);
EXPORT_AS(open64, file_open);

static int file_openat(int dir, const char *path, int flags, unsigned int mode)
{
	return open_file(dir, path, flags, mode);
}
EXPORT_AS(openat, file_openat);
EXPORT_AS(openat64, file_openat);

/* What _FORTIFY_SOURCE makes of calls without a mode; one that needs it is the C library's to end. */
static int file_open_2(const char *path, int flags)
{
	int (*next)(const char *, int) = needs_mode(flags) ? bypass_next("__open_2") : NULL;

	return next ? next(path, flags) : open_file(AT_FDCWD, path, flags, 0);
}
EXPORT_AS(__open_2, file_open_2);
EXPORT_AS(__open64_2, file_open_2);

static int file_openat_2(int dir, const char *path, int flags)
{
	int (*next)(int, const char *, int) = needs_mode(flags) ? bypass_next("__openat_2") : NULL;

	return next ? next(dir, path, flags) : open_file(dir, path, flags, 0);
}
EXPORT_AS(__openat_2, file_openat_2);
EXPORT_AS(__openat64_2, file_openat_2);

static int stat_at(int dir, const char *path, void *buf, int flags)
{
	struct bypass_path named = {dir, path, false};

	return (int)bypass_result(bypass_call(&named, SYS_newfstatat, dir, (long)path, (long)buf, flags, 0));
}
EXPORT_AS(fstatat, stat_at);
EXPORT_AS(fstatat64, stat_at);

static int stat_path(const char *path, void *buf)
{
	return stat_at(AT_FDCWD, path, buf, 0);
}
EXPORT_AS(stat, stat_path);
EXPORT_AS(stat64, stat_path);

static int stat_link(const char *path, void *buf)
{
	return stat_at(AT_FDCWD, path, buf, AT_SYMLINK_NOFOLLOW);
}
EXPORT_AS(lstat, stat_link);
EXPORT_AS(lstat64, stat_link);

static int stat_version(int version, int dir, const char *path, void *buf, int flags)
{
	if (version < 0 || version > VERSIONS_OF_STAT)
		return (int)bypass_result(-EINVAL);
	return stat_at(dir, path, buf, flags);
}
EXPORT_AS(__fxstatat, stat_version);
EXPORT_AS(__fxstatat64, stat_version);

static int stat_path_version(int version, const char *path, void *buf)
{
	return stat_version(version, AT_FDCWD, path, buf, 0);
}
EXPORT_AS(__xstat, stat_path_version);
EXPORT_AS(__xstat64, stat_path_version);

static int stat_link_version(int version, const char *path, void *buf)
{
	return stat_version(version, AT_FDCWD, path, buf, AT_SYMLINK_NOFOLLOW);
}
EXPORT_AS(__lxstat, stat_link_version);
EXPORT_AS(__lxstat64, stat_link_version);

static int stat_extended(int dir, const char *path, int flags, unsigned int mask, void *buf)
{
	struct bypass_path named = {dir, path, false};

	return (int)bypass_result(bypass_call(&named, SYS_statx, dir, (long)path, flags, mask, (long)buf));
}
EXPORT_AS(statx, stat_extended);

static int access_path(const char *path, int mode)
{
	struct bypass_path named = {AT_FDCWD, path, mode & W_OK};

	return (int)bypass_result(bypass_call(&named, SYS_access, (long)path, mode, 0, 0, 0));
}
EXPORT_AS(access, access_path);

static int access_at(int dir, const char *path, int mode, int flags)
{
	struct bypass_path named = {dir, path, mode & W_OK};
	long nr = flags ? SYS_faccessat2 : SYS_faccessat;

	return (int)bypass_result(bypass_call(&named, nr, dir, (long)path, mode, flags, 0));
}
EXPORT_AS(faccessat, access_at);

long bypass_readlink(const char *path, char *buf, size_t room)
{
	struct bypass_path named = {AT_FDCWD, path, false};

	return bypass_call(&named, SYS_readlink, (long)path, (long)buf, (long)room, 0, 0);
}

static long link_read(const char *path, char *buf, size_t room)
{
	return bypass_result(bypass_readlink(path, buf, room));
}
EXPORT_AS(readlink, link_read);

static long link_read_at(int dir, const char *path, char *buf, size_t room)
{
	struct bypass_path named = {dir, path, false};

	return bypass_result(bypass_call(&named, SYS_readlinkat, dir, (long)path, (long)buf, (long)room, 0));
}
EXPORT_AS(readlinkat, link_read_at);

static long link_read_checked(const char *path, char *buf, size_t room, size_t size)
{
	long (*next)(const char *, char *, size_t, size_t) = room > size ? bypass_next("__readlink_chk") : NULL;

	return next ? next(path, buf, room, size) : link_read(path, buf, room);
}
EXPORT_AS(__readlink_chk, link_read_checked);

static long link_read_at_checked(int dir, const char *path, char *buf, size_t room, size_t size)
{
	long (*next)(int, const char *, char *, size_t, size_t) = room > size ? bypass_next("__readlinkat_chk") : NULL;

	return next ? next(dir, path, buf, room, size) : link_read_at(dir, path, buf, room);
}
EXPORT_AS(__readlinkat_chk, link_read_at_checked);
