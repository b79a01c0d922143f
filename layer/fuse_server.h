/*
 * Inside of the FUSE server: the device, answers to the kernel, calls in flight. One thread reads the device and never
 * waits; what the client must answer is asked for by link_request and answered to the kernel from the link's thread.
 */
#ifndef LAYER_FUSE_SERVER_H
#define LAYER_FUSE_SERVER_H

#include <linux/fuse.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "fuse_node.h"
#include "link.h"

/* One piece of a read or write on the wire; the largest the kernel hands us is FUSE_IO_MAX. */
#define FUSE_PIECE 262144u
#define FUSE_IO_MAX (1u << 20)
/* Of a read: shorter ones are not worth a system call of the client's. */
#define FUSE_WORTH 16384u
#define FUSE_ATTR_SECONDS 1
#define FUSE_ENTRY_SECONDS 86400

/* A request of the kernel as it came from the device. */
struct request {
	const struct fuse_in_header *head;
	const void *arg;
	size_t arg_len;
};

/*
 * A request of the kernel that waits for the client. Interrupted ones are answered early: whoever finishes asks
 * call_answer, which speaks only once.
 */
struct call {
	uint32_t refs;
	uint64_t unique;
	uint32_t pid;
	bool is_answered;
	struct node *node;      /* pinned */
	struct opened *opened;  /* referenced; may be NULL */
	uint64_t link_id;       /* of its last wire request, for CANCEL */
	union {
		int flags;      /* OPEN */
		struct {
			uint64_t offset;
			uint32_t size;
		} range;
	};
	struct call *next, *prev;
};

/* fuse_mount.c: the device and an O_PATH descriptor of the root, which is mounted nowhere that anybody can see. */
struct fuse_mount {
	enum fuse_way way;
	int device, root;
};
int fuse_mount(struct fuse_mount *mount, char *why, size_t why_len);

/* fuse_device.c */
extern int fuse_device_fd;
/* The client holds it too, and answers WIRE_READ_FOR there. */
extern bool fuse_device_is_shared;
/* Answers the kernel's INIT. 0 or -errno; why says what is wrong. */
int fuse_handshake(char *why, size_t why_len);
void *fuse_serve(void *unused);
void fuse_answer(uint64_t unique, int error, const void *data, size_t len);
/* parts[0] is left free for the header. */
int fuse_answer_parts(uint64_t unique, struct iovec *parts, int count);
/* Tells the kernel to drop a name of the root. Not from the server's thread: it may wait for a LOOKUP in flight. */
void fuse_drop_name(uint64_t number);

/* fuse_call.c. NULL: answered with ENOMEM. opened may be NULL. */
struct call *call_new(const struct request *request, struct node *node, struct opened *opened);
void call_ref(struct call *call);
void call_put(struct call *call);
/* Sends a wire request on behalf of the call; done owns one reference and must call_put. */
void call_send(struct call *call, uint16_t kind, const void *body, size_t len, const void *bulk, size_t bulk_len,
	       link_done done);
void call_answer(struct call *call, int error, const void *data, size_t len);
/* By the client. */
void call_was_answered(struct call *call);
/* parts[0] is left free for the header. */
void call_answer_parts(struct call *call, struct iovec *parts, int count);
void call_interrupt(uint64_t unique);
/* 0: nothing to release. Not under fuse_lock. */
void fuse_release_handle(uint32_t handle);

/* fuse_attr.c */
void attr_fill(struct fuse_attr *attr, const struct wire_stat *stat);
void attr_root(struct fuse_attr *attr);
void op_getattr(const struct request *request);
void op_setattr(const struct request *request);
void op_statfs(const struct request *request);

/* fuse_file.c */
void op_lookup(const struct request *request);
void op_open(const struct request *request);
void op_release(const struct request *request);
void op_forget(const struct request *request);
void op_batch_forget(const struct request *request);
void op_fsync(const struct request *request);
/* Under fuse_lock: the answer to WIRE_OPEN as a source of this very file. NULL: release *handle. */
struct source *source_from_open(const struct node *node, int flags, const uint8_t *body, size_t len,
				struct wire_stat *stat, uint32_t *handle);

/* fuse_read.c, fuse_write.c, fuse_dir.c */
void op_read(const struct request *request);
void op_write(const struct request *request);
void op_readdir(const struct request *request);

void fuse_set_way(enum fuse_way way);
uint64_t fuse_present_inode(uint64_t dev, uint64_t ino);

static inline struct node *request_node(const struct request *request)
{
	return (struct node *)(uintptr_t)request->head->nodeid;
}

static inline struct opened *fh_opened(uint64_t fh)
{
	return (struct opened *)(uintptr_t)fh;
}

#endif
