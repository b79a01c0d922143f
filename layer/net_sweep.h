/* What only a look from time to time can find: sockets that were closed silently, errors nobody fetched, resets that wait.
 * Under the lock. */
#ifndef LAYER_NET_SWEEP_H
#define LAYER_NET_SWEEP_H

/* Milliseconds until the next look; -1: there is nothing to look at. */
int net_sweep(void);

/* The link is dead: everything is over. */
void net_sweep_all(void);

#endif
