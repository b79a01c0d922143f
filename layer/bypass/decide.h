/*
 * Whether a call stays on this machine for certain: then it may skip the trap. "No" is no decision: the call is made as it
 * would be without us, and the supervisor decides. Never says yes where the supervisor would not.
 */
#ifndef LAYER_BYPASS_DECIDE_H
#define LAYER_BYPASS_DECIDE_H

#include <stdbool.h>
#include <stddef.h>

#include "../bypass_table.h"

/* dir: a descriptor or AT_FDCWD. A path that cannot be read, is empty or too long is the kernel's to refuse. */
bool decide_is_local(const struct bypass_table *table, int dir, const char *path, bool is_write);

/* The working directory (AT_FDCWD) or descriptor is no directory of the target's. */
bool decide_directory_is_local(const struct bypass_table *table, int dir);

#endif
