/*
 * What is known of connections that arrive: the local process's listening sockets, by inode (the same on dups, after fork
 * and exec), and the true addresses of the connections that the client makes to them, by the loopback address the client
 * made each from. Under the lock of net_flow.h.
 */
#ifndef LAYER_IN_TABLE_H
#define LAYER_IN_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "net_flow.h"

/* Accepted for a call that was interrupted: the next accept gets it. */
struct in_ready {
	struct in_ready *next;
	struct net_addr from;
	int fd;
	int64_t since_ms;
};

struct in_listener {
	struct in_listener *next;
	uint64_t inode;
	pid_t process; /* that bound it, and its descriptor there */
	int number;
	int domain;
	bool is_asked;     /* the client was asked where to bind, or what becomes of the listen */
	bool is_bound;     /* actual is set */
	bool is_told;      /* the process knows how its bind ended */
	bool is_listening; /* the client knows of it */
	bool is_moved;     /* bound elsewhere than asked */
	bool is_v6_only;   /* of a socket of IPv6 */
	bool shares_port;  /* SO_REUSEPORT; of datagrams SO_REUSEADDR as well */
	bool is_datagram;  /* stands for its port once it is bound */
	int error;         /* of a bind nobody waited for */
	int fd;            /* the socket, while the client is asked; -1 */
	int64_t since_ms;
	struct net_addr asked, actual;
	struct held *held;
	struct in_ready *ready;
};

struct in_listener *in_listener_new(const struct net_socket *socket, int number, const struct net_addr *asked);
struct in_listener *in_listener_find(uint64_t inode);
struct in_listener *in_listener_first(void);
/* Closes what is ready and fails what is held. */
void in_listener_destroy(struct in_listener *listener);

struct in_arrival {
	struct in_arrival *next, *next_of_peer, *older, *newer;
	struct net_addr source; /* the client's socket */
	struct net_addr peer, local;
	bool is_over;
};

/* False: no memory, or too many. */
bool in_arrival_add(const struct net_addr *source, const struct net_addr *peer, const struct net_addr *local);
/* The client has closed it; the process may still ask who it was, until the room is needed. */
void in_arrival_over(const struct net_addr *source);
const struct in_arrival *in_arrival_find(const struct net_addr *source);
/* The newest of this peer at the target's side of a socket that asked for this port. */
const struct in_arrival *in_arrival_find_peer(const struct net_addr *peer, uint16_t port);

/* Readable without the lock: whether there is anything to look for. */
bool in_table_is_empty(void);

#endif
