/* Bytes of streams, both ways, with credits: what is not written on is never more than was granted. Under the lock. */
#ifndef LAYER_NET_STREAM_H
#define LAYER_NET_STREAM_H

#include "net_flow.h"

/* The dial succeeded and flow->fd is connected to the app. */
void net_stream_open(struct flow *flow);

/* flow->fd may be readable or writable again, or credit or room came. */
void net_stream_pump(struct flow *flow);

void net_stream_data(struct flow *flow, const uint8_t *data, size_t len);
/* Of one that was handed over: both directions have ended in order. */
void net_stream_half_close(struct flow *flow);
/* The client's RESET. */
void net_stream_reset(struct flow *flow, int error);
/* True while the last bytes before a reset are not taken yet. */
bool net_stream_try_reset(struct flow *flow);

/* Ends it at once and tells the client why. */
void net_stream_abort(struct flow *flow, int error);

#endif
