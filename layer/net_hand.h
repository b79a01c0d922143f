/*
 * Streams are handed to the client: it reads and writes them itself, and their bytes cross one process less. By Node's own
 * channel for descriptors between processes (child_process, "ipc"), which the client has opened as descriptor 4. We keep a
 * copy of the descriptor for what Node cannot do: to know what the app has not taken yet, and to reset.
 */
#ifndef LAYER_NET_HAND_H
#define LAYER_NET_HAND_H

#include <stdbool.h>

#include "net_flow.h"

#define NET_HAND_FD 4

/* Before anything is started: whether the client has opened the channel. The local process shall not see it. */
void net_hand_take_channel(void);
/* In the process that does not serve. */
void net_hand_drop_channel(void);

/* Watches the channel. 0 or -errno. */
int net_hand_start(void);

/* Under the lock, for a flow that has just become open. False: it cannot be handed over, its bytes are ours to move. */
bool net_hand(struct flow *flow);

/* Under the lock, on the loop: the channel may take more, or brings what nobody reads. */
void net_hand_ready(void);

#endif
