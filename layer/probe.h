/* What this machine lets us do, found by doing it in a throw-away child. */
#ifndef LAYER_PROBE_H
#define LAYER_PROBE_H

#include <stddef.h>
#include <stdint.h>

/* WIRE_CAN_* without FUSE. 0, or -errno with a message for the user. */
int probe(uint32_t *can, char *why, size_t why_len);

#endif
