/*
 * Connected streams that are read and written when an epoll descriptor says so. Edge-triggered: a socket is put in once and
 * never changed, so that who reads until there is no more, and writes until no more is taken, is told of all that follows.
 * sockets.node and stealer.node are both made of it.
 *
 * Functions return >= 0 or -errno; nothing here knows of Node.
 */
#ifndef MIRRORD_SOCKETS_H
#define MIRRORD_SOCKETS_H

#include <cstddef>
#include <cstdint>
#include <sys/uio.h>

/* What a socket is ready for, as a sum. */
enum : uint32_t {
	SOCKET_READABLE = 1,
	SOCKET_WRITABLE = 2,
	/* The peer's end, an error or urgent data is behind the bytes that can be read: a short read does not say that there
	 * is no more. */
	SOCKET_ENDS = 4,
};

/* At most so many at once; those beyond are told by the next call. */
static constexpr int SOCKETS_PER_WAIT = 256;
/* Pieces of one write; those beyond wait for the next. */
static constexpr int PIECES_PER_WRITE = 64;

/* One that has become ready: its descriptor, the id it was put in with, and the sum. */
struct ready_socket {
	int32_t fd;
	uint32_t id;
	uint32_t mask;
};

int sockets_open();
/* Also sends small segments at once, and has urgent data in its place between the others. The descriptor stays the caller's; closing the last of it takes it out. */
int sockets_add(int epoll_fd, int fd, uint32_t id);
/* The same of one that has those properties, as what is accepted has them from its listener (socket_prepare). */
int sockets_add_prepared(int epoll_fd, int fd, uint32_t id);
/* @param is_near to or from loopback */
int socket_prepare(int fd, bool is_near);
int sockets_remove(int epoll_fd, int fd);
/* Returns how many are ready. @param wait_ms for the first of them; below 0: for ever */
int sockets_ready(int epoll_fd, struct ready_socket ready[SOCKETS_PER_WAIT], int wait_ms = 0);

/* Of a connection to another machine: more may be on its way than the kernel allows for by itself, where it may be asked for that. */
void socket_reach(int fd);
/* Another descriptor of the same socket, the caller's: whoever closes the first one does not close it. */
int socket_share(int fd);
/* Bytes, 0 at the peer's end, -EAGAIN when nothing is there. */
int64_t socket_read(int fd, uint8_t *bytes, size_t size);
/* The same, and the bytes stay to be read. */
int64_t socket_peek(int fd, uint8_t *bytes, size_t size);
/* Readable is, from here on, a socket with so many bytes, or whose peer has ended: for who looks and leaves them there. */
int socket_wake_at(int fd, int bytes);
/* Bytes that the kernel took: fewer than `size`, or 0, when it takes no more just now. */
int64_t socket_write(int fd, const uint8_t *bytes, size_t size);
/* As socket_write; its last piece waits for the end that follows right behind it, and leaves with that. */
int64_t socket_write_before_end(int fd, const uint8_t *bytes, size_t size);
/* As socket_write, of several pieces, in order. */
int64_t socket_write_pieces(int fd, struct iovec *pieces, size_t count);
/* FIN behind what was written. */
int socket_end(int fd);
/* Closes the descriptor; by RST, and without what was not sent yet, if `is_reset`. */
void socket_close(int fd, bool is_reset);

#endif
