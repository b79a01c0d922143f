/*
 * Descriptors backed by FUSE: real kernel files whose reads, writes, stats and listings are answered by the client. The
 * file system is mounted in a private mount namespace (or by fusermount3) and detached at once, so nobody else sees it and
 * the kernel removes it with the last descriptor. Its root is flat: one name per open, made of a number; a file opened
 * twice has one inode, so that mappings, appends and locks of several descriptors agree.
 *
 * FUSE kernel protocol 7.31 and newer (linux/fuse.h); no libfuse.
 */
#ifndef LAYER_FUSE_H
#define LAYER_FUSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "moved_path.h"
#include "wire.h"

/* Where the client may have left a descriptor of /dev/fuse for both of us. */
#define FUSE_CLIENT_FD 5

/* It is nobody's but ours: not the local process's. */
void fuse_take_client_device(void);
/* Of who does not serve: the connection must end with those who do. */
void fuse_drop_client_device(void);

enum fuse_way {
	FUSE_NONE = 0,
	FUSE_MOUNT_NAMESPACE,  /* CAP_SYS_ADMIN: unshare(CLONE_NEWNS) */
	FUSE_USER_NAMESPACE,   /* unshare(CLONE_NEWUSER | CLONE_NEWNS), Linux 4.18 */
	FUSE_FUSERMOUNT,       /* the setuid helper fusermount3 */
};

/*
 * Mounts by the first way that works and starts the server thread. Must be called before the process has threads (it forks
 * a helper that enters the namespaces). `why` receives a line for the user on failure. Returns the way, FUSE_NONE if none.
 */
enum fuse_way fuse_start(char *why, size_t why_len);

struct fuse_file {
	const char *path;          /* in the target, for readlink of /proc/self/fd and *at calls */
	size_t path_len;
	int flags;                 /* O_* of the open: access mode, O_APPEND, O_DIRECTORY */
	struct wire_stat stat;
	uint32_t handle;           /* 0: content instead */
	const uint8_t *content;    /* copied; whole file, read-only */
	size_t content_len;
};

/*
 * A descriptor (O_CLOEXEC) for the file, ready to be given to the local process, or -errno. Takes over the handle: it is
 * RELEASEd with the last reference, also on failure. May block on the server thread but never on the client.
 */
int fuse_open(const struct fuse_file *file);

/*
 * Whether fuse_open of this file waits for reads and writes in flight: the kernel may hold pages of it. Then it must not be
 * called on the thread that answers them.
 */
bool fuse_open_may_wait(const struct wire_stat *stat);

/*
 * The process has changed a file by path: what the kernel knows of it as an open file is void. stat: how it is now, NULL
 * when that is not known. Never waits.
 */
void fuse_path_changed(const char *path, size_t len, const struct wire_stat *stat);

/* The process has renamed what is in the target: what is open there has another path now. */
void fuse_path_moved(const struct move *move);

/*
 * If fd (a descriptor of this process) or the magic link /proc/... at `proc_path` refers to our file system: writes the
 * target's path of it (no NUL counted) and returns its length; 0 if it is not ours; -errno.
 */
ssize_t fuse_path_of(const char *proc_path, char *out, size_t out_len);
/* The same; 0 also for what is no directory: paths relative to that are the kernel's to refuse. */
ssize_t fuse_directory_of(const char *proc_path, char *out, size_t out_len);

/* st_dev of every descriptor that fuse_open made; 0 before fuse_start. */
uint64_t fuse_device(void);

/*
 * Makes dev and ino of a target's stat what fstat of a descriptor of ours says, so that programs which compare stat(path)
 * with fstat(fd) find the same file. Inodes of the first device seen keep their number; those of others differ in bits 48
 * and up, so that two files of the target never look like one. Without FUSE it changes nothing.
 */
void fuse_present(struct wire_stat *stat);

#endif
