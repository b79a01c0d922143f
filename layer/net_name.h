/* getsockname, getpeername and SO_ERROR of sockets whose connection is the target's. */
#ifndef LAYER_NET_NAME_H
#define LAYER_NET_NAME_H

#include <linux/seccomp.h>

#include "net_addr.h"

void net_name(const struct seccomp_notif *n);
void net_error(const struct seccomp_notif *n);

/* Writes an address the way the kernel does: cut to the room at *len_at, the true length in it. 0 or -errno. */
int net_name_write(pid_t tid, uint64_t addr_at, uint64_t len_at, const struct net_addr *addr);

#endif
