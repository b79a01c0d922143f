/*
 * Datagrams that arrive at the target, for the local process. A socket stands for its port from bind on; the client sends what
 * arrives to the socket itself, for each peer from an address of its own (in_table.h). What the process answers to such a
 * peer ends here. Under the lock of net_flow.h.
 */
#ifndef LAYER_IN_DATAGRAM_H
#define LAYER_IN_DATAGRAM_H

#include <stdbool.h>
#include <stdint.h>

#include "net_addr.h"

/* Whether the socket stands for a port of the target. */
bool in_datagram_is(uint64_t inode);

/* Who sent in truth what came from `from`; NULL: who it says. */
const struct net_addr *in_datagram_source(const struct net_addr *from);

/* Where what the target's peer `to` sends to this socket comes from on this machine; NULL: it is no such peer. */
const struct net_addr *in_datagram_peer(uint64_t inode, const struct net_addr *to);

#endif
