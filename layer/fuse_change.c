/*
 * What the process changed by path. The kernel keeps the attributes of an open file for a second, and would show them
 * through its descriptor although the process itself has just truncated, linked or renamed the file by its name. Pages
 * follow: the kernel drops them when it sees another size or time.
 *
 * Only the file that changed is told of: a kernel that is asking for the attributes of another one would not believe the
 * answer on its way, and go on with the size it has.
 */
#include <string.h>
#include <unistd.h>

#include "fuse_server.h"

static void forget(uint64_t nodeid)
{
	struct fuse_notify_inval_inode_out inode = {.ino = nodeid, .off = -1};
	struct fuse_out_header head = {.error = FUSE_NOTIFY_INVAL_INODE, .len = sizeof(head) + sizeof(inode)};
	struct iovec parts[2] = {{&head, sizeof(head)}, {&inode, sizeof(inode)}};

	/* ENOENT when the kernel has dropped it by itself. */
	(void)!writev(fuse_device_fd, parts, 2);
}

void fuse_path_changed(const char *path, size_t len, const struct wire_stat *stat)
{
	uint64_t nodeid;

	pthread_mutex_lock(&fuse_lock);
	nodeid = (uintptr_t)(stat ? node_find(stat) : node_open_as(path, len));
	pthread_mutex_unlock(&fuse_lock);
	if (nodeid)
		forget(nodeid);
}

void fuse_path_moved(const struct move *move)
{
	pthread_mutex_lock(&fuse_lock);
	names_move(move);
	pthread_mutex_unlock(&fuse_lock);
}
