/* The trapped calls of x86-64 (call_table.h). */
#include "call_table.h"

#include <sys/syscall.h>

#include "wire.h"

#define NO CALL_NONE
#define R WIRE_FEATURE_FILES_READ
#define W WIRE_FEATURE_FILES_WRITE
#define N WIRE_FEATURE_NETWORK
#define I WIRE_FEATURE_INCOMING
#define H WIRE_FEATURE_HOST_NAME
#define M (WIRE_FEATURE_NETWORK | WIRE_FEATURE_UNIX | WIRE_FEATURE_INCOMING)
#define C (WIRE_FEATURE_NETWORK | WIRE_FEATURE_UNIX | WIRE_FEATURE_DNS)

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

static const struct call_spec table[] = {
	/* nr, op, feature, dir, path, dir2, path2, flags, extra, name */
	{SYS_open, CALL_OPEN, R, NO, 0, NO, NO, 1, 2, "open"},
	{SYS_openat, CALL_OPEN, R, 0, 1, NO, NO, 2, 3, "openat"},
	{SYS_openat2, CALL_OPEN, R, 0, 1, NO, NO, NO, 2, "openat2"},
	{SYS_creat, CALL_OPEN, R, NO, 0, NO, NO, NO, 1, "creat"},
	{SYS_stat, CALL_STAT, R, NO, 0, NO, NO, NO, 1, "stat"},
	{SYS_lstat, CALL_STAT, R, NO, 0, NO, NO, NO, 1, "lstat"},
	{SYS_newfstatat, CALL_STAT, R, 0, 1, NO, NO, 3, 2, "newfstatat"},
	{SYS_statx, CALL_STATX, R, 0, 1, NO, NO, 2, 4, "statx"},
	{SYS_access, CALL_ACCESS, R, NO, 0, NO, NO, NO, 1, "access"},
	{SYS_faccessat, CALL_ACCESS, R, 0, 1, NO, NO, NO, 2, "faccessat"},
	{SYS_faccessat2, CALL_ACCESS, R, 0, 1, NO, NO, 3, 2, "faccessat2"},
	{SYS_readlink, CALL_READLINK, R, NO, 0, NO, NO, NO, 1, "readlink"},
	{SYS_readlinkat, CALL_READLINK, R, 0, 1, NO, NO, NO, 2, "readlinkat"},
	{SYS_statfs, CALL_STATFS, R, NO, 0, NO, NO, NO, 1, "statfs"},
	{SYS_chdir, CALL_CHDIR, R, NO, 0, NO, NO, NO, NO, "chdir"},
	{SYS_execve, CALL_EXEC, R, NO, 0, NO, NO, NO, 1, "execve"},
	{SYS_execveat, CALL_EXEC, R, 0, 1, NO, NO, 4, 2, "execveat"},
	{SYS_getcwd, CALL_GETCWD, R, NO, NO, NO, NO, NO, 0, "getcwd"},
	{SYS_fstat, CALL_FSTAT, R, 0, NO, NO, NO, NO, 1, "fstat"},
	{SYS_getdents64, CALL_GETDENTS, R, 0, NO, NO, NO, NO, 1, "getdents64"},
	{SYS_getxattr, CALL_REFUSE, R, NO, 0, NO, NO, NO, NO, "getxattr"},
	{SYS_lgetxattr, CALL_REFUSE, R, NO, 0, NO, NO, NO, NO, "lgetxattr"},
	{SYS_listxattr, CALL_REFUSE, R, NO, 0, NO, NO, NO, NO, "listxattr"},
	{SYS_llistxattr, CALL_REFUSE, R, NO, 0, NO, NO, NO, NO, "llistxattr"},
	{SYS_inotify_add_watch, CALL_REFUSE, R, NO, 1, NO, NO, NO, NO, "inotify_add_watch"},
	{SYS_setxattr, CALL_REFUSE, W, NO, 0, NO, NO, NO, NO, "setxattr"},
	{SYS_lsetxattr, CALL_REFUSE, W, NO, 0, NO, NO, NO, NO, "lsetxattr"},
	{SYS_removexattr, CALL_REFUSE, W, NO, 0, NO, NO, NO, NO, "removexattr"},
	{SYS_lremovexattr, CALL_REFUSE, W, NO, 0, NO, NO, NO, NO, "lremovexattr"},
	{SYS_mkdir, CALL_MKDIR, W, NO, 0, NO, NO, NO, 1, "mkdir"},
	{SYS_mkdirat, CALL_MKDIR, W, 0, 1, NO, NO, NO, 2, "mkdirat"},
	{SYS_rmdir, CALL_RMDIR, W, NO, 0, NO, NO, NO, NO, "rmdir"},
	{SYS_unlink, CALL_UNLINK, W, NO, 0, NO, NO, NO, NO, "unlink"},
	{SYS_unlinkat, CALL_UNLINK, W, 0, 1, NO, NO, 2, NO, "unlinkat"},
	{SYS_rename, CALL_RENAME, W, NO, 0, NO, 1, NO, NO, "rename"},
	{SYS_renameat, CALL_RENAME, W, 0, 1, 2, 3, NO, NO, "renameat"},
	{SYS_renameat2, CALL_RENAME, W, 0, 1, 2, 3, 4, NO, "renameat2"},
	{SYS_symlink, CALL_SYMLINK, W, NO, 1, NO, NO, NO, 0, "symlink"},
	{SYS_symlinkat, CALL_SYMLINK, W, 1, 2, NO, NO, NO, 0, "symlinkat"},
	{SYS_link, CALL_LINK, W, NO, 0, NO, 1, NO, NO, "link"},
	{SYS_linkat, CALL_LINK, W, 0, 1, 2, 3, 4, NO, "linkat"},
	{SYS_chmod, CALL_CHMOD, W, NO, 0, NO, NO, NO, 1, "chmod"},
	{SYS_fchmodat, CALL_CHMOD, W, 0, 1, NO, NO, NO, 2, "fchmodat"},
	{SYS_fchmodat2, CALL_CHMOD, W, 0, 1, NO, NO, 3, 2, "fchmodat2"},
	{SYS_chown, CALL_CHOWN, W, NO, 0, NO, NO, NO, 1, "chown"},
	{SYS_lchown, CALL_CHOWN, W, NO, 0, NO, NO, NO, 1, "lchown"},
	{SYS_fchownat, CALL_CHOWN, W, 0, 1, NO, NO, 4, 2, "fchownat"},
	{SYS_truncate, CALL_TRUNCATE, W, NO, 0, NO, NO, NO, 1, "truncate"},
	{SYS_utime, CALL_TIMES, W, NO, 0, NO, NO, NO, 1, "utime"},
	{SYS_utimes, CALL_TIMES, W, NO, 0, NO, NO, NO, 1, "utimes"},
	{SYS_futimesat, CALL_TIMES, W, 0, 1, NO, NO, NO, 2, "futimesat"},
	{SYS_utimensat, CALL_TIMES, W, 0, 1, NO, NO, 3, 2, "utimensat"},
	{SYS_mknod, CALL_MKNOD, W, NO, 0, NO, NO, NO, 1, "mknod"},
	{SYS_mknodat, CALL_MKNOD, W, 0, 1, NO, NO, NO, 2, "mknodat"},
	{SYS_uname, CALL_UNAME, H, NO, NO, NO, NO, NO, 0, "uname"},
	{SYS_connect, CALL_CONNECT, C | I, NO, NO, NO, NO, NO, NO, "connect"},
	{SYS_getpeername, CALL_SOCKET_NAME, M, NO, NO, NO, NO, NO, NO, "getpeername"},
	{SYS_getsockname, CALL_SOCKET_NAME, M, NO, NO, NO, NO, NO, NO, "getsockname"},
	{SYS_getsockopt, CALL_SOCKET_ERROR, N, NO, NO, NO, NO, NO, NO, "getsockopt"},
	{SYS_sendto, CALL_SEND, N | I, NO, NO, NO, NO, NO, NO, "sendto"},
	{SYS_sendmsg, CALL_SEND, N | I, NO, NO, NO, NO, NO, NO, "sendmsg"},
	{SYS_sendmmsg, CALL_SEND, N | I, NO, NO, NO, NO, NO, NO, "sendmmsg"},
	{SYS_recvfrom, CALL_RECEIVE, N | I, NO, NO, NO, NO, NO, NO, "recvfrom"},
	{SYS_recvmsg, CALL_RECEIVE, N | I, NO, NO, NO, NO, NO, NO, "recvmsg"},
	{SYS_recvmmsg, CALL_RECEIVE, N | I, NO, NO, NO, NO, NO, NO, "recvmmsg"},
	{SYS_bind, CALL_BIND, I, NO, NO, NO, NO, NO, NO, "bind"},
	{SYS_listen, CALL_LISTEN, I, NO, NO, NO, NO, NO, NO, "listen"},
	{SYS_accept, CALL_ACCEPT, I, NO, NO, NO, NO, NO, NO, "accept"},
	{SYS_accept4, CALL_ACCEPT, I, NO, NO, NO, NO, NO, NO, "accept4"},
};

#define COUNT (sizeof(table) / sizeof(table[0]))
#define NUMBERS 512u

static uint8_t place_of[NUMBERS]; /* 1 + index into the table; 0: not trapped */

const struct call_spec *call_table(size_t *count)
{
	*count = COUNT;
	return table;
}

__attribute__((constructor)) static void index_table(void)
{
	for (size_t i = 0; i < COUNT; i++)
		place_of[table[i].nr] = (uint8_t)(i + 1);
}

const struct call_spec *call_find(int nr)
{
	unsigned int place = (unsigned int)nr < NUMBERS ? place_of[nr] : 0;

	return place ? &table[place - 1] : NULL;
}
