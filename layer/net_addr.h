/* Socket addresses as the kernel has them, as the wire has them, and as a socket of another family shows them. Pure. */
#ifndef LAYER_NET_ADDR_H
#define LAYER_NET_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "wire.h"

struct net_addr {
	socklen_t len; /* 0: none */
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
	};
};

/* False: not an address that connections have, or too short for its family; the kernel shall say so. */
bool net_addr_read(struct net_addr *addr, const void *bytes, size_t len);

void net_addr_from_wire(struct net_addr *addr, const struct wire_addr *from);
/* v4-mapped becomes v4. to->path points into addr. */
void net_addr_to_wire(struct wire_addr *to, const struct net_addr *addr);

/* As a socket of that domain shows it: v4 in an AF_INET6 socket is v4-mapped, v4-mapped in an AF_INET socket is v4. */
void net_addr_as(struct net_addr *addr, int domain);

bool net_addr_equal(const struct net_addr *a, const struct net_addr *b);
bool net_addr_is_any(const struct net_addr *addr);
bool net_addr_is_mapped(const struct net_addr *addr);
uint16_t net_addr_port(const struct net_addr *addr);

/* 127.0.0.1 or ::1. */
struct net_addr net_addr_loopback(int family, uint16_t port);

#endif
