/*
 * Asks the kernel whether a socket still exists, by addresses and inode (sock_diag(7)): a closed one of another process tells
 * nobody. Under the lock of net_flow.h.
 */
#ifndef LAYER_NET_DIAG_H
#define LAYER_NET_DIAG_H

#include <stdbool.h>
#include <stdint.h>

#include "net_addr.h"

/* Tries it with a connected socket of our own, fd. Where the kernel cannot say, the answer is always yes. */
void net_diag_start(const struct net_addr *peer, int fd);
bool net_diag_works(void);

/* protocol: IPPROTO_TCP or IPPROTO_UDP. peer.len 0: unconnected. */
bool net_diag_is(int protocol, const struct net_addr *local, const struct net_addr *peer, uint64_t inode);

#endif
