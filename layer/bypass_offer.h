/*
 * The supervisor's side of the bypass (bypass/): it has the library preloaded into local processes, and answers what the
 * library opens. Unless MIRRORD_LAYER_BYPASS is "off".
 */
#ifndef LAYER_BYPASS_OFFER_H
#define LAYER_BYPASS_OFFER_H

#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdint.h>

#include "rules.h"

/* Before there is a keeper and a worker, which both answer opens of the library. */
void bypass_find(void);

/*
 * After FUSE was started: makes the table and puts the library into our environment, which the local process gets. Returns
 * why there is no bypass, NULL if there is one or it is not wanted.
 */
const char *bypass_offer(const struct rules *rules, uint64_t device);

/* What the filter is to let pass; 0: nothing. */
uint64_t bypass_cookie(void);

/* An open that is none of the user's: answered, when it returns true. */
bool bypass_answer(const struct seccomp_notif *n, const char *path, uint32_t open_flags);

/* From now on a directory may be the target's. */
void bypass_descriptor_given(void);

#endif
