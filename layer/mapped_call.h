/* Calls without a remote form on a path that the user has mapped to another one of this machine. */
#ifndef LAYER_MAPPED_CALL_H
#define LAYER_MAPPED_CALL_H

#include "pending.h"
#include "wire.h"

/* Does the call in the thread's place; the answer is set. */
void mapped_call(struct pending *pending, struct wire_bytes path);

#endif
