/*
 * The seccomp filter of the local process and its children. Only x86-64 calls are looked at: x32 and i386 programs run as
 * if we were not there. io_uring_setup fails with ENOSYS, because a ring would open files behind our back; every known
 * program falls back. So do those that ask for sockets of MPTCP (Go, for each that listens), which would connect and listen past
 * us: EPROTONOSUPPORT, as from a kernel without it.
 */
#ifndef LAYER_FILTER_H
#define LAYER_FILTER_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FILTER_MAX 160

/*
 * Returns the number of instructions. has_fuse: descriptors answer fstat themselves. cookie: calls that look at files pass
 * when this is their sixth argument, which none of them has; 0: none does. The word says no more than that the bypass has
 * decided: whoever learns it could as well make calls that are not trapped.
 */
size_t filter_build(uint32_t features, bool has_fuse, uint64_t cookie, struct sock_filter out[FILTER_MAX]);

#endif
