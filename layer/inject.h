/*
 * The answers that no return value can give: a directory or a program of the target's (or one mapped by the user) becomes the
 * thread's own. The thread gets the descriptor and is made to call fchdir or execveat on it.
 */
#ifndef LAYER_INJECT_H
#define LAYER_INJECT_H

#include "pending.h"

/* Blocks for as long as the calls take. 0: the thread has its answer, whichever; -EAGAIN: it does not wait any more. */
int inject(const struct pending *pending, uint64_t id);

#endif
