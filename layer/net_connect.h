/* connect(2): asking the client, waiting for the dial, telling the app how it ended. */
#ifndef LAYER_NET_CONNECT_H
#define LAYER_NET_CONNECT_H

#include <linux/seccomp.h>
#include <stdbool.h>

#include "net_flow.h"

void net_connect(const struct seccomp_notif *n);
/* Without a client: what leaves this machine fails. */
void net_connect_dead(const struct seccomp_notif *n, bool is_connect);

/* Under the lock. */
/* The client dials: a non-blocking socket must not wait for it. */
void net_connect_dialing(struct flow *flow);
/* Our end of a meeting changed its state. */
void net_connect_met(struct flow *flow);
/* The dial failed, or nobody is left to do it. */
void net_connect_lost(struct flow *flow, int error);
/* Asks the client about flow->asked with a new id; the REPLY comes to connect or, for datagrams, to net_datagram. */
void net_connect_ask(struct flow *flow);

#endif
