/*
 * The one thread that moves the bytes of all flows. Everything is edge-triggered: whoever could not go on because of
 * credits or room goes on when those come, without the kernel's help.
 */
#ifndef LAYER_NET_LOOP_H
#define LAYER_NET_LOOP_H

#include <stdbool.h>
#include <stdint.h>

enum loop_kind { LOOP_WAKE, LOOP_FLOW, LOOP_GATE, LOOP_PARKED, LOOP_ACCEPT, LOOP_CHANNEL };

/* 0 or -errno. */
int net_loop_start(void);

/* Watches fd; the kind and key say whose it is. A descriptor that only we had is watched no longer when it is
 * closed; one of the app's sockets must be unwatched before. 0 or -errno. */
int net_loop_watch(int fd, enum loop_kind kind, uint64_t key, uint32_t events);
void net_loop_unwatch(int fd);

/* Any thread: look at everything now (room on the link, or its end). */
void net_loop_wake(void);
/* Under the lock: call the sweep (net_sweep.h) that often from now on, until it says otherwise. */
void net_loop_hurry(void);

#endif
