/* realpath(3), link by link: each one is asked about as the C library would, so that each one goes where its rule says. */
#ifndef LAYER_BYPASS_RESOLVE_H
#define LAYER_BYPASS_RESOLVE_H

#include <limits.h>

/* As much of the stack as the C library takes for it. */
#define RESOLVE_ROOM 1024

/* Something is longer than that: nothing has been decided. */
#define RESOLVE_OTHERWISE 1

/* 0 and the name; -errno and the part of it that failed; or RESOLVE_OTHERWISE. */
int resolve(const char *name, char out[RESOLVE_ROOM]);

#endif
