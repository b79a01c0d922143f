/*
 * The ring that the taps fill and the capture empties, in memory that both have mapped. Any number of CPUs write, one thread
 * reads; there is no lock and no call: a lock of the kernel's and the calls of its own ring buffer are a good part of what a
 * small packet costs. Part of the program in the kernel and of the tests, which run it in threads.
 *
 * Positions only grow; where one is in the memory is said by its lower bits. What would go beyond the end goes into the room
 * for one record that is behind it. A record counts once its seal is that of its position, which nobody can have put there
 * who does not know the secret: what is in the memory from the round before, and what packets carry, is none.
 */
#ifndef MIRRORD_BPF_SHARED_RING_H
#define MIRRORD_BPF_SHARED_RING_H

#include "capture.h"

/* Of so many others that are quicker; then the packet is lost. */
#define RING_TRIES 16
#define RING_HAS_NO_ROOM (~0ull)

static inline __attribute__((always_inline)) __u32 ring_size_of(__u32 captured)
{
	return (sizeof(struct capture_record) + captured + 7) & ~7u;
}

/* The position of a new record, or RING_HAS_NO_ROOM. */
static inline __attribute__((always_inline)) __u64 ring_reserve(struct capture_taps *state, __u32 size, __u64 ring_bytes)
{
	__u64 at = *(volatile __u64 *)&state->reserved;

	for (int i = 0; i < RING_TRIES; i++) {
		__u64 consumed = *(volatile __u64 *)&state->consumed;
		__u64 seen;

		/* Signed: what was read of the one may be older than the other. Then it is not the end any more either. */
		if ((__s64)(at + size - consumed) > (__s64)ring_bytes)
			return RING_HAS_NO_ROOM;
		seen = __sync_val_compare_and_swap(&state->reserved, at, at + size);
		if (seen == at)
			return at;
		at = seen;
	}
	return RING_HAS_NO_ROOM;
}

static inline __attribute__((always_inline)) __u64 ring_seal(__u64 at, __u64 secret)
{
	return at ^ secret;
}

/* All of the record has been written. A processor that keeps the order of stores needs nothing more; what waits for all of
 * them waits for memory. */
static inline __attribute__((always_inline)) void ring_commit(struct capture_record *record, __u64 seal, int keeps_order)
{
	asm volatile("" ::: "memory");
	if (keeps_order)
		*(volatile __u64 *)&record->seal = seal;
	else
		__sync_lock_test_and_set(&record->seal, seal);
	asm volatile("" ::: "memory");
}

#endif
