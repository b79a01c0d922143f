/*
 * Part of the capture in the kernel: of a request that nobody wants nothing goes into the ring. What is left out of a connection
 * is remembered as a range of its sequence numbers, which grows while packets follow each other, and is told by the
 * connection's next record, whatever that is about. What cannot be remembered so goes into the ring with its headers.
 */
#ifndef MIRRORD_BPF_LEFT_OUT_H
#define MIRRORD_BPF_LEFT_OUT_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "capture.h"
#include "packet.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, CAPTURE_MAX_FLOWS);
	__type(key, struct capture_flow);
	__type(value, struct capture_flow_state);
} flows SEC(".maps");

/* False where it does not follow what is left out already, or somebody else was quicker. */
static __always_inline int leave_out(struct capture_flow_state *state, __u32 from, __u32 to)
{
	__u64 left = *(volatile __u64 *)&state->left;
	__u32 begin = left ? left >> 32 : from;

	if (state->flags & CAPTURE_FLOW_LOST || (left && (__u32)left != from) || to - begin > CAPTURE_MOST_LEFT_OUT)
		return 0;
	return __sync_val_compare_and_swap(&state->left, left, (__u64)begin << 32 | to) == left;
}

/* The packet goes into the ring. */
static __always_inline void tell_left_out(struct capture_flow_state *state, struct packet *packet)
{
	__u64 left;

	if (state->flags & (CAPTURE_FLOW_DOUBTFUL | CAPTURE_FLOW_LOST)) {
		packet->is_doubtful = (state->flags & CAPTURE_FLOW_DOUBTFUL) != 0;
		state->flags &= CAPTURE_FLOW_FROM_MIDDLE;
	}
	if (!*(volatile __u64 *)&state->left)
		return;
	left = __sync_lock_test_and_set(&state->left, 0);
	packet->left_from = left >> 32;
	packet->left_bytes = (__u32)left - packet->left_from;
}

/* The ring had no room for it: the next one has to tell. Global, as read_any; away from the way of nearly all. */
__attribute__((noinline)) int untell_left_out(struct __sk_buff *skb, struct packet *packet)
{
	struct capture_flow_state *state;
	struct capture_flow flow = {};
	__u8 flags = CAPTURE_FLOW_LOST;
	__u64 left;

	if (!packet)
		return 0;
	read_flow(skb, packet, 0, &flow);
	state = bpf_map_lookup_elem(&flows, &flow);
	if (!state)
		return 0;
	left = (__u64)packet->left_from << 32 | (__u32)(packet->left_from + packet->left_bytes);
	/* Where more is left out by now there is no place for both. */
	if (packet->is_doubtful || (packet->left_bytes && __sync_val_compare_and_swap(&state->left, 0, left)))
		flags |= CAPTURE_FLOW_DOUBTFUL;
	state->flags |= flags;
	return 0;
}

#endif
