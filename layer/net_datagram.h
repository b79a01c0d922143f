/*
 * Datagram sockets. A connected one is connected to a socket of ours, which is connected back: its own send and recv stay
 * native. An unconnected one has such a socket per peer (net_peer.h). Under the lock.
 */
#ifndef LAYER_NET_DATAGRAM_H
#define LAYER_NET_DATAGRAM_H

#include "net_flow.h"
#include "wire.h"

/* The client said yes: connects flow->app_fd, the first time. 0, or -errno for the app. */
int net_datagram_open(struct flow *flow);

/* The app sent something, or there is room on the link again. */
void net_datagram_pump(struct flow *flow);

void net_datagram_frame(struct flow *flow, const struct wire_frame *frame);

/* One datagram of the app's to the client. to: NULL on a connected socket. */
void net_datagram_tell(const struct flow *flow, const struct net_addr *to, const void *data, size_t len);

/* Now and then: does the socket still exist, is the flow still used? May destroy it. */
void net_datagram_look(struct flow *flow, int64_t now_ms);

/* The link is dead, or the client wants to hear of it no more. Destroys it. */
void net_datagram_lost(struct flow *flow);

#endif
