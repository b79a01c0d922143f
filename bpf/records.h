/*
 * Part of the capture in the kernel: the ring's memory, its records, and who waits for one.
 */
#ifndef MIRRORD_BPF_RECORDS_H
#define MIRRORD_BPF_RECORDS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "capture.h"
#include "shared-ring.h"

const volatile struct capture_constants constants = {.ring_bytes = 1 << 24};

/* The ring (shared-ring.h). Its size is the loader's to say. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, (1 << 24) + CAPTURE_MOST_BYTES + sizeof(struct capture_record));
} tapped SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct capture_taps);
} taps SEC(".maps");

/* Readable once somebody has rung. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} bell SEC(".maps");

static __always_inline void wake(struct capture_taps *state)
{
	__u64 nothing = 0;

	if (!*(volatile __u32 *)&state->is_dozing)
		return;
	state->is_dozing = 0;
	/* Where it is full it has been rung. */
	bpf_ringbuf_output(&bell, &nothing, sizeof(nothing), BPF_RB_FORCE_WAKEUP);
}

/* Asked for once in a tick. */
static __always_inline __u64 tick_time(struct capture_taps *state)
{
	__u64 tick = bpf_jiffies64();

	if (tick != state->tick) {
		state->tick_ns = bpf_ktime_get_coarse_ns();
		state->tick = tick;
	}
	return state->tick_ns;
}

static __always_inline struct capture_record *record_at(__u8 *ring, __u64 at)
{
	return (struct capture_record *)(ring + (at & (constants.ring_bytes - 8)));
}

/* What it says of a packet whoever has put it there. */
static __always_inline void fill_record(struct capture_record *record, struct __sk_buff *skb, __u32 network, __u32 captured,
					__u64 monotonic_ns)
{
	record->monotonic_ns = monotonic_ns;
	record->bytes = skb->len - network;
	record->captured = captured;
	record->interface = skb->ifindex;
	record->ethertype = skb->protocol;
}

#endif
