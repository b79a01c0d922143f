/* uname(2) with the target's name: what gethostname(3) of every C library, Go and `uname -n` ask. */
#ifndef LAYER_HOST_NAME_H
#define LAYER_HOST_NAME_H

#include <linux/seccomp.h>
#include <stdbool.h>

#include "wire.h"

/* The name of SETUP, at most HOST_NAME_MAX bytes without a NUL; empty: this machine's. False: it is none. */
bool host_name_init(struct wire_reader *r);

void host_name_answer(const struct seccomp_notif *n);

#endif
