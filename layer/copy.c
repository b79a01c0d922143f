/* Sealed copies (copy.h). */
#include "copy.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "link.h"

#define KNOWN 1024u
#define PIECE (256u << 10)

struct copy {
	int fd;
	uint32_t handle;
	uint64_t at;
	struct wire_stat stat;
};

struct known {
	ino_t ino;
	struct wire_stat stat;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct known known[KNOWN];
static unsigned int next_known;
static dev_t device;

/* Consumes the descriptor of the writer; a read-only one comes back. */
static int seal(int fd, const struct wire_stat *from)
{
	struct timespec times[2] = {{from->atime_ns / 1000000000, from->atime_ns % 1000000000},
				    {from->mtime_ns / 1000000000, from->mtime_ns % 1000000000}};
	char path[40];
	struct stat st;
	int result;

	(void)futimens(fd, times);
	(void)fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	result = open(path, O_RDONLY | O_CLOEXEC);
	if (result < 0)
		result = -errno;
	(void)fchmod(fd, from->mode & 07777);
	if (result >= 0 && fstat(fd, &st) == 0) {
		pthread_mutex_lock(&lock);
		device = st.st_dev;
		known[next_known].ino = st.st_ino;
		known[next_known].stat = *from;
		next_known = (next_known + 1) % KNOWN;
		pthread_mutex_unlock(&lock);
	}
	close(fd);
	return result;
}

static int create(void)
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

int copy_of_content(const struct fuse_file *file)
{
	int fd = create();
	int failed = fd < 0 ? fd : append(fd, file->content, file->content_len);

	if (failed) {
		if (fd >= 0)
			close(fd);
		return failed;
	}
	return seal(fd, &file->stat);
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
		result = seal(copy->fd, &copy->stat);
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

static int refusal(const struct pending *p, const struct fuse_file *file)
{
	if ((p->open_flags & O_ACCMODE) != O_RDONLY) {
		link_log(1, "files: a remote file was opened for writing, which needs FUSE on this "
			    "machine; it got EROFS");
		return -EROFS;
	}
	if (!S_ISREG(file->stat.mode)) {
		link_log(1, "files: a remote directory or special file was opened, which needs FUSE "
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
	int result = refusal(p, file);

	copy = result == 0 ? malloc(sizeof(*copy)) : NULL;
	if (result == 0 && !copy)
		result = -ENOMEM;
	if (result == 0) {
		*copy = (struct copy){.handle = file->handle, .stat = file->stat};
		result = copy->fd = create();
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

bool copy_stat(pid_t tid, int fd, struct wire_stat *stat)
{
	bool is_found = false;
	struct stat st;
	char path[48];

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", tid, fd);
	if (stat == NULL || fstatat(AT_FDCWD, path, &st, 0) != 0)
		return false;
	pthread_mutex_lock(&lock);
	for (unsigned int i = 0; st.st_dev == device && i < KNOWN && !is_found; i++) {
		is_found = known[i].ino == st.st_ino && st.st_ino != 0;
		if (is_found)
			*stat = known[i].stat;
	}
	pthread_mutex_unlock(&lock);
	return is_found;
}
