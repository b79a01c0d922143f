/* Peers of unconnected datagram sockets: what each address is called here, and what came from where. Under the lock. */
#ifndef LAYER_NET_PEER_H
#define LAYER_NET_PEER_H

#include "net_flow.h"

/* More peers than that on one socket: the one not used for longest is forgotten. */
#define NET_PEERS_MAX 256u

struct net_peer *net_peer_find(struct flow *flow, const struct net_addr *asked);
/* NULL: no memory. */
struct net_peer *net_peer_add(struct flow *flow, const struct net_addr *asked);

/* The address that a datagram from `from` shall seem to come from; NULL: from where it does. */
const struct net_addr *net_peer_source(const struct flow *flow, const struct net_addr *from);
bool net_peer_is_any_remote(const struct flow *flow);

/* A datagram of ours, connected to the app's at app. Returns a descriptor or -errno; *at is its address. */
int net_peer_socket(const struct net_addr *app, struct net_addr *at);

/* Gives data to the app as if from `from`. -ECONNREFUSED: its socket is closed. */
int net_peer_deliver(struct flow *flow, const struct net_addr *from, const void *data, size_t len);

#endif
