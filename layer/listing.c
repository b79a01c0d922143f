/* Directories as memfds (listing.h). */
#include "listing.h"

#include <dirent.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "answer.h"
#include "copy.h"
#include "copy_known.h"
#include "dir_page.h"
#include "fuse_server.h"
#include "give.h"
#include "link.h"
#include "tracee.h"

/* What one call gives at most; readdir(3) asks for 32 KiB. */
#define PART_BYTES (64u << 10)
#define NAME_AT offsetof(struct dirent64, d_name)

struct listing {
	struct pending *pending;
	struct fuse_file file;
	int fd;
	uint64_t written;
};

static void finish(struct listing *listing, int result)
{
	struct pending *p = listing->pending;

	fuse_release_handle(listing->file.handle);
	if (result == 0) {
		result = copy_seal(listing->fd, p, &listing->file.stat);
	} else {
		close(listing->fd);
	}
	give_descriptor(p, result);
	free(listing);
	pending_finish(p);
}

static uint64_t get_u64(const uint8_t *at)
{
	uint64_t v;

	memcpy(&v, at, sizeof(v));
	return v;
}

static size_t put_entry(uint8_t *out, uint64_t offset, uint64_t ino, uint8_t type, struct wire_bytes name)
{
	size_t len = (NAME_AT + name.len + 1 + 7) & ~(size_t)7;
	uint64_t next = offset + len;
	uint16_t record = (uint16_t)len;

	memset(out, 0, len);
	memcpy(out + offsetof(struct dirent64, d_ino), &ino, sizeof(ino));
	memcpy(out + offsetof(struct dirent64, d_off), &next, sizeof(next));
	memcpy(out + offsetof(struct dirent64, d_reclen), &record, sizeof(record));
	out[offsetof(struct dirent64, d_type)] = type;
	memcpy(out + NAME_AT, name.data, name.len);
	return len;
}

static int write_all(int fd, const uint8_t *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Appends a page; *next and *is_last say how to go on. 0 or -errno. */
static int append_page(struct listing *listing, struct wire_reader *r, uint64_t *next, bool *is_last)
{
	size_t room = ((size_t)(r->end - r->at) + DIR_PAGE_ENTRIES * 8) * 2, used = 0;
	uint8_t *out = malloc(room);
	uint32_t count;
	int failed;

	*next = wire_get_u64(r);
	*is_last = wire_get_u8(r);
	count = wire_get_u32(r);
	for (uint32_t i = 0; out && i < count && !r->bad; i++) {
		uint64_t ino = wire_get_u64(r);
		struct wire_stat stat;
		struct wire_bytes name;
		uint8_t type, has_stat;

		(void)wire_get_u64(r);
		type = wire_get_u8(r);
		has_stat = wire_get_u8(r);
		name = wire_get_str(r);
		if (has_stat)
			wire_get_stat(r, &stat);
		if (name.len == 0 || name.len > 255 || memchr(name.data, '/', name.len))
			r->bad = 1;
		if (!r->bad)
			used += put_entry(out + used, listing->written + used, ino, type, name);
	}
	failed = !out ? -ENOMEM : r->bad ? -EIO : write_all(listing->fd, out, used);
	listing->written += used;
	free(out);
	return !failed && listing->written > LISTING_MAX_BYTES ? -EFBIG : failed;
}

static void fetch(struct listing *listing, uint64_t cookie);

static void fetched(void *arg, int32_t result, const uint8_t *body, size_t len)
{
	struct listing *listing = arg;
	struct wire_reader r = {body, body + len, 0};
	bool is_last = true;
	uint64_t next = 0;

	if (result >= 0)
		result = append_page(listing, &r, &next, &is_last);
	if (result < 0 || is_last)
		finish(listing, result);
	else
		fetch(listing, next);
}

static void fetch(struct listing *listing, uint64_t cookie)
{
	uint8_t body[16];
	struct wire_writer w = {body, body + sizeof(body), 0};

	wire_put_u32(&w, listing->file.handle);
	wire_put_u64(&w, cookie);
	wire_put_u32(&w, DIR_PAGE_ENTRIES);
	(void)link_request(WIRE_READDIR, body, sizeof(body), NULL, 0, fetched, listing);
}

bool listing_start(struct pending *p, const struct fuse_file *file)
{
	struct listing *listing = malloc(sizeof(*listing));
	int fd = listing ? copy_create() : -ENOMEM;

	if (fd < 0) {
		free(listing);
		fuse_release_handle(file->handle);
		p->answer.value = fd;
		return true;
	}
	*listing = (struct listing){.pending = p, .file = *file, .fd = fd};
	fetch(listing, 0);
	return false;
}

/* The thread's own descriptor, so that its offset is the one that moves. */
static int take_descriptor(pid_t tid, int fd)
{
	int pidfd = (int)syscall(SYS_pidfd_open, tracee_process(tid), 0), taken = -1;

	if (pidfd >= 0)
		taken = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	if (taken < 0)
		taken = -errno;
	if (pidfd >= 0)
		close(pidfd);
	return taken;
}

/* Whole entries of data[0..len); -EINVAL when not even one fits. */
static ssize_t whole_entries(const uint8_t *data, size_t len, uint64_t *next)
{
	size_t used = 0;

	while (used + NAME_AT <= len) {
		uint16_t record;

		memcpy(&record, data + used + offsetof(struct dirent64, d_reclen), sizeof(record));
		if (record < NAME_AT || used + record > len)
			break;
		*next = get_u64(data + used + offsetof(struct dirent64, d_off));
		used += record;
	}
	return used ? (ssize_t)used : len ? -EINVAL : 0;
}

static int64_t read_part(const struct seccomp_notif *n, int fd)
{
	size_t room = (uint32_t)n->data.args[2] < PART_BYTES ? (uint32_t)n->data.args[2] : PART_BYTES;
	uint8_t *data = malloc(PART_BYTES);
	off_t at = lseek(fd, 0, SEEK_CUR);
	uint64_t next = (uint64_t)at;
	ssize_t len = data ? pread(fd, data, room, at) : -1;
	int failed;

	if (len >= 0)
		len = whole_entries(data, (size_t)len, &next);
	else
		len = data ? -errno : -ENOMEM;
	if (len > 0) {
		failed = answer_is_awaited(n->id) ? tracee_write((pid_t)n->pid, n->data.args[1], data, (size_t)len) : -EINTR;
		if (failed)
			len = failed;
		else
			(void)lseek(fd, (off_t)next, SEEK_SET);
	}
	free(data);
	return len;
}

bool listing_answer(const struct seccomp_notif *n)
{
	struct wire_stat stat;
	int fd;

	if (!copy_stat((pid_t)n->pid, (int)n->data.args[0], &stat) || !S_ISDIR(stat.mode))
		return false;
	fd = take_descriptor((pid_t)n->pid, (int)n->data.args[0]);
	(void)answer_value(n->id, fd < 0 ? fd : read_part(n, fd));
	if (fd >= 0)
		close(fd);
	return true;
}
