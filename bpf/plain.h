/*
 * Part of the capture in the kernel: what nearly every packet to a watched port is, some bytes of a connection over IPv4, and the
 * port has no rule, or of one with a prefilter a request that nobody wants. That is seen from the headers where they lie; each call less is one part in a thousand of a small request.
 * Whatever else it may be is judged as any packet.
 */
#ifndef MIRRORD_BPF_PLAIN_H
#define MIRRORD_BPF_PLAIN_H

#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "capture.h"
#include "left-out.h"
#include "packet.h"
#include "prefilter.h"
#include "records.h"

/* Less than that with its headers; a power of two. */
#define PLAIN_BYTES 2048
/* Of headers without options, and with the timestamps that nearly all connections have. */
#define SHORT_WORDS (sizeof(struct plain_headers) / 8)
#define TIMES_BYTES 12

#define TCP_PORT_TO 2
#define TCP_CHECKSUM 16

/* The same as in the map of ports, for those that have a slot of their own: found without a call. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * CAPTURE_SLOTS);
	__type(key, __u32);
	__type(value, struct capture_rule);
} rules SEC(".maps");

/* By slot, which of its two is in force: the other one can be written while packets come. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CAPTURE_SLOTS);
	__type(key, __u32);
	__type(value, __u32);
} rule_places SEC(".maps");

/* What it holds where sender or card have still to make it: the sum of the pseudo header (RFC 9293 section 3.1). */
static __always_inline int is_unfinished(const __u8 *ip, __u32 bytes)
{
	__u64 sum = (__u64)*(const __be32 *)(ip + 12) + *(const __be32 *)(ip + 16) + bpf_htons(IPPROTO_TCP) + bpf_htons(bytes);

	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return *(const __u16 *)(ip + sizeof(struct iphdr) + TCP_CHECKSUM) == (__u16)sum;
}

/* Bytes in front of the payload are in one piece where the payload may not be: the call has less to look for. 0 or an error. */
static __always_inline int copy_plain(struct __sk_buff *skb, const __u8 *ip, __u32 network, __u8 *to)
{
	__u32 done = sizeof(struct plain_headers);
	__u32 rest;

#pragma unroll
	for (unsigned i = 0; i < SHORT_WORDS; i++)
		((__u64 *)to)[i] = ((const __u64 *)ip)[i];
	if (ip + done + TIMES_BYTES <= (const __u8 *)(long)skb->data_end) {
		*(__u64 *)(to + done) = *(const __u64 *)(ip + done);
		*(__u32 *)(to + done + 8) = *(const __u32 *)(ip + done + 8);
		done += TIMES_BYTES;
	}
	rest = skb->len - network - done;
	if (rest == 0)
		return 0;
	/* What the verifier has to see: from 1 to the most. */
	rest--;
	asm volatile("" : "+r"(rest));
	rest = (rest & (PLAIN_BYTES - 1)) + 1;
	return bpf_skb_load_bytes(skb, network + done, to + done, rest);
}

/* Null for the one that ports share. */
static __always_inline const struct capture_rule *rule_of_slot(__u32 slot)
{
	__u32 *place = slot ? bpf_map_lookup_elem(&rule_places, &slot) : 0;

	return place ? bpf_map_lookup_elem(&rules, place) : 0;
}

/*
 * Of a port with a prefilter or a sample that is what nearly every packet is: one request more that nobody wants. For any other one this
 * changes nothing.
 */
static __always_inline int leave_out_plain(struct __sk_buff *skb, const __u8 *ip, __u32 from, __u32 bytes, __u32 slot,
					   __u32 seed, struct capture_counters *count)
{
	const __u8 *tcp = ip + sizeof(struct iphdr);
	__u32 sequence = bpf_ntohl(*(const __be32 *)(tcp + TCP_SEQUENCE));
	struct capture_flow flow = {.protocol = IPPROTO_TCP};
	const struct capture_rule *rule = rule_of_slot(slot);
	struct capture_flow_state *state;

	if (!rule)
		return 0;
	flow.local_port = bpf_ntohs(*(const __be16 *)(tcp + TCP_PORT_TO));
	flow.peer_port = bpf_ntohs(*(const __be16 *)tcp);
	__builtin_memcpy(flow.peer, ip + 12, 4);
	__builtin_memcpy(flow.local, ip + 16, 4);
	if (rule->sample_per_million && sample_of(&flow, seed) >= rule->sample_per_million) {
		count->packets++;
		count->not_sampled_packets++;
		return 1;
	}
	if (!(rule->flags & CAPTURE_PREFILTER))
		return 0;
	state = bpf_map_lookup_elem(&flows, &flow);
	if (!state || state->generation != rule->generation || state->verdict != CAPTURE_FLOW_UNDECIDED ||
	    state->next != sequence)
		return 0;
	if (judge_segment(skb, from, bytes, rule) != SEGMENT_UNWANTED || !leave_out(state, sequence, sequence + bytes))
		return 0;
	state->next = sequence + bytes;
	count->packets++;
	count->prefiltered_packets++;
	count->prefiltered_bytes += bytes;
	return 1;
}

/* False for a packet that has to be judged. */
static __always_inline int put_plain(struct __sk_buff *skb, __u32 network)
{
	const __u8 *ip = (const __u8 *)(long)skb->data + network;
	const __u8 *tcp = ip + sizeof(struct iphdr);
	const struct capture_settings *set;
	const struct capture_watched *all;
	struct capture_counters *count;
	struct capture_record *record;
	struct capture_taps *state;
	__u32 captured = skb->len - network;
	__u32 zero = 0;
	__u32 header;
	__u32 total;
	__u32 slot;
	__u8 watched_as;
	__u8 *ring;
	__u64 at;

	if (skb->protocol != bpf_htons(ETH_P_IP) || skb->ifindex == LOOPBACK ||
	    ip + sizeof(struct plain_headers) > (const __u8 *)(long)skb->data_end)
		return 0;
	if (ip[0] != 0x45 || ip[9] != IPPROTO_TCP || *(const __be16 *)(ip + 6) & bpf_htons(IP_FRAGMENT))
		return 0;
	all = bpf_map_lookup_elem(&watched, &zero);
	set = bpf_map_lookup_elem(&settings, &zero);
	state = bpf_map_lookup_elem(&taps, &zero);
	ring = bpf_map_lookup_elem(&tapped, &zero);
	if (!all || !set || !state || !ring)
		return 0;
	watched_as = all->tcp[bpf_ntohs(*(const __be16 *)(tcp + TCP_PORT_TO))];
	if (watched_as == 0)
		return 1;
	total = bpf_ntohs(*(const __be16 *)(ip + 2));
	header = sizeof(struct iphdr) + (tcp[TCP_DATA_OFFSET] >> 4) * 4;
	if (tcp[TCP_FLAGS] & (SYN | FIN | RST) || set->has_muted || total <= header || total - header >= CAPTURE_BULK_BYTES ||
	    captured >= PLAIN_BYTES)
		return 0;
	slot = watched_as >> CAPTURE_SLOT_SHIFT;
	count = bpf_map_lookup_elem(&counters, &slot);
	if (!count)
		return 0;
	if (watched_as & CAPTURE_WATCHED_RULE)
		return leave_out_plain(skb, ip, network + header, total - header, slot, set->hash_seed, count);
	at = ring_reserve(state, ring_size_of(captured), constants.ring_bytes);
	if (at == RING_HAS_NO_ROOM)
		return 0;
	count->packets++;
	count->passed_packets++;
	count->passed_bytes += total - header;
	record = record_at(ring, at);
	fill_record(record, skb, network, captured, tick_time(state));
	record->left_bytes = 0;
	record->has_valid_checksum = is_unfinished(ip, total - sizeof(struct iphdr)) ||
				     bpf_csum_level(skb, BPF_CSUM_LEVEL_QUERY) >= 0;
	record->flags = copy_plain(skb, ip, network, (__u8 *)(record + 1)) ? CAPTURE_RECORD_EMPTY : 0;
	ring_commit(record, ring_seal(at, constants.ring_secret), constants.keeps_order);
	wake(state);
	return 1;
}

#endif
