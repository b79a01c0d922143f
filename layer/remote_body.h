/* Bodies of the requests of remote.h. */
#ifndef LAYER_REMOTE_BODY_H
#define LAYER_REMOTE_BODY_H

#include "remote.h"

/* Kind of the request, 0 if the call has no remote form, or -errno. */
int remote_body(const struct remote_call *call, struct wire_writer *w);

#endif
