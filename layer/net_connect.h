/* connect(2) of the local process: the first one, repeated ones and AF_UNSPEC. */
#ifndef LAYER_NET_CONNECT_H
#define LAYER_NET_CONNECT_H

#include <linux/seccomp.h>
#include <stdbool.h>

void net_connect(const struct seccomp_notif *n);
/* Without a client: what leaves this machine fails. */
void net_connect_dead(const struct seccomp_notif *n, bool is_connect);

#endif
