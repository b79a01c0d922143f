/*
 * recvfrom, recvmsg and recvmmsg of datagram sockets, for the source address: the datagrams themselves lie in the app's own
 * socket, so that poll, recv and read are native.
 */
#ifndef LAYER_NET_RECEIVE_H
#define LAYER_NET_RECEIVE_H

#include <linux/seccomp.h>
#include <stdint.h>

void net_receive(const struct seccomp_notif *n);

/* Under the lock. */
/* A parked call's socket is readable. */
void net_receive_ready(uint64_t key);
/* Lets go of parked calls that were interrupted or whose time is over. */
void net_receive_look(int64_t now_ms);
unsigned int net_receive_count(void);
/* When the first time limit is over; INT64_MAX: none. */
int64_t net_receive_due_ms(void);

#endif
