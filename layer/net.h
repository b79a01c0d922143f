/*
 * The network of the local process: its connections go through the client to the target, or stay here when the client says
 * so. The supervisor asks about every peer and decides nothing. Nothing of this runs unless SETUP asks for it.
 */
#ifndef LAYER_NET_H
#define LAYER_NET_H

#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdint.h>

/* Before link_start and after the local process was forked (it must not inherit our limit of descriptors). 0 or -errno. */
int net_start(uint32_t features);

/* For a keeper without a client: connects beyond this machine fail. */
void net_start_dead(uint32_t features);

/* Answers a trapped call on a socket, now or later. */
void net_call(const struct seccomp_notif *n);

uint32_t net_features(void);

#endif
