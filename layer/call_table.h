/*
 * The system calls that are trapped, as data: which argument is what. The filter, the decisions and the requests all read
 * this one table, so that they cannot disagree.
 */
#ifndef LAYER_CALL_TABLE_H
#define LAYER_CALL_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum call_op {
	CALL_OPEN,
	CALL_STAT,
	CALL_STATX,
	CALL_ACCESS,
	CALL_READLINK,
	CALL_STATFS,
	CALL_CHDIR,
	CALL_EXEC,
	CALL_GETCWD,
	CALL_FSTAT,    /* this and the next one only without FUSE */
	CALL_GETDENTS,
	CALL_REFUSE,  /* no remote form: EOPNOTSUPP */
	CALL_MKDIR,
	CALL_RMDIR,
	CALL_UNLINK,
	CALL_RENAME,
	CALL_SYMLINK,
	CALL_LINK,
	CALL_CHMOD,
	CALL_CHOWN,
	CALL_TRUNCATE,
	CALL_TIMES,
	CALL_MKNOD,
	CALL_UNAME,
	CALL_CONNECT, /* from here on calls on sockets, see net.h */
	CALL_SOCKET_NAME,
	CALL_SOCKET_ERROR,
	CALL_SEND,
	CALL_RECEIVE,
	CALL_BIND, /* from here on see in.h */
	CALL_LISTEN,
	CALL_ACCEPT,
};

/* Whether AT_EMPTY_PATH in the flags lets the call through in BPF (it is an fstat then). */
#define CALL_NONE (-1)

struct call_spec {
	uint16_t nr;
	uint8_t op;
	uint8_t feature;     /* WIRE_FEATURE_*, any of them */
	int8_t dir, path;    /* argument numbers; dir CALL_NONE: AT_FDCWD */
	int8_t dir2, path2;  /* of rename and link; path2 CALL_NONE: one path */
	int8_t flags;        /* AT_* flags */
	int8_t extra;        /* mode, buffer, owner or times: by op */
	const char *name;
};

/* NULL: not trapped. */
const struct call_spec *call_find(int nr);
const struct call_spec *call_table(size_t *count);

#endif
