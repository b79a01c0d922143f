/* Sealed copies (copy.h). */
#include "copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "copy_known.h"
#include "link.h"

#define PIECE (256u << 10)

struct copy {
	int fd;
	uint32_t handle;
	uint64_t at;
	struct wire_stat stat;
};

int copy_seal(int fd, const struct pending *p, const struct wire_stat *from)
{
	struct timespec times[2] = {{from->atime_ns / 1000000000, from->atime_ns % 1000000000},
				    {from->mtime_ns / 1000000000, from->mtime_ns % 1000000000}};
	char path[40];
	int result;

	(void)futimens(fd, times);
	(void)fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	result = open(path, O_RDONLY | O_CLOEXEC);
	if (result < 0)
		result = -errno;
	(void)fchmod(fd, from->mode & 07777);
	copy_remember(fd, from, p->path->text, p->path->len);
	close(fd);
	return result;
}

int copy_create(void)
{
	int fd = memfd_create("mirrord", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	return fd < 0 ? -errno : fd;
}

static int append(int fd, const uint8_t *data, size_t len)
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

int copy_of_content(const struct pending *p, const struct fuse_file *file)
{
	int fd = copy_create();
	int failed = fd < 0 ? fd : append(fd, file->content, file->content_len);

	if (failed) {
		if (fd >= 0)
			close(fd);
		return failed;
	}
	return copy_seal(fd, p, &file->stat);
}

static void release(uint32_t handle)
{
	uint8_t body[4];
	struct wire_writer w = {body, body + sizeof(body), 0};

	wire_put_u32(&w, handle);
	link_tell(WIRE_RELEASE, 0, body, sizeof(body));
}

static void fetch(struct pending *p);

static void finish_copy(struct pending *p, int result)
{
	struct copy *copy = p->copy;

	release(copy->handle);
	if (result < 0) {
		close(copy->fd);
		p->answer.value = result;
	} else {
		result = copy_seal(copy->fd, p, &copy->stat);
		p->answer.value = result < 0 ? result : 0;
		p->answer.how = result < 0 ? ANSWER_VALUE : ANSWER_DESCRIPTOR;
		p->answer.fd = result;
		p->answer.is_cloexec = p->open_flags & O_CLOEXEC;
		place_descriptor_given();
	}
	p->copy = NULL;
	free(copy);
	pending_finish(p);
}

static void fetched(void *arg, int32_t result, const uint8_t *body, size_t len)
{
	struct pending *p = arg;
	int failed = result < 0 ? result : append(p->copy->fd, body, len);

	p->copy->at += len;
	if (failed || len == 0)
		finish_copy(p, failed);
	else if (p->copy->at > COPY_MAX_BYTES)
		finish_copy(p, -EFBIG);
	else
		fetch(p);
}

static void fetch(struct pending *p)
{
	uint8_t body[16];
	struct wire_writer w = {body, body + sizeof(body), 0};

	wire_put_u32(&w, p->copy->handle);
	wire_put_u64(&w, p->copy->at);
	wire_put_u32(&w, PIECE);
	(void)link_request(WIRE_READ, body, sizeof(body), NULL, 0, fetched, p);
}

static int refusal(const struct fuse_file *file)
{
	if (!S_ISREG(file->stat.mode)) {
		link_log(1, "files: a remote special file was opened, which needs FUSE "
			    "on this machine; it got EOPNOTSUPP");
		return -EOPNOTSUPP;
	}
	if (file->stat.size > COPY_MAX_BYTES) {
		link_log(1, "files: a remote file is larger than 64 MiB, which needs FUSE on this "
			    "machine; it got EFBIG");
		return -EFBIG;
	}
	return 0;
}

bool copy_start(struct pending *p, const struct fuse_file *file)
{
	struct copy *copy;
	int result = refusal(file);

	copy = result == 0 ? malloc(sizeof(*copy)) : NULL;
	if (result == 0 && !copy)
		result = -ENOMEM;
	if (result == 0) {
		*copy = (struct copy){.handle = file->handle, .stat = file->stat};
		result = copy->fd = copy_create();
	}
	if (result < 0) {
		free(copy);
		release(file->handle);
		p->answer.value = result;
		return true;
	}
	p->copy = copy;
	fetch(p);
	return false;
}
