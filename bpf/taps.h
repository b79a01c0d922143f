/*
 * Part of the capture in the kernel: the programs at the interfaces of the target's network (tcx, Linux 6.6), which copy what
 * is wanted into a ring. A packet socket costs the target more: each packet that leaves is cloned before its filter is
 * asked. They are read only, and whatever else is attached goes on.
 */
#ifndef MIRRORD_BPF_TAPS_H
#define MIRRORD_BPF_TAPS_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_helpers.h>

#include "capture.h"
#include "left-out.h"
#include "packet.h"
#include "plain.h"
#include "records.h"
#include "repeats.h"

/* TCX_NEXT: as if nobody had been here. */
#define GO_ON (-1)
#define ETHERNET_BYTES 14

/* Of beginnings and ends exactly; else that of the tick. */
static __always_inline __u64 time_of(const struct packet *packet, struct capture_taps *state)
{
	return packet->flags & (SYN | FIN | RST) ? bpf_ktime_get_ns() : tick_time(state);
}

static __always_inline void lose(struct __sk_buff *skb, struct packet *packet, struct capture_taps *state)
{
	__u32 slot = packet->counted_as >> CAPTURE_SLOT_SHIFT;
	struct capture_counters *count;

	__sync_fetch_and_add(&state->lost, 1);
	if (packet->counted_as & CAPTURE_WATCHED_RULE && packet->protocol == IPPROTO_TCP)
		untell_left_out(skb, packet);
	if (!packet->counted_as || packet->protocol != IPPROTO_TCP || packet->bytes == 0 || packet->flags & SYN)
		return;
	count = bpf_map_lookup_elem(&counters, &slot);
	if (!count)
		return;
	count->passed_bytes -= (__u32)repeated_bytes(skb, packet);
	if (packet->is_unwanted) {
		count->prefiltered_packets--;
		count->prefiltered_bytes -= packet->bytes;
	}
}

static __always_inline void put(struct __sk_buff *skb, struct packet *packet, __u32 network, __u32 captured,
				int is_outgoing)
{
	__u32 zero = 0;
	struct capture_taps *state = bpf_map_lookup_elem(&taps, &zero);
	__u8 *ring = bpf_map_lookup_elem(&tapped, &zero);
	struct capture_record *record;
	__u64 at;
	__u32 count;
	__u32 size;
	__u8 flags;

	if (!state || !ring)
		return;
	if (captured > CAPTURE_MOST_BYTES)
		captured = CAPTURE_MOST_BYTES;
	size = ring_size_of(captured);
	at = ring_reserve(state, size, constants.ring_bytes);
	if (at == RING_HAS_NO_ROOM) {
		lose(skb, packet, state);
		return;
	}
	record = record_at(ring, at);
	fill_record(record, skb, network, captured, time_of(packet, state));
	record->left_from = packet->left_from;
	record->left_bytes = packet->left_bytes;
	flags = (is_outgoing ? CAPTURE_RECORD_OUTGOING : 0) | (packet->is_doubtful ? CAPTURE_RECORD_DOUBTFUL : 0);
	record->has_valid_checksum = bpf_csum_level(skb, BPF_CSUM_LEVEL_QUERY) >= 0;
	/* What the verifier has to see: from 1 to the most. */
	count = captured - 1;
	asm volatile("" : "+r"(count));
	count = (count & (CAPTURE_MOST_BYTES - 1)) + 1;
	/* What was read before in there can be read again. */
	if (bpf_skb_load_bytes(skb, network, record + 1, count))
		flags |= CAPTURE_RECORD_EMPTY;
	record->flags = flags;
	ring_commit(record, ring_seal(at, constants.ring_secret), constants.keeps_order);
	wake(state);
}

/* Nearly all that a target sends: of no use, and to be known at one look. */
static __always_inline int is_dull(struct __sk_buff *skb, __u32 network)
{
	const __u8 *at = (const __u8 *)(long)skb->data + network;
	const __u8 *end = (const __u8 *)(long)skb->data_end;
	const struct capture_settings *set;
	__u32 zero = 0;
	__u8 flags;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (at + sizeof(struct plain_headers) > end || at[0] != 0x45 || at[9] != IPPROTO_TCP ||
		    *(const __be16 *)(at + 6) & bpf_htons(IP_FRAGMENT))
			return 0;
		flags = at[sizeof(struct iphdr) + TCP_FLAGS];
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		if (at + sizeof(struct ipv6hdr) + sizeof(struct tcphdr) > end || at[6] != IPPROTO_TCP)
			return 0;
		flags = at[sizeof(struct ipv6hdr) + TCP_FLAGS];
	} else {
		return 0;
	}
	if (flags & (SYN | FIN | RST))
		return 0;
	set = bpf_map_lookup_elem(&settings, &zero);
	return set && set->wants_ends_alone;
}

static __always_inline void tap(struct __sk_buff *skb, __u32 network, int is_outgoing)
{
	struct packet packet = {.network = network};
	__u32 kept;
	__u32 bytes;
	__u32 captured;

	if (is_outgoing ? is_dull(skb, network) : put_plain(skb, network))
		return;
	kept = judge(skb, &packet, is_outgoing, 1);
	bytes = skb->len - network;
	captured = kept < bytes ? kept : bytes;
	if (captured != 0)
		put(skb, &packet, network, captured, is_outgoing);
}

SEC("tc")
int tap_in(struct __sk_buff *skb)
{
	tap(skb, ETHERNET_BYTES, 0);
	return GO_ON;
}

SEC("tc")
int tap_out(struct __sk_buff *skb)
{
	tap(skb, ETHERNET_BYTES, 1);
	return GO_ON;
}

/* Of interfaces whose packets have no header of a link: tunnels. */
SEC("tc")
int tap_in_bare(struct __sk_buff *skb)
{
	tap(skb, 0, 0);
	return GO_ON;
}

SEC("tc")
int tap_out_bare(struct __sk_buff *skb)
{
	tap(skb, 0, 1);
	return GO_ON;
}

#endif
