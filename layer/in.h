/*
 * Connections that arrive at the target, for the local process. Its listening sockets stay real ones of this machine: bind
 * is helped to where it can be had, the client is told of listen, and connects to the socket itself; accept and its kin tell
 * who the peer is in truth. Only with WIRE_FEATURE_INCOMING is anything of this trapped.
 */
#ifndef LAYER_IN_H
#define LAYER_IN_H

#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdint.h>

#include "wire.h"

/* bind, listen, accept. Answers the call, now or later. */
void in_bind(const struct seccomp_notif *n);
void in_listen(const struct seccomp_notif *n);
void in_accept(const struct seccomp_notif *n);

/* A socket of datagrams is bound: the client is told, and the bind is answered. Under the lock. */
struct in_listener;
void in_listen_ask(struct in_listener *listener);

/* getsockname, getpeername. False: it is none of ours. */
bool in_name(const struct seccomp_notif *n);

/* Of the client. Under the lock. */
void in_frame(const struct wire_frame *frame);

/* A listener has somebody, for the call that waits with this key (LOOP_ACCEPT). Under the lock. */
void in_accept_ready(uint64_t key);

/* Calls that wait no longer give their listener back. Under the lock. */
void in_accept_look(int64_t now_ms);

/* Sockets that were closed silently are no listeners. Milliseconds until the next look, -1: nothing to look at. Under the
 * lock. */
int in_look(int64_t now_ms);

/* The link is dead: what waits goes on as if on its own. Under the lock. */
void in_lost(void);

/* Whether the socket still exists, by all means there are. Under the lock. */
bool in_listener_is_alive(const struct in_listener *listener);

#endif
