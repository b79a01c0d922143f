/* sendto, sendmsg and sendmmsg with an address: datagrams of unconnected sockets. */
#ifndef LAYER_NET_SEND_H
#define LAYER_NET_SEND_H

#include <linux/seccomp.h>

void net_send(const struct seccomp_notif *n);

#endif
