/* The file half of the fake link: wire requests done in a folder (fake_target.h). */
#include "fake_target.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stddef.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../fuse_server.h"
#include "fake_link.h"

#define HANDLES 4096

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int handles[HANDLES];
static char root[256];

static int64_t to_ns(struct statx_timestamp t)
{
	return t.tv_sec * 1000000000 + t.tv_nsec;
}

static void put_stat(struct wire_writer *w, const struct wire_stat *stat)
{
	wire_put_u64(w, stat->dev);
	wire_put_u64(w, stat->ino);
	wire_put_u32(w, stat->mode);
	wire_put_u32(w, stat->nlink);
	wire_put_u32(w, stat->uid);
	wire_put_u32(w, stat->gid);
	wire_put_u64(w, stat->rdev);
	wire_put_u64(w, stat->size);
	wire_put_u32(w, stat->blksize);
	wire_put_u32(w, 0);
	wire_put_u64(w, stat->blocks);
	wire_put_u64(w, (uint64_t)stat->atime_ns);
	wire_put_u64(w, (uint64_t)stat->mtime_ns);
	wire_put_u64(w, (uint64_t)stat->ctime_ns);
	wire_put_u64(w, (uint64_t)stat->btime_ns);
}

static int stat_of(int fd, const char *path, struct wire_stat *stat)
{
	struct statx x;
	struct stat st;

	if (statx(fd, path, AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &x) != 0 ||
	    fstatat(fd, path, &st, AT_EMPTY_PATH) != 0)
		return -errno;
	*stat = (struct wire_stat){
	    .dev = st.st_dev,
	    .ino = st.st_ino,
	    .mode = st.st_mode,
	    .nlink = (uint32_t)st.st_nlink,
	    .uid = st.st_uid,
	    .gid = st.st_gid,
	    .rdev = st.st_rdev,
	    .size = (uint64_t)st.st_size,
	    .blksize = (uint32_t)st.st_blksize,
	    .blocks = (uint64_t)st.st_blocks,
	    .atime_ns = to_ns(x.stx_atime),
	    .mtime_ns = to_ns(x.stx_mtime),
	    .ctime_ns = to_ns(x.stx_ctime),
	    .btime_ns = to_ns(x.stx_btime),
	};
	return 0;
}

static int handle_fd(struct wire_reader *r)
{
	uint32_t handle = wire_get_u32(r);

	return handle < HANDLES && handles[handle] ? handles[handle] : -1;
}

static void full_path(char *out, struct wire_bytes path)
{
	snprintf(out, 512, "%s%.*s", root, (int)path.len, (const char *)path.data);
}

void target_set_root(const char *folder)
{
	snprintf(root, sizeof(root), "%s", folder);
}

void target_close(uint32_t handle)
{
	pthread_mutex_lock(&lock);
	close(handles[handle]);
	handles[handle] = 0;
	pthread_mutex_unlock(&lock);
}

unsigned fake_open_handles(void)
{
	unsigned open = 0;

	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < HANDLES; i++)
		open += handles[i] != 0;
	pthread_mutex_unlock(&lock);
	return open;
}

static uint32_t new_handle(int fd)
{
	uint32_t handle = 1;

	pthread_mutex_lock(&lock);
	while (handles[handle])
		handle++;
	handles[handle] = fd;
	pthread_mutex_unlock(&lock);
	return handle;
}

static int32_t set_attributes(int fd, struct wire_reader *r)
{
	uint32_t valid = wire_get_u32(r), mode = wire_get_u32(r), uid = wire_get_u32(r),
		 gid = wire_get_u32(r);
	uint64_t size = wire_get_u64(r);
	int64_t atime = (int64_t)wire_get_u64(r), mtime = (int64_t)wire_get_u64(r);
	struct timespec times[2] = {{0, UTIME_OMIT}, {0, UTIME_OMIT}};
	int failed = 0;

	if (valid & WIRE_SET_ATIME)
		times[0] = (struct timespec){atime / 1000000000, atime % 1000000000};
	if (valid & WIRE_SET_MTIME)
		times[1] = (struct timespec){mtime / 1000000000, mtime % 1000000000};
	if (valid & WIRE_SET_ATIME_NOW)
		times[0].tv_nsec = UTIME_NOW;
	if (valid & WIRE_SET_MTIME_NOW)
		times[1].tv_nsec = UTIME_NOW;
	if (valid & WIRE_SET_MODE)
		failed |= fchmod(fd, mode);
	if (valid & (WIRE_SET_UID | WIRE_SET_GID))
		failed |= fchown(fd, valid & WIRE_SET_UID ? uid : (uid_t)-1,
				 valid & WIRE_SET_GID ? gid : (gid_t)-1);
	if (valid & WIRE_SET_SIZE)
		failed |= ftruncate(fd, (off_t)size);
	failed |= futimens(fd, times);
	return failed ? -errno : 0;
}

struct dirent64_raw {
	uint64_t ino;
	int64_t off;
	uint16_t reclen;
	uint8_t type;
	char name[];
};

/* The kernel's own cookies, as fs-env gives them. */
static int32_t read_directory(struct wire_reader *r, struct wire_writer *w)
{
	int fd = handle_fd(r);
	uint64_t cookie = wire_get_u64(r), next = cookie;
	uint32_t wanted = wire_get_u32(r), count = 0;
	uint8_t *head = w->at, buf[4096];
	bool is_last = false;

	w->at += 13;
	if (lseek(fd, (off_t)cookie, SEEK_SET) < 0)
		return -errno;
	while (count < wanted) {
		long got = syscall(SYS_getdents64, fd, buf, sizeof(buf));

		is_last = got == 0;
		if (got <= 0)
			break;
		for (long at = 0; at < got && count < wanted; count++) {
			struct dirent64_raw *entry = (void *)(buf + at);

			wire_put_u64(w, entry->ino);
			wire_put_u64(w, (uint64_t)entry->off);
			wire_put_u8(w, entry->type);
			wire_put_u8(w, 0);
			wire_put_str(w, entry->name, strlen(entry->name));
			next = (uint64_t)entry->off;
			at += entry->reclen;
		}
		lseek(fd, (off_t)next, SEEK_SET);
	}
	{
		struct wire_writer h = {head, head + 13, 0};

		wire_put_u64(&h, next);
		wire_put_u8(&h, is_last);
		wire_put_u32(&h, count);
	}
	return 0;
}

static int32_t serve_open(struct wire_reader *r, struct wire_writer *w)
{
	struct wire_stat stat;
	char path[512];
	uint32_t flags;
	int fd;

	(void)wire_get_u32(r);
	flags = wire_get_u32(r);
	(void)wire_get_u32(r);
	full_path(path, wire_get_str(r));
	fd = open(path, (int)flags | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	stat_of(fd, "", &stat);
	wire_put_u8(w, WIRE_OPENED_HANDLE);
	wire_put_u32(w, new_handle(fd));
	put_stat(w, &stat);
	return 0;
}

static int32_t serve_stat(int fd, const char *path, struct wire_writer *w)
{
	struct wire_stat stat;
	int failed = stat_of(fd, path, &stat);

	if (!failed)
		put_stat(w, &stat);
	return failed;
}

static int32_t serve_io(uint16_t kind, struct wire_reader *r, struct wire_writer *w)
{
	int fd = handle_fd(r);
	off_t offset = (off_t)wire_get_u64(r);
	ssize_t done;

	if (kind == WIRE_READ) {
		done = pread(fd, w->at, wire_get_u32(r), offset);
		w->at += done > 0 ? done : 0;
	} else {
		done = pwrite(fd, r->at, (size_t)(r->end - r->at), offset);
	}
	return done < 0 ? -errno : (int32_t)done;
}

int32_t target_lie;

/* As the client: the bytes are the kernel's. */
static int32_t serve_for_kernel(struct wire_reader *r)
{
	static _Alignas(4096) uint8_t data[FUSE_IO_MAX];
	int fd = handle_fd(r);
	off_t offset = (off_t)wire_get_u64(r);
	uint32_t len = wire_get_u32(r);
	uint64_t unique = wire_get_u64(r);
	ssize_t done = pread(fd, data, len, offset);

	if (target_lie)
		return target_lie;
	if (done > 0)
		fuse_answer(unique, 0, data, (size_t)done);
	return done < 0 ? -errno : (int32_t)done;
}

static int32_t serve_path(uint16_t kind, struct wire_reader *r, struct wire_writer *w)
{
	char path[512];
	int32_t result;
	int fd;

	(void)wire_get_u32(r);
	if (kind == WIRE_STAT) {
		full_path(path, wire_get_str(r));
		return serve_stat(AT_FDCWD, path, w);
	}
	{
		struct wire_reader set = {r->at, r->at + WIRE_SETATTR_BYTES, 0};

		r->at += WIRE_SETATTR_BYTES;
		full_path(path, wire_get_str(r));
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			return -errno;
		result = set_attributes(fd, &set);
	}
	if (result == 0)
		result = serve_stat(fd, "", w);
	close(fd);
	return result;
}

int32_t target_serve(uint16_t kind, struct wire_reader *r, struct wire_writer *w)
{
	struct statfs fs;
	int32_t result;
	int fd;

	switch (kind) {
	case WIRE_OPEN:
		return serve_open(r, w);
	case WIRE_STAT:
	case WIRE_SETATTR:
		return serve_path(kind, r, w);
	case WIRE_READ_FOR:
		return serve_for_kernel(r);
	case WIRE_READ:
	case WIRE_WRITE:
		return serve_io(kind, r, w);
	case WIRE_FSTAT:
		return serve_stat(handle_fd(r), "", w);
	case WIRE_FSETATTR:
		fd = handle_fd(r);
		result = set_attributes(fd, r);
		return result < 0 ? result : serve_stat(fd, "", w);
	case WIRE_FSYNC:
		return fsync(handle_fd(r)) ? -errno : 0;
	case WIRE_READDIR:
		return read_directory(r, w);
	case WIRE_FSTATFS:
		if (fstatfs(handle_fd(r), &fs) != 0)
			return -errno;
		for (unsigned i = 0; i < WIRE_STATFS_BYTES / 8; i++)
			wire_put_u64(w, i == 2 ? fs.f_blocks : 255);
		return 0;
	default:
		return -ENOSYS;
	}
}

int fake_open(const char *path, int flags, unsigned mode, uint64_t inline_bytes)
{
	struct fuse_file file = {.path = path, .path_len = strlen(path), .flags = flags};
	uint8_t *content = NULL;
	char full[512];
	int fd, result;

	full_path(full, (struct wire_bytes){(const uint8_t *)path, (uint32_t)strlen(path)});
	fd = open(full, flags | O_CLOEXEC, mode);
	if (fd < 0)
		return -errno;
	stat_of(fd, "", &file.stat);
	if ((flags & O_ACCMODE) == O_RDONLY && S_ISREG(file.stat.mode) && file.stat.size &&
	    file.stat.size <= inline_bytes) {
		content = malloc(file.stat.size);
		file.content = content;
		file.content_len = (size_t)pread(fd, content, file.stat.size, 0);
		close(fd);
	} else {
		file.handle = new_handle(fd);
	}
	result = fuse_open(&file);
	free(content);
	return result;
}
