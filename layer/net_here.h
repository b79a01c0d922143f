/* What stays on this machine, or does not exist on it. */
#ifndef LAYER_NET_HERE_H
#define LAYER_NET_HERE_H

#include <stdbool.h>
#include <stddef.h>

#include "net_flow.h"

/* The client said LOCAL: answers the held connect and forgets the flow. instead: family 0 as the process asked; NULL: the
 * client's answer was malformed. Under the lock. */
void net_here_connect(struct flow *flow, const struct wire_addr *instead);

/* A socket of this machine's resolver caches, which would answer from here (WIRE_FEATURE_DNS). */
bool net_here_is_hidden(const void *sockaddr, size_t len);

#endif
