/* The front of the FUSE server (fuse.h): start, one open, and the way back from a descriptor to the
 * target's path. */
#include "fuse.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "fuse_server.h"

/* What the kernel may see of the flags; the rest has had its effect in the target. */
#define LOCAL_FLAGS (O_ACCMODE | O_APPEND | O_DIRECTORY | O_NONBLOCK | O_SYNC | O_DIRECT)

/* A sequential reader gets twice that (fuse_open): two of the largest questions. */
#define READ_AHEAD_KB "1024"

static int root_fd = -1;
static dev_t device;
static bool has_client_device; /* FUSE_CLIENT_FD is one */

/*
 * Has the kernel ask for one FLUSH, and learn that it need not. Otherwise a supervisor that is
 * killed with a descriptor of ours open hangs in exit: close waits for an answer, and the device
 * that would end the wait is closed only afterwards.
 */
static void unlearn_flush(void)
{
	struct fuse_file file = {.path = "/", .path_len = 1, .content = (const uint8_t *)""};
	int fd;

	file.stat = (struct wire_stat){.ino = UINT64_MAX, .mode = S_IFREG | 0600, .nlink = 1};
	fd = fuse_open(&file);
	if (fd >= 0)
		close(fd);
}

void fuse_take_client_device(void)
{
	struct stat st;

	has_client_device = fstat(FUSE_CLIENT_FD, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(10, 229) &&
			    fcntl(FUSE_CLIENT_FD, F_SETFD, FD_CLOEXEC) == 0;
}

void fuse_drop_client_device(void)
{
	if (has_client_device)
		close(FUSE_CLIENT_FD);
	has_client_device = false;
}

/* The client's descriptor of the device, of no connection yet, becomes one of ours that both of us hold (fuse.h). */
static void share_device(struct fuse_mount *mount)
{
	uint32_t device = (uint32_t)mount->device;

	if (!has_client_device || ioctl(FUSE_CLIENT_FD, FUSE_DEV_IOC_CLONE, &device) != 0)
		return;
	close(mount->device);
	mount->device = FUSE_CLIENT_FD;
	fuse_device_is_shared = true;
}

/*
 * The kernel reads ahead 128 KiB of FUSE, whatever was agreed on at the start, unless root says otherwise; each question has its price,
 * of four processes. It ends with the mount. Others go on with what there is.
 */
static void raise_read_ahead(dev_t device)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", major(device), minor(device));
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	(void)!write(fd, READ_AHEAD_KB, strlen(READ_AHEAD_KB));
	close(fd);
}

enum fuse_way fuse_start(char *why, size_t why_len)
{
	struct fuse_mount mount;
	pthread_t thread;
	pthread_attr_t attr;
	struct stat st;
	int failed;

	if (fuse_mount(&mount, why, why_len) != 0)
		return FUSE_NONE;
	share_device(&mount);
	fuse_device_fd = mount.device;
	fuse_set_way(mount.way);
	failed = fuse_handshake(why, why_len);
	if (!failed) {
		pthread_attr_init(&attr);
		pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
		failed = pthread_create(&thread, &attr, fuse_serve, NULL);
		pthread_attr_destroy(&attr);
		if (failed)
			snprintf(why, why_len, "no thread for FUSE: %s", strerror(failed));
	}
	if (!failed && fstat(mount.root, &st) != 0) {
		failed = errno;
		snprintf(why, why_len, "FUSE does not answer: %s", strerror(failed));
	}
	if (failed) {
		close(mount.root);
		close(mount.device);
		return FUSE_NONE;
	}
	device = st.st_dev;
	raise_read_ahead(device);
	root_fd = mount.root;
	unlearn_flush();
	return mount.way;
}

uint64_t fuse_device(void)
{
	return device;
}

void fuse_present(struct wire_stat *stat)
{
	if (root_fd < 0)
		return;
	stat->ino = fuse_present_inode(stat->dev, stat->ino);
	stat->dev = device;
}

/* The kernel must be asked without the lock: it asks us back. */
static void drop_stale_names(void)
{
	uint64_t number;

	do {
		pthread_mutex_lock(&fuse_lock);
		number = name_take_stale();
		pthread_mutex_unlock(&fuse_lock);
		if (number)
			fuse_drop_name(number);
	} while (number);
}

/* A name with the file pending under it, its node pinned. NULL when memory is short. */
static struct name *expect_open(const struct fuse_file *file)
{
	struct source *source = source_new(file->handle, file->flags);
	struct opened *opened;
	struct name *name;
	struct node *node;
	bool is_unchanged;

	if (!source)
		return NULL;
	node = node_take(&file->stat, &is_unchanged);
	if (!node)
		goto no_node;
	if (!file->handle &&
	    source_set_content(source, file->content, file->content_len, node->version) != 0)
		goto no_name;
	name = name_add(node, file->path, file->path_len);
	if (!name)
		goto no_name;
	opened = opened_add(node, name, source, file->flags & LOCAL_FLAGS);
	if (!opened)
		goto no_name;
	opened->keeps_cache = is_unchanged;
	name->pending = opened;
	name->opener = gettid();
	return name;
no_name:
	node_unpin(node);
no_node:
	source_put(source);
	return NULL;
}

bool fuse_open_may_wait(const struct wire_stat *stat)
{
	bool is_known = false;

	if (root_fd < 0)
		return false;
	pthread_mutex_lock(&fuse_lock);
	is_known = node_find(stat) != NULL;
	pthread_mutex_unlock(&fuse_lock);
	return is_known;
}

int fuse_open(const struct fuse_file *file)
{
	int flags = (file->flags & LOCAL_FLAGS) | O_CLOEXEC | O_NOFOLLOW, fd = -ENOMEM;
	struct opened *pending = NULL;
	struct name *name = NULL;
	uint32_t handle = file->handle;
	char text[24];

	if (root_fd < 0) {
		fuse_release_handle(handle);
		return -ENOSYS;
	}
	if (!S_ISDIR(file->stat.mode))
		flags &= ~O_DIRECTORY;
	pthread_mutex_lock(&fuse_lock);
	name = expect_open(file);
	pthread_mutex_unlock(&fuse_lock);
	if (name) {
		handle = 0;
		snprintf(text, sizeof(text), "%" PRIu64, name->number);
		fd = openat(root_fd, text, flags);
		if (fd < 0)
			fd = -errno;
		pthread_mutex_lock(&fuse_lock);
		pending = name->pending;
		name->pending = NULL;
		if (pending) {
			handle = opened_put(pending);
			name_abandon(name);
		}
		node_unpin(name->node);
		pthread_mutex_unlock(&fuse_lock);
	}
	fuse_release_handle(handle);
	/* With the client or the server gone the kernel says ENOTCONN, which no file ever did. */
	if (fd == -ENOTCONN || fd == -ECONNABORTED)
		fd = -EIO;
	/* Sequential readers get twice the read-ahead. */
	if (fd >= 0 && S_ISREG(file->stat.mode) && file->handle)
		(void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	drop_stale_names();
	return fd;
}

static ssize_t path_of(const char *proc_path, bool is_directory, char *out, size_t out_len)
{
	struct statx stx;
	struct name *name;
	char link[64];
	ssize_t len = -ENOENT;
	uint64_t number;

	if (root_fd < 0)
		return 0;
	/* Not stat: that may ask the client. */
	if (statx(AT_FDCWD, proc_path, AT_STATX_DONT_SYNC, 0, &stx) != 0)
		return -errno;
	if (makedev(stx.stx_dev_major, stx.stx_dev_minor) != device || (is_directory && !S_ISDIR(stx.stx_mode)))
		return 0;
	len = readlink(proc_path, link, sizeof(link) - 1);
	if (len < 0)
		return -errno;
	link[len] = '\0';
	number = link[0] == '/' ? strtoull(link + 1, NULL, 10) : 0;
	pthread_mutex_lock(&fuse_lock);
	name = name_find(number);
	if (!name)
		len = number ? -ENOENT : 0;
	else if (name->path_len > out_len)
		len = -ENAMETOOLONG;
	else
		memcpy(out, name->path, (size_t)(len = (ssize_t)name->path_len));
	pthread_mutex_unlock(&fuse_lock);
	return len;
}

ssize_t fuse_path_of(const char *proc_path, char *out, size_t out_len)
{
	return path_of(proc_path, false, out, out_len);
}

ssize_t fuse_directory_of(const char *proc_path, char *out, size_t out_len)
{
	return path_of(proc_path, true, out, out_len);
}
