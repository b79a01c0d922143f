/* Conversions (kernel_stat.h). */
#include "kernel_stat.h"

#include <string.h>
#include <sys/sysmacros.h>

static struct timespec time_of(int64_t ns)
{
	struct timespec t = {ns / 1000000000, ns % 1000000000};

	if (t.tv_nsec < 0) {
		t.tv_nsec += 1000000000;
		t.tv_sec--;
	}
	return t;
}

static struct statx_timestamp timestamp_of(int64_t ns)
{
	struct timespec t = time_of(ns);

	return (struct statx_timestamp){.tv_sec = t.tv_sec, .tv_nsec = (uint32_t)t.tv_nsec};
}

void kernel_stat(const struct wire_stat *from, struct stat *to)
{
	memset(to, 0, sizeof(*to));
	to->st_dev = from->dev;
	to->st_ino = from->ino;
	to->st_mode = from->mode;
	to->st_nlink = from->nlink;
	to->st_uid = from->uid;
	to->st_gid = from->gid;
	to->st_rdev = from->rdev;
	to->st_size = (off_t)from->size;
	to->st_blksize = from->blksize;
	to->st_blocks = (blkcnt_t)from->blocks;
	to->st_atim = time_of(from->atime_ns);
	to->st_mtim = time_of(from->mtime_ns);
	to->st_ctim = time_of(from->ctime_ns);
}

void kernel_statx(const struct wire_stat *from, struct statx *to)
{
	memset(to, 0, sizeof(*to));
	to->stx_mask = STATX_BASIC_STATS | (from->btime_ns ? STATX_BTIME : 0);
	to->stx_blksize = from->blksize;
	to->stx_nlink = from->nlink;
	to->stx_uid = from->uid;
	to->stx_gid = from->gid;
	to->stx_mode = (uint16_t)from->mode;
	to->stx_ino = from->ino;
	to->stx_size = from->size;
	to->stx_blocks = from->blocks;
	to->stx_atime = timestamp_of(from->atime_ns);
	to->stx_mtime = timestamp_of(from->mtime_ns);
	to->stx_ctime = timestamp_of(from->ctime_ns);
	to->stx_btime = timestamp_of(from->btime_ns);
	to->stx_dev_major = major(from->dev);
	to->stx_dev_minor = minor(from->dev);
	to->stx_rdev_major = major(from->rdev);
	to->stx_rdev_minor = minor(from->rdev);
}

void kernel_statfs(const struct wire_statfs *from, struct statfs *to)
{
	memset(to, 0, sizeof(*to));
	to->f_type = (__typeof__(to->f_type))from->type;
	to->f_bsize = (__typeof__(to->f_bsize))from->bsize;
	to->f_blocks = from->blocks;
	to->f_bfree = from->bfree;
	to->f_bavail = from->bavail;
	to->f_files = from->files;
	to->f_ffree = from->ffree;
	memcpy(&to->f_fsid, &from->fsid, sizeof(to->f_fsid));
	to->f_namelen = from->namelen;
	to->f_frsize = (__typeof__(to->f_frsize))from->frsize;
	to->f_flags = (__typeof__(to->f_flags))from->flags;
}
