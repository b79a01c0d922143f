/* Questions to the client about unconnected datagram sockets and their peers. The call is held and looked at again when the
 * answer is there. Under the lock. */
#ifndef LAYER_NET_ASK_H
#define LAYER_NET_ASK_H

#include "net_flow.h"

/* A flow for the socket, with a new id. Calls wait in flow->held. */
void net_ask_open(struct flow *flow);

/* May it send there? */
void net_ask_peer(struct flow *flow, struct net_peer *peer, const struct seccomp_notif *n);

#endif
