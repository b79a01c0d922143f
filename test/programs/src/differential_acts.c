/* The operations (differential.h). */
#define _GNU_SOURCE
#include "differential.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>

static void do_open(struct worker *w)
{
	static const int ways[] = {O_RDONLY, O_WRONLY, O_RDWR, O_RDWR};
	static const int extras[] = {O_CREAT, O_CREAT | O_EXCL, O_TRUNC, O_APPEND, O_NOFOLLOW, O_DIRECTORY, O_CREAT | O_TRUNC};
	char path[1536];
	int flags = ways[any(w, 4)], dir;

	if (any(w, 4))
		flags |= extras[any(w, 7)] | (any(w, 4) ? 0 : extras[any(w, 7)]);
	say(w, "open %o", flags);
	if (any(w, 5) == 0) {
		dir = base(w);
		keep(w, openat(dir, relative(w, path), flags, 0600 | any(w, 64)));
	} else {
		keep(w, open(absolute(w, path), flags, 0600 | any(w, 64)));
	}
}

static void do_read(struct worker *w)
{
	uint32_t want = length(w), offset = length(w);
	bool has_offset = any(w, 2);
	long got;

	say(w, has_offset ? "pread" : "read");
	int fd = w->fds[slot(w)];
	got = told(w, has_offset ? pread(fd, w->data, want, offset) : read(fd, w->data, want));
	say(w, " %u@%u %08x", want, has_offset ? offset : 0, got > 0 ? hash_of(w->data, (size_t)got) : 0);
}

static void do_write(struct worker *w)
{
	uint32_t want = length(w), offset = length(w);
	bool has_offset = any(w, 2);

	fill(w, want);
	say(w, has_offset ? "pwrite %u@%u" : "write %u", want, offset);
	int fd = w->fds[slot(w)];
	told(w, has_offset ? pwrite(fd, w->data, want, offset) : write(fd, w->data, want));
}

static void do_seek(struct worker *w)
{
	int whence = (int)any(w, 3), fd;
	off_t offset = (off_t)length(w) - (any(w, 3) ? 0 : 50);
	struct stat st;

	say(w, "lseek");
	fd = w->fds[slot(w)];
	/* Positions in a directory are its file system's own affair. */
	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
		return;
	told(w, lseek(fd, offset, whence));
}

static void do_stat(struct worker *w)
{
	struct stat st, other;
	char path[1536];
	bool is_by_path = true;
	long result;

	switch (any(w, 4)) {
	case 0:
		say(w, "stat");
		result = told(w, stat(absolute(w, path), &st));
		break;
	case 1:
		say(w, "lstat");
		result = told(w, lstat(absolute(w, path), &st));
		break;
	case 2:
		say(w, "fstatat");
		result = base(w);
		result = told(w, fstatat((int)result, relative(w, path), &st, any(w, 2) ? AT_SYMLINK_NOFOLLOW : 0));
		break;
	default:
		say(w, "fstat");
		result = told(w, fstat(w->fds[slot(w)], &st));
		is_by_path = false;
	}
	if (result != 0)
		return;
	say_stat(w, &st, is_by_path);
	for (int i = 0; i < SLOTS; i++) {
		if (w->fds[i] >= 0 && fstat(w->fds[i], &other) == 0 && is_same(&st, &other)) {
			say(w, " is#%d", i);
			say_stat(w, &other, false);
		}
	}
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void do_list(struct worker *w)
{
	char path[1536], *found[64];
	unsigned int count = 0;
	struct dirent *entry;
	long middle = 0;
	DIR *dir;

	say(w, "list");
	dir = opendir(any(w, 2) ? w->folder : absolute(w, path));
	if (!dir) {
		told(w, -1);
		return;
	}
	while ((entry = readdir(dir)) && count < 64) {
		if (count == 1)
			middle = telldir(dir);
		if (asprintf(&found[count++], "%u:%.30s", entry->d_type, entry->d_name) < 0)
			abort();
	}
	say(w, " %u", count);
	if (count > 2) {
		unsigned int again = 0;

		seekdir(dir, middle);
		while (readdir(dir))
			again++;
		say(w, "/%u", again);
		rewinddir(dir);
		for (again = 0; readdir(dir); again++)
			;
		say(w, "/%u", again);
	}
	qsort(found, count, sizeof(found[0]), by_name);
	for (unsigned int i = 0; i < count; i++) {
		say(w, " %s", found[i]);
		free(found[i]);
	}
	closedir(dir);
}

static void do_name(struct worker *w)
{
	char path[1536], other[1536], content[64];
	ssize_t len;

	switch (any(w, 10)) {
	case 0:
	case 1:
		say(w, "mkdir");
		told(w, mkdir(absolute(w, path), 0700 | any(w, 64)));
		break;
	case 2:
		say(w, "rmdir");
		told(w, rmdir(absolute(w, path)));
		break;
	case 3:
		say(w, "unlink");
		told(w, unlink(absolute(w, path)));
		break;
	case 4:
	case 5:
		say(w, "rename");
		absolute(w, path);
		told(w, renameat2(AT_FDCWD, path, AT_FDCWD, absolute(w, other), any(w, 4) ? 0 : any(w, 3)));
		break;
	case 6:
		say(w, "link");
		absolute(w, path);
		told(w, linkat(AT_FDCWD, path, AT_FDCWD, absolute(w, other), any(w, 2) ? AT_SYMLINK_FOLLOW : 0));
		break;
	case 7:
		say(w, "symlink");
		sprintf(content, "%s%s", any(w, 3) ? "" : "../", (char[2]){(char)('a' + any(w, 5)), 0});
		told(w, symlink(content, absolute(w, path)));
		break;
	case 8:
		say(w, "readlink");
		len = told(w, readlink(absolute(w, path), content, any(w, 2) ? sizeof(content) : 2));
		say(w, " %.*s", len > 0 ? (int)len : 0, content);
		break;
	default:
		say(w, "unlinkat");
		len = base(w);
		told(w, unlinkat((int)len, relative(w, path), any(w, 2) ? AT_REMOVEDIR : 0));
	}
}

static void do_attribute(struct worker *w)
{
	struct timespec times[2] = {{any(w, 900000000), any(w, 1000000000)}, {any(w, 900000000), any(w, 1000000000)}};
	uint32_t mode = 0600 | any(w, 64), size = length(w), choice = any(w, 8);
	char path[1536];

	if (any(w, 6) == 0)
		times[any(w, 2)].tv_nsec = any(w, 2) ? UTIME_NOW : UTIME_OMIT;
	say(w, "attribute %u", choice);
	const char *at = choice < 4 ? absolute(w, path) : NULL;
	int fd = choice < 4 ? -1 : w->fds[slot(w)];
	switch (choice % 4) {
	case 0:
		told(w, at ? truncate(at, size) : ftruncate(fd, size));
		break;
	case 1:
		told(w, at ? chmod(at, mode) : fchmod(fd, mode));
		break;
	case 2:
		told(w, at ? utimensat(AT_FDCWD, at, times, any(w, 2) ? AT_SYMLINK_NOFOLLOW : 0) : futimens(fd, times));
		break;
	default:
		told(w, at ? lchown(at, any(w, 2), any(w, 3)) : fchown(fd, any(w, 2), any(w, 3)));
	}
}

static void do_map(struct worker *w)
{
	bool is_shared = any(w, 2);
	struct stat st;
	uint8_t *at;
	size_t len;
	int fd;

	say(w, "mmap %d", is_shared);
	fd = w->fds[slot(w)];
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
		return;
	/* Pages have no way into a file without a name that was opened for appending only. */
	is_shared = is_shared && !(fcntl(fd, F_GETFL) & O_APPEND);
	len = (size_t)st.st_size;
	at = mmap(NULL, len, is_shared ? PROT_READ | PROT_WRITE : PROT_READ, is_shared ? MAP_SHARED : MAP_PRIVATE, fd, 0);
	told(w, at == MAP_FAILED ? -1 : 0);
	if (at == MAP_FAILED)
		return;
	say(w, " %zu %08x", len, hash_of(at, len));
	if (is_shared) {
		at[any(w, (uint32_t)len)] = (uint8_t)any(w, 256);
		told(w, msync(at, len, MS_SYNC));
	}
	munmap(at, len);
}

static void do_move(struct worker *w)
{
	char path[1536];
	off_t from = length(w), to = length(w);
	size_t len = length(w);
	int a, b;

	switch (any(w, 6)) {
	case 0:
		say(w, "dup");
		keep(w, dup(w->fds[slot(w)]));
		break;
	case 1:
		say(w, "reopen");
		a = w->fds[slot(w)];
		sprintf(path, "/proc/self/fd/%d", a);
		keep(w, open(path, fcntl(a, F_GETFL) & (O_ACCMODE | O_APPEND)));
		break;
	case 2:
		say(w, "sendfile");
		a = slot(w), b = slot(w);
		if (!is_one_file(w->fds[a], w->fds[b]))
			told(w, sendfile(w->fds[a], w->fds[b], any(w, 2) ? &from : NULL, len));
		break;
	case 3:
		say(w, "fsync");
		told(w, any(w, 2) ? fsync(w->fds[slot(w)]) : fdatasync(w->fds[slot(w)]));
		break;
	case 4:
		say(w, "copy_file_range");
		a = slot(w), b = slot(w);
		/* Over itself it may be done in any order. */
		if (!is_one_file(w->fds[a], w->fds[b]))
			told(w, copy_file_range(w->fds[a], &from, w->fds[b], any(w, 2) ? &to : NULL, len, 0));
		break;
	default:
		say(w, "access");
		told(w, access(absolute(w, path), (int)any(w, 8)));
	}
}

void act(struct worker *w)
{
	static void (*const acts[])(struct worker *) = {do_open, do_open, do_read, do_read, do_write, do_write, do_seek,
							do_stat, do_stat, do_list, do_name, do_name, do_name,
							do_attribute, do_map, do_move};

	if (any(w, 20) == 0) {
		say(w, "close");
		int at = slot(w);
		told(w, close(w->fds[at]));
		w->fds[at] = -1;
	} else {
		acts[any(w, sizeof(acts) / sizeof(acts[0]))](w);
	}
}
