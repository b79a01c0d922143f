/*
 * What the process changed by path. The kernel keeps the attributes of an open file for a second, and would show them
 * through its descriptor although the process itself has just truncated, linked or renamed the file by its name. Which
 * descriptors a path meant only the target knows, so all are asked about again. Pages follow: the kernel drops them when
 * it sees another size or time.
 */
#include <unistd.h>

#include "fuse_server.h"

/* More open files than this are asked about when their second is over. */
#define NODES_MAX 512u

static void forget(uint64_t nodeid)
{
	struct fuse_notify_inval_inode_out inode = {.ino = nodeid, .off = -1};
	struct fuse_out_header head = {.error = FUSE_NOTIFY_INVAL_INODE, .len = sizeof(head) + sizeof(inode)};
	struct iovec parts[2] = {{&head, sizeof(head)}, {&inode, sizeof(inode)}};

	/* ENOENT when the kernel has dropped it by itself. */
	(void)!writev(fuse_device_fd, parts, 2);
}

void fuse_forget_attributes(void)
{
	uint64_t ids[NODES_MAX];
	size_t count;

	pthread_mutex_lock(&fuse_lock);
	count = node_list_open(ids, NODES_MAX);
	pthread_mutex_unlock(&fuse_lock);
	for (size_t i = 0; i < count; i++)
		forget(ids[i]);
}
