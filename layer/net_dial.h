/* The dial of one flow: asking the client, waiting for its answer, connecting the app's socket. Under the lock. */
#ifndef LAYER_NET_DIAL_H
#define LAYER_NET_DIAL_H

#include "net_flow.h"

/* Asks the client about flow->asked, with a new id. */
void net_dial_ask(struct flow *flow);
/* The client dials: a non-blocking socket must not wait for it. */
void net_dial_goes_on(struct flow *flow);
/* Our end of a meeting changed its state. */
void net_dial_met(struct flow *flow);
/* The dial failed, or nobody is left to do it. May destroy the flow. */
void net_dial_lost(struct flow *flow, int error);
void net_dial_tell_reset(uint64_t id, int error);

#endif
