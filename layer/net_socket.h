/* The local process's own socket, as a descriptor of ours: the same open file, so what is done to it is done to the app's. */
#ifndef LAYER_NET_SOCKET_H
#define LAYER_NET_SOCKET_H

#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "net_addr.h"

struct net_socket {
	int fd;
	uint64_t inode; /* the same on dups, after fork and exec; 0: not a socket */
	pid_t process;
	int domain, type, protocol;
	bool is_nonblocking;
};

/*
 * Takes descriptor number `number` of the thread that waits in n. 0, or -errno (EBADF when it has none, EPERM, ESRCH). The
 * caller closes socket->fd. Only fd, inode and process are set.
 */
int net_socket_take(const struct seccomp_notif *n, int number, struct net_socket *socket);

/*
 * Answers a call whose socket could not be had, for `failed` of net_socket_take. What the process itself has not is the kernel's to
 * say. For want of a descriptor of ours it fails: if it went on here it would reach another peer than the target's.
 */
void net_socket_missing(const struct seccomp_notif *n, int failed);

/* Sets the inode of socket->fd. */
void net_socket_identify(struct net_socket *socket);

/* Fills in the rest. */
void net_socket_describe(struct net_socket *socket);

struct net_addr net_socket_name(int fd);
struct net_addr net_socket_peer(int fd);
int net_socket_option(int fd, int level, int name);
/*
 * For a socket that is to be connected over loopback: BBR would pace it by timers, which makes bulk take a third longer where there is no
 * way to measure. Reno in its place, before there is a connection: afterwards the kernel goes on pacing. Any other choice stays.
 */
void net_socket_unpace(int fd);
/* SO_RCVTIMEO or SO_SNDTIMEO; 0: none. */
int64_t net_socket_timeout_ms(int fd, int name);

#endif
