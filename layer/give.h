/* What becomes of an opened file or directory: the descriptor that the local process gets for it. */
#ifndef LAYER_GIVE_H
#define LAYER_GIVE_H

#include <stdbool.h>

#include "pending.h"
#include "wire.h"

void give_init(bool has_fuse);

/* Whether files of the target can be written through descriptors. */
bool give_can_write(void);

/* A path of this machine that stands for the one that was asked for. */
void give_mapped(struct pending *pending, struct wire_bytes path);

/* The REPLY of an open, behind the result. True: the answer is complete; else it finishes the pending later. */
bool give_opened(struct pending *pending, struct wire_reader *reader);

/* fd (or -errno), which is consumed, is the answer. */
void give_descriptor(struct pending *pending, int fd);

#endif
