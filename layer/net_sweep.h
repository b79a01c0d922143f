/* What only a look from time to time can find: sockets that were closed silently, errors nobody fetched, resets that wait.
 * Under the lock. */
#ifndef LAYER_NET_SWEEP_H
#define LAYER_NET_SWEEP_H

#include <stdint.h>

/* Milliseconds until the next look; -1: there is nothing to look at. */
int net_sweep(void);

/* Not under the lock, when the last process has ended: what was written before goes on to the client, at most so long. */
void net_finish(int64_t ms);

/* The link is dead: everything is over. */
void net_sweep_all(void);

#endif
