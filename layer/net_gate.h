/*
 * Where the app's own sockets are connected to on this machine. Per family two listeners on loopback:
 * one that accepts, for connects that are held until the dial is over; and a silent one, whose queue is full, so that the
 * kernel drops SYNs: a non-blocking socket that connects to it truly is in progress. When the dial is over a socket of ours,
 * bound to the silent listener's address, connects to the app's: a simultaneous open (RFC 9293 3.5), which completes at once.
 * All under the lock of net_flow.h.
 */
#ifndef LAYER_NET_GATE_H
#define LAYER_NET_GATE_H

#include <stdbool.h>

#include "net_flow.h"

/* 0 or -errno: not even IPv4 has a loopback. */
int net_gate_start(bool has_unix);

/* Connects flow->app_fd to us; flow->fd is our end. 0, or -errno for the app. */
int net_gate_open(struct flow *flow);

/* -EINPROGRESS: flow->app_fd sends SYNs, flow->here is its address. Another -errno is for the app. */
int net_gate_begin(struct flow *flow);

/* Answers those SYNs: flow->fd is a socket of ours that is connecting. 0, or -errno: the app's socket is no more. */
int net_gate_meet(struct flow *flow);

/* A filler of a silent listener was lost: key of LOOP_GATE. */
void net_gate_refill(unsigned int key);

#endif
