/*
 * The conversation between the supervisor and the client, over the socketpair that the client gives the supervisor as
 * descriptor 3. Twin of proto/wire.ts; both read proto/vectors/. Everything is little-endian and packed.
 *
 * Frame: u32 body length, u16 kind, u16 flags (0), u64 id, body. A body is at most WIRE_BODY_MAX bytes; a longer one, an
 * unknown kind or a truncated body ends the link (WIRE_EPROTO).
 *
 * Body notation: u8 u16 u32 u64 i32 i64; str = u16 length + bytes; blob = u32 length + bytes; stat = struct below.
 */
#ifndef LAYER_WIRE_H
#define LAYER_WIRE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define WIRE_VERSION 1
#define WIRE_HEADER_BYTES 16
#define WIRE_BODY_MAX (2u << 20)
/* Not an errno: the client's answer to a request that WIRE_RULE_ASK raised and that turned out to be local. */
#define WIRE_LOCAL (-4096)

enum wire_kind {
	/* ---- supervisor to client, no answer ---- */
	WIRE_HELLO = 1,   /* u32 version, u32 capabilities (WIRE_CAN_*), u32 count, count x str: lines for the user */
	WIRE_STARTED = 2, /* u32 pid of the local process */
	WIRE_LOG = 3,     /* u8 level (0 error, 1 warn, 2 info, 3 debug), str text */
	WIRE_CANCEL = 4,  /* id of a request nobody waits for any more; its REPLY is still expected */
	WIRE_FAILED = 5,  /* i32 -errno, str what: the local process could not be started (its exit code follows shells: 126/127) */
	WIRE_ENDED = 7,   /* u32 status as of waitpid, u32 count: the local process has ended, and processes it left go on */

	/* ---- client to supervisor ---- */
	WIRE_SETUP = 16, /* u32 features (WIRE_FEATURE_*), u32 inline_bytes, str host name (host_name.h), rules (rules.h); once,
			    answers HELLO */
	WIRE_REPLY = 17, /* id of the request; i32 result (>= 0, -errno, WIRE_LOCAL), then what the request says */

	/* ---- supervisor to client, each answered by one REPLY; path arguments are absolute and as the process gave them ---- */
	WIRE_OPEN = 32,     /* u32 pid, u32 flags, u32 mode, str path -> opened */
	WIRE_STAT = 33,     /* u32 flags (AT_SYMLINK_NOFOLLOW), str path -> stat */
	WIRE_ACCESS = 34,   /* u32 mode, u32 flags, str path -> nothing */
	WIRE_READLINK = 35, /* str path -> str */
	WIRE_STATFS = 36,   /* str path -> statfs */
	WIRE_MKDIR = 37,    /* u32 mode, str path */
	WIRE_RMDIR = 38,    /* str path */
	WIRE_UNLINK = 39,   /* str path */
	WIRE_RENAME = 40,   /* u32 flags, str from, str to */
	WIRE_SYMLINK = 41,  /* str target, str path */
	WIRE_LINK = 42,     /* u32 flags, str from, str to */
	WIRE_SETATTR = 43,  /* u32 flags (AT_SYMLINK_NOFOLLOW), setattr, str path -> stat */
	WIRE_DECIDE = 44,   /* u8 is_write, str path -> u8 verdict, str path (of verdict MAPPED) : ASK for calls that stay local */

	/* ---- the same on an open handle: raised by FUSE ---- */
	WIRE_READ = 64,     /* u32 handle, u64 offset, u32 length -> the bytes, to the end of the body */
	WIRE_WRITE = 65,    /* u32 handle, u64 offset, bytes to the end of the body -> result = bytes written */
	WIRE_FSTAT = 66,    /* u32 handle -> stat */
	WIRE_FSETATTR = 67, /* u32 handle, setattr -> stat */
	WIRE_FSYNC = 68,    /* u32 handle, u8 data_only */
	WIRE_READDIR = 69,  /* u32 handle, u64 cookie, u32 entries -> u64 next, u8 is_last, u32 count, count x dirent */
	WIRE_FSTATFS = 70,  /* u32 handle -> statfs */
	WIRE_RELEASE = 71,  /* u32 handle; no REPLY */
	WIRE_READ_FOR = 72, /* u32 handle, u64 offset, u32 length, u64 unique -> as READ; or a result above 0 and nothing: the
			       client has answered the kernel's request of that number itself, with so many bytes */

	/* ---- supervisor to client, each answered by one REPLY: connections of the local process ---- */
	WIRE_CONNECT = 96,      /* u32 pid, u8 transport (WIRE_TRANSPORT_*), u8 is_nonblocking, addr peer -> connected.
				   The request's id is the flow's id from here on. A negative result ends the flow. */
	WIRE_UDP_OPEN = 97,     /* u32 pid, u8 family (2, 10): an unconnected datagram socket -> connected; id as above */
	WIRE_UDP_PEER = 98,     /* u64 flow, addr peer: may the flow of an unconnected socket send there? -> 0, -errno, or
				   WIRE_LOCAL then addr (where to send instead; family 0: as asked) */
	WIRE_FLOW_ADDRESS = 99, /* u64 flow -> addr local, in the target; waits for the dial of an optimistic flow */

	/* ---- both ways, no answer; the frame's id is the flow ---- */
	WIRE_FLOW_DATA = 112,       /* stream: bytes to the end of the body; datagram: addr (family 0 on a connected one), then
				       exactly one datagram to the end of the body */
	WIRE_FLOW_CREDIT = 113,     /* u32 bytes that may be sent in addition; WIRE_FLOW_CREDIT_BYTES at first, both ways */
	WIRE_FLOW_HALF_CLOSE = 114, /* the sender's direction ended in order */
	WIRE_FLOW_RESET = 115,      /* u32 errno: over in both directions at once; the id is free, later frames of it are dropped.
				       On a datagram flow 0 means over in order: its socket is closed or was idle */
	WIRE_FLOW_DIALING = 116,    /* client to supervisor, nothing, between WIRE_CONNECT and its REPLY: the peer is the
				       target's and the dial goes on, so a non-blocking socket gets its EINPROGRESS now. Without
				       it the process is held until the REPLY, as a blocking one is */

	/* ---- supervisor to client: sockets of the local process that listen; the first two answered by one REPLY ---- */
	WIRE_BIND = 128,          /* u32 pid, u8 transport, addr asked -> 0 then addr (bind exactly there; family 0: as asked,
				     or nearby where this machine refuses), WIRE_LOCAL (as asked, and never heard of again),
				     -errno */
	WIRE_LISTEN = 129,        /* u32 pid, u64 listener, u8 transport, u8 is_v6only, addr asked, addr actual -> 0,
				     WIRE_LOCAL (nothing will come), -errno: listen fails. The process waits for it. Of
				     datagrams: right behind their bind, which waits. */
	WIRE_LISTEN_CLOSED = 130, /* u64 listener: its last descriptor is closed; no REPLY */

	/* ---- client to supervisor, and back: a connection that the client makes to a listener ---- */
	WIRE_ARRIVAL = 136,       /* addr source (of the client's own socket, not yet connected), addr peer, addr local: what
				     the process shall see. The id is the client's. */
	WIRE_ARRIVAL_KNOWN = 137, /* the answer, same id: connect now */
	WIRE_ARRIVAL_OVER = 138,  /* addr source: closed by the client; no answer */
};

/*
 * The life of a flow. Streams: over when both directions sent HALF_CLOSE, or with a RESET; its errno is what the other side's
 * kernel said. seqpacket: one FLOW_DATA per record. Datagram flows know no credits and no HALF_CLOSE: what a receiver
 * cannot take at once it drops; only RESET ends them, after which the supervisor opens another one (WIRE_CONNECT) for the
 * same socket when it sends again. A RESET before the REPLY of WIRE_CONNECT does not replace that REPLY.
 */

/*
 * addr: u8 family (0 none, 1 AF_UNIX, 2 AF_INET, 10 AF_INET6), then for 2: u16 port, 4 bytes; for 10: u16 port, 16 bytes,
 * u32 scope; for 1: str path (a leading NUL means abstract). Ports are numbers, addresses in network order. v4-mapped
 * addresses travel as 2.
 * connected: result 0: addr local, addr peer (family 0 where not known yet: an optimistic datagram flow); result WIRE_LOCAL:
 * addr to connect to here instead (family 0: as the process asked).
 */
#define WIRE_FLOW_CREDIT_BYTES (1u << 20)

enum wire_transport {
	WIRE_TRANSPORT_TCP = 1,
	WIRE_TRANSPORT_UDP = 2,
	WIRE_TRANSPORT_UNIX_STREAM = 3,
	WIRE_TRANSPORT_UNIX_SEQPACKET = 4,
};

/*
 * opened: u8 how, then
 *   WIRE_OPENED_HANDLE  u32 handle, stat                a handle of the client's; WIRE_RELEASE it
 *   WIRE_OPENED_INLINE  stat, blob                       whole content of a small read-only file; there is no handle
 *   WIRE_OPENED_MAPPED  str path                         local after fs.mapping: open this path here instead
 * stat:    u64 dev, u64 ino, u32 mode, u32 nlink, u32 uid, u32 gid, u64 rdev, u64 size, u32 blksize, u32 pad, u64 blocks,
 *          i64 atime_ns, i64 mtime_ns, i64 ctime_ns, i64 btime_ns                                         (WIRE_STAT_BYTES)
 * statfs:  u64 type, u64 bsize, u64 blocks, u64 bfree, u64 bavail, u64 files, u64 ffree, u64 fsid, u32 namelen, u32 pad,
 *          u64 frsize, u64 flags                                                                        (WIRE_STATFS_BYTES)
 * setattr: u32 valid (WIRE_SET_*), u32 mode, u32 uid, u32 gid, u64 size, i64 atime_ns, i64 mtime_ns    (WIRE_SETATTR_BYTES)
 * dirent:  u64 ino, u64 cookie, u8 type (DT_*), u8 has_stat, str name, [stat]
 */
#define WIRE_STAT_BYTES 96
#define WIRE_STATFS_BYTES 88
#define WIRE_SETATTR_BYTES 40

enum wire_opened { WIRE_OPENED_HANDLE = 0, WIRE_OPENED_INLINE = 1, WIRE_OPENED_MAPPED = 2 };

enum wire_set {
	WIRE_SET_MODE = 1,
	WIRE_SET_UID = 2,
	WIRE_SET_GID = 4,
	WIRE_SET_SIZE = 8,
	WIRE_SET_ATIME = 16,
	WIRE_SET_MTIME = 32,
	WIRE_SET_ATIME_NOW = 64,
	WIRE_SET_MTIME_NOW = 128,
};

enum wire_feature {
	WIRE_FEATURE_FILES_READ = 1,  /* trap the calls that look at files */
	WIRE_FEATURE_FILES_WRITE = 2, /* and those that change them */
	WIRE_FEATURE_NETWORK = 4,     /* connect, sendto and their kin; the client decides about each peer */
	WIRE_FEATURE_DNS = 8,         /* sockets of systemd-resolved and nscd do not exist for the local process */
	WIRE_FEATURE_UNIX = 16,       /* connect of unix sockets is asked about too */
	WIRE_FEATURE_INCOMING = 32,   /* bind, listen, and accept with an address; the client connects to listeners */
	WIRE_FEATURE_HOST_NAME = 64,  /* uname */
};

enum wire_can {
	WIRE_CAN_FUSE = 1,           /* descriptors backed by FUSE; without it: copies for reading, EROFS for writing */
	WIRE_CAN_SYNC_WAKE_UP = 2,   /* Linux 6.6 */
	WIRE_CAN_INJECT_ATOMIC = 4,  /* SECCOMP_ADDFD_FLAG_SEND, Linux 5.14 */
	WIRE_CAN_PTRACE = 8,         /* chdir into and execve of remote paths */
};

struct wire_frame {
	uint16_t kind;
	uint64_t id;
	const uint8_t *body;
	uint32_t body_len;
};

/*
 * Decodes one frame from buf[0..len). Returns the bytes consumed, 0 if more are needed, or -EPROTO.
 * Points into buf; copies nothing.
 */
ssize_t wire_decode(const uint8_t *buf, size_t len, struct wire_frame *frame);

/* Writes a frame header into out[0..WIRE_HEADER_BYTES). */
void wire_header(uint8_t *out, uint16_t kind, uint64_t id, uint32_t body_len);

/* A bounded reader of a body: after a read past the end `bad` is set and everything reads as zero or empty. */
struct wire_reader {
	const uint8_t *at, *end;
	int bad;
};

/* A bounded writer into the caller's memory: after a write past the end `bad` is set and nothing more is written. */
struct wire_writer {
	uint8_t *at, *end;
	int bad;
};

struct wire_bytes {
	const uint8_t *data;
	uint32_t len;
};

struct wire_stat {
	uint64_t dev, ino, rdev, size, blocks;
	int64_t atime_ns, mtime_ns, ctime_ns, btime_ns;
	uint32_t mode, nlink, uid, gid, blksize, pad;
};

struct wire_statfs {
	uint64_t type, bsize, blocks, bfree, bavail, files, ffree, fsid, frsize, flags;
	uint32_t namelen, pad;
};

struct wire_setattr {
	uint64_t size;
	int64_t atime_ns, mtime_ns;
	uint32_t valid, mode, uid, gid;
};

/* opened, as above. */
struct wire_opened_file {
	enum wire_opened how;
	uint32_t handle;         /* HANDLE */
	struct wire_stat stat;   /* HANDLE, INLINE */
	struct wire_bytes bytes; /* the content of INLINE, the path of MAPPED */
};

uint8_t wire_get_u8(struct wire_reader *r);
uint16_t wire_get_u16(struct wire_reader *r);
uint32_t wire_get_u32(struct wire_reader *r);
uint64_t wire_get_u64(struct wire_reader *r);
struct wire_bytes wire_get_str(struct wire_reader *r);
struct wire_bytes wire_get_blob(struct wire_reader *r);
void wire_get_stat(struct wire_reader *r, struct wire_stat *stat);
void wire_get_statfs(struct wire_reader *r, struct wire_statfs *statfs);
/* Bad also when `how` is unknown. */
void wire_get_opened(struct wire_reader *r, struct wire_opened_file *opened);

void wire_put_u8(struct wire_writer *w, uint8_t v);
void wire_put_u16(struct wire_writer *w, uint16_t v);
void wire_put_u32(struct wire_writer *w, uint32_t v);
void wire_put_u64(struct wire_writer *w, uint64_t v);
void wire_put_str(struct wire_writer *w, const void *data, size_t len);
void wire_put_raw(struct wire_writer *w, const void *data, size_t len);
void wire_put_setattr(struct wire_writer *w, const struct wire_setattr *setattr);

/* addr, as above. Bytes in network order; v4 in the first 4. */
struct wire_addr {
	uint8_t family; /* 0, AF_UNIX, AF_INET, AF_INET6 */
	uint16_t port;
	uint32_t scope;
	uint8_t ip[16];
	struct wire_bytes path;
};

/* At most this long with its family. */
#define WIRE_ADDR_BYTES 112

/* Bad when the family is unknown or a path is longer than a sockaddr_un holds. In wire_net.c. */
void wire_get_addr(struct wire_reader *r, struct wire_addr *addr);
void wire_put_addr(struct wire_writer *w, const struct wire_addr *addr);

#endif
