/* The FUSE device: handshake, the server's thread, answers to the kernel (linux/fuse.h,
 * protocol 7.31 and newer). */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuse_server.h"

#define MINOR_MIN 31u /* Linux 5.4 */
#define REQUEST_MAX (FUSE_IO_MAX + 65536u)
#define HANDSHAKE_MS 5000

/* Linux 6.6; mmap of files that are otherwise opened for direct I/O. */
#define DIRECT_IO_ALLOW_MMAP (UINT64_C(1) << 36)

#define WANTED                                                                                     \
	(FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_AUTO_INVAL_DATA | FUSE_MAX_PAGES |               \
	 FUSE_PARALLEL_DIROPS | FUSE_ASYNC_DIO | FUSE_INIT_EXT | DIRECT_IO_ALLOW_MMAP)

int fuse_device_fd = -1;
bool fuse_device_is_shared;

int fuse_answer_parts(uint64_t unique, struct iovec *parts, int count)
{
	struct fuse_out_header head = {.unique = unique};
	size_t len = sizeof(head);
	ssize_t written;

	for (int i = 1; i < count; i++)
		len += parts[i].iov_len;
	head.len = (uint32_t)len;
	parts[0] = (struct iovec){&head, sizeof(head)};
	do
		written = writev(fuse_device_fd, parts, count);
	while (written < 0 && errno == EINTR);
	/* ENOENT: the request was given up by its process. Anything else: the connection is gone,
	 * and so are all. */
	return written < 0 ? -errno : 0;
}

/* The kernel takes no other answer, and its caller would wait for ever. WIRE_LOCAL: the file may not be written from here. */
static int error_of(int error)
{
	if (error == WIRE_LOCAL)
		return -EROFS;
	return error > 0 || error <= -512 ? -EIO : error;
}

void fuse_answer(uint64_t unique, int error, const void *data, size_t len)
{
	struct fuse_out_header head = {.len = (uint32_t)(sizeof(head) + (error ? 0 : len)),
				       .error = error_of(error),
				       .unique = unique};
	struct iovec parts[2] = {{&head, sizeof(head)}, {(void *)data, len}};
	ssize_t written;

	do
		written = writev(fuse_device_fd, parts, error || !len ? 1 : 2);
	while (written < 0 && errno == EINTR);
}

void fuse_drop_name(uint64_t number)
{
	char name[24];
	struct fuse_notify_inval_entry_out drop = {.parent = FUSE_ROOT_ID};
	struct fuse_out_header head = {.error = FUSE_NOTIFY_INVAL_ENTRY};
	struct iovec parts[3] = {{&head, sizeof(head)}, {&drop, sizeof(drop)}};

	drop.namelen = (uint32_t)snprintf(name, sizeof(name), "%llu", (unsigned long long)number);
	parts[2] = (struct iovec){name, drop.namelen + 1};
	head.len = (uint32_t)(sizeof(head) + sizeof(drop) + parts[2].iov_len);
	/* ENOENT when the kernel has dropped it by itself. */
	(void)!writev(fuse_device_fd, parts, 3);
}

int fuse_handshake(char *why, size_t why_len)
{
	union {
		struct fuse_in_header head;
		uint8_t bytes[FUSE_MIN_READ_BUFFER];
	} buf;
	const struct fuse_init_in *in = (const void *)(buf.bytes + sizeof(buf.head));
	struct pollfd ready = {.fd = fuse_device_fd, .events = POLLIN};
	struct fuse_init_out out = {.major = FUSE_KERNEL_VERSION,
				    .minor = FUSE_KERNEL_MINOR_VERSION};
	uint64_t flags;

	if (poll(&ready, 1, HANDSHAKE_MS) != 1 ||
	    read(fuse_device_fd, buf.bytes, sizeof(buf)) < (ssize_t)sizeof(buf.head) ||
	    buf.head.opcode != FUSE_INIT) {
		snprintf(why, why_len, "the kernel did not begin the FUSE conversation");
		return -EPROTO;
	}
	if (in->major != FUSE_KERNEL_VERSION || in->minor < MINOR_MIN) {
		snprintf(why, why_len, "FUSE protocol %u.%u of the kernel is older than %d.%u",
			 in->major, in->minor, FUSE_KERNEL_VERSION, MINOR_MIN);
		return -EPROTO;
	}
	flags = in->flags;
	if (in->flags & FUSE_INIT_EXT)
		flags |= (uint64_t)in->flags2 << 32;
	flags &= WANTED;
	if (in->minor < out.minor)
		out.minor = in->minor;
	out.flags = (uint32_t)flags;
	out.flags2 = (uint32_t)(flags >> 32);
	out.max_readahead = FUSE_IO_MAX;
	out.max_write = FUSE_IO_MAX;
	out.max_pages = (uint16_t)(FUSE_IO_MAX / 4096);
	out.max_background = 256;
	out.congestion_threshold = 192;
	out.time_gran = 1;
	fuse_answer(buf.head.unique, 0, &out, sizeof(out));
	return 0;
}

static void op_interrupt(const struct request *request)
{
	call_interrupt(((const struct fuse_interrupt_in *)request->arg)->unique);
}

static void op_done(const struct request *request)
{
	fuse_answer(request->head->unique, 0, NULL, 0);
}

/* ENOSYS makes the kernel do without the call, for good. */
static const struct {
	void (*serve)(const struct request *request);
	uint16_t arg_min;
	int error;
} table[] = {
    [FUSE_LOOKUP] = {op_lookup, 1, 0},
    [FUSE_FORGET] = {op_forget, sizeof(struct fuse_forget_in), 0},
    [FUSE_BATCH_FORGET] = {op_batch_forget, sizeof(struct fuse_batch_forget_in), 0},
    [FUSE_GETATTR] = {op_getattr, sizeof(struct fuse_getattr_in), 0},
    [FUSE_SETATTR] = {op_setattr, sizeof(struct fuse_setattr_in), 0},
    [FUSE_OPEN] = {op_open, sizeof(struct fuse_open_in), 0},
    [FUSE_OPENDIR] = {op_open, sizeof(struct fuse_open_in), 0},
    [FUSE_READ] = {op_read, sizeof(struct fuse_read_in), 0},
    [FUSE_READDIR] = {op_readdir, sizeof(struct fuse_read_in), 0},
    [FUSE_WRITE] = {op_write, sizeof(struct fuse_write_in), 0},
    [FUSE_STATFS] = {op_statfs, 0, 0},
    [FUSE_RELEASE] = {op_release, sizeof(struct fuse_release_in), 0},
    [FUSE_RELEASEDIR] = {op_release, sizeof(struct fuse_release_in), 0},
    [FUSE_FSYNC] = {op_fsync, sizeof(struct fuse_fsync_in), 0},
    [FUSE_FSYNCDIR] = {op_fsync, sizeof(struct fuse_fsync_in), 0},
    [FUSE_INTERRUPT] = {op_interrupt, sizeof(struct fuse_interrupt_in), 0},
    [FUSE_DESTROY] = {op_done, 0, 0},
    [FUSE_FALLOCATE] = {NULL, 0, EOPNOTSUPP},
    [FUSE_IOCTL] = {NULL, 0, ENOTTY},
    /* Names below a directory are looked up by path, never by the kernel. */
    [FUSE_MKNOD] = {NULL, 0, EOPNOTSUPP},
    [FUSE_MKDIR] = {NULL, 0, EOPNOTSUPP},
    [FUSE_UNLINK] = {NULL, 0, EOPNOTSUPP},
    [FUSE_RMDIR] = {NULL, 0, EOPNOTSUPP},
    [FUSE_RENAME] = {NULL, 0, EOPNOTSUPP},
    [FUSE_RENAME2] = {NULL, 0, EOPNOTSUPP},
    [FUSE_LINK] = {NULL, 0, EOPNOTSUPP},
    [FUSE_SYMLINK] = {NULL, 0, EOPNOTSUPP},
    [FUSE_CREATE] = {NULL, 0, EOPNOTSUPP},
};

static void dispatch(const uint8_t *buf, size_t len)
{
	struct request request = {.head = (const void *)buf};
	uint32_t opcode;

	if (len < sizeof(*request.head))
		return;
	request.arg = buf + sizeof(*request.head);
	request.arg_len = len - sizeof(*request.head);
	opcode = request.head->opcode;
	if (opcode >= sizeof(table) / sizeof(table[0]) ||
	    (!table[opcode].serve && !table[opcode].error))
		fuse_answer(request.head->unique, -ENOSYS, NULL, 0);
	else if (!table[opcode].serve)
		fuse_answer(request.head->unique, -table[opcode].error, NULL, 0);
	else if (request.arg_len < table[opcode].arg_min)
		fuse_answer(request.head->unique, -EIO, NULL, 0);
	else
		table[opcode].serve(&request);
}

void *fuse_serve(void *unused)
{
	uint8_t *buf = aligned_alloc(4096, REQUEST_MAX);

	(void)unused;
	while (buf) {
		ssize_t got = read(fuse_device_fd, buf, REQUEST_MAX);

		if (got >= 0)
			dispatch(buf, (size_t)got);
		/* ENOENT: the request was given up while we took it. */
		else if (errno != EINTR && errno != ENOENT && errno != EAGAIN)
			break;
	}
	free(buf);
	return NULL;
}
