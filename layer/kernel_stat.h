/* A stat of the target's in the forms of the kernel. */
#ifndef LAYER_KERNEL_STAT_H
#define LAYER_KERNEL_STAT_H

#include <sys/stat.h>
#include <sys/statfs.h>

#include "wire.h"

void kernel_stat(const struct wire_stat *from, struct stat *to);
void kernel_statx(const struct wire_stat *from, struct statx *to);
void kernel_statfs(const struct wire_statfs *from, struct statfs *to);

#endif
