// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * What of a packet goes into the capture ring. As a socket filter it returns the number of bytes to keep, 0 for none, and runs
 * wherever eBPF socket filters do (Linux 5.8 for all that is used here); the socket is SOCK_DGRAM, a packet begins with its
 * network header. At the interfaces themselves (taps.h, Linux 6.6) it fills a ring of its own. Knows no kernel structure.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "capture.h"
#include "fragments.h"
#include "left-out.h"
#include "packet.h"
#include "prefilter.h"
#include "rates.h"

/* The loopback interface has this index in every network namespace. */
#define LOOPBACK 1

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CAPTURE_MAX_PORTS);
	__type(key, struct capture_port);
	__type(value, struct capture_rule);
} ports SEC(".maps");

/* Mapped into the loader's memory: one port is one byte written. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct capture_watched);
} watched SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct capture_settings);
} settings SEC(".maps");

/* Of these nobody wants a byte more; what does not fit pushes out the eldest, which then is captured in vain. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, CAPTURE_MAX_FLOWS);
	__type(key, struct capture_flow);
	__type(value, __u8);
} muted SEC(".maps");

/* Connections that a stealer passes on to the target: it was seen on its way to the stealer what they carry. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, CAPTURE_MAX_FLOWS);
	__type(key, struct capture_flow);
	__type(value, __u8);
} passed_on SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CAPTURE_SLOTS);
	__type(key, __u32);
	__type(value, struct capture_counters);
} counters SEC(".maps");

/* The same in services/sniffer/native/flow_key.cc: who takes part in a sample is the same for both. */
static __always_inline __u32 sample_of(const struct capture_flow *flow, __u32 seed)
{
	__u32 hash = seed ^ ((__u32)flow->peer_port << 16 | flow->local_port);
	const __u32 *words = (const __u32 *)flow->peer;

#pragma unroll
	for (int i = 0; i < 4; i++) {
		hash = (hash ^ words[i]) * 0x9e3779b1;
		hash ^= hash >> 15;
	}
	hash *= 0x85ebca6b;
	hash ^= hash >> 13;
	hash *= 0xc2b2ae35;
	hash ^= hash >> 16;
	return hash % CAPTURE_PER_MILLION;
}

/*
 * Where requests begin is known as long as every segment was one (judge_segment) and came behind the one before it. What was seen
 * before passes, and is nothing new.
 */
static __always_inline int judge_in_order(struct __sk_buff *skb, const struct packet *packet,
					  const struct capture_rule *rule, struct capture_flow_state *state)
{
	__u32 end = packet->sequence + packet->bytes;
	__u32 next = state->next;

	if ((__s32)(end - next) <= 0)
		return SEGMENT_WANTED;
	state->next = end;
	/* Perhaps what came first of it was sent again. */
	if (packet->sequence != next && state->flags & CAPTURE_FLOW_FROM_MIDDLE)
		state->flags |= CAPTURE_FLOW_DOUBTFUL;
	if (!(rule->flags & CAPTURE_PREFILTER) || state->verdict != CAPTURE_FLOW_UNDECIDED)
		return SEGMENT_WANTED;
	if (packet->sequence != next)
		return SEGMENT_DOUBTFUL;
	return judge_segment(skb, packet->network + packet->payload, packet->bytes, rule);
}

/* What the flow's own state says of a packet to the target; only rules with a limit come here. */
static __always_inline __u32 judge_flow(struct __sk_buff *skb, struct packet *packet, const struct capture_port *port,
					const struct capture_rule *rule, const struct capture_flow *flow,
					struct capture_counters *count, int is_tap)
{
	struct capture_flow_state *state = bpf_map_lookup_elem(&flows, flow);
	int is_tcp = packet->protocol == IPPROTO_TCP;
	int is_new = is_tcp ? (packet->flags & (SYN | ACK)) == SYN : !state;
	int judged;

	if (is_new || !state || state->generation != rule->generation) {
		struct capture_flow_state fresh = {};

		fresh.generation = rule->generation;
		fresh.next = packet->sequence + (packet->flags & SYN ? 1 : 0);
		if (!(packet->flags & SYN))
			fresh.flags = CAPTURE_FLOW_DOUBTFUL | CAPTURE_FLOW_FROM_MIDDLE;
		else if (state && state->left)
			fresh.flags = CAPTURE_FLOW_DOUBTFUL;
		/* TCP Fast Open: whether the target takes these bytes nobody knows. */
		if (packet->flags & SYN && packet->bytes)
			fresh.verdict = CAPTURE_FLOW_WANTED;
		if (is_new && (rule->flags & CAPTURE_RATE) && !has_tokens(port, rule)) {
			fresh.verdict = CAPTURE_FLOW_REFUSED;
			count->refused_connections++;
		}
		bpf_map_update_elem(&flows, flow, &fresh, BPF_ANY);
		state = bpf_map_lookup_elem(&flows, flow);
		if (!state) {
			packet->is_doubtful = 1;
			return WHOLE;
		}
	}
	if (state->verdict == CAPTURE_FLOW_REFUSED) {
		count->refused_bytes += packet->bytes;
		return NOTHING;
	}
	judged = is_tcp && packet->bytes ? judge_in_order(skb, packet, rule, state) : SEGMENT_WANTED;
	if (judged == SEGMENT_DOUBTFUL)
		state->verdict = CAPTURE_FLOW_WANTED;
	if (judged == SEGMENT_UNWANTED) {
		count->prefiltered_packets++;
		count->prefiltered_bytes += packet->bytes;
		if (is_tap && !(packet->flags & (FIN | RST)) &&
		    leave_out(state, packet->sequence, packet->sequence + packet->bytes))
			return NOTHING;
		packet->is_unwanted = 1;
	}
	/* Where a packet socket takes it there is no place to tell. */
	if (is_tap && is_tcp)
		tell_left_out(state, packet);
	if (judged == SEGMENT_UNWANTED)
		return packet->payload;
	if (packet->bytes == 0)
		return WHOLE;
	if (rule->flags & CAPTURE_RATE)
		take_tokens(port, packet->bytes);
	if (rule->connection_bytes && state->bytes >= rule->connection_bytes) {
		count->capped_bytes += packet->bytes;
		return packet->payload;
	}
	state->bytes += packet->bytes;
	return WHOLE;
}

/*
 * True for bytes of a connection whose copies are all over, until it begins a request: there it may be joined anew. A new
 * connection with the same addresses is another.
 */
static __always_inline int is_muted(struct __sk_buff *skb, const struct packet *packet)
{
	struct capture_flow flow = {};

	if (packet->protocol != IPPROTO_TCP || packet->flags & (FIN | RST))
		return 0;
	read_flow(skb, packet, 0, &flow);
	if (packet->flags & SYN) {
		bpf_map_delete_elem(&muted, &flow);
		return 0;
	}
	if (!bpf_map_lookup_elem(&muted, &flow))
		return 0;
	if (!may_begin_request(skb, packet))
		return 1;
	/* What follows belongs to it, whenever the capture gets to see that; what came before is forgotten. */
	bpf_map_delete_elem(&muted, &flow);
	bpf_map_delete_elem(&flows, &flow);
	return 0;
}

/* On loopback. A stealer's packets bear its mark, the target's answers to them do not. */
static __always_inline int is_passed_on(struct __sk_buff *skb, const struct packet *packet, int is_answer)
{
	int is_marked = skb->mark == CAPTURE_STEALER_MARK;
	struct capture_flow flow = {};
	__u8 yes = 1;

	if (packet->protocol != IPPROTO_TCP || (!is_answer && !is_marked && !(packet->flags & SYN)))
		return 0;
	if (is_marked && !(packet->flags & SYN))
		return 1;
	read_flow(skb, packet, is_answer, &flow);
	if (is_answer)
		return bpf_map_lookup_elem(&passed_on, &flow) != 0;
	/* A port of the stealer's may be anybody's later. */
	if (is_marked)
		bpf_map_update_elem(&passed_on, &flow, &yes, BPF_ANY);
	else
		bpf_map_delete_elem(&passed_on, &flow);
	return is_marked;
}

static __always_inline __u32 judge_request(struct __sk_buff *skb, struct packet *packet, __u8 watched,
					   const struct capture_settings *set, struct capture_counters *count,
					   int is_tap)
{
	struct capture_port port = {.port = packet->destination_port, .protocol = packet->protocol};
	struct capture_flow flow = {};
	struct capture_rule *rule;

	if (packet->protocol == IPPROTO_TCP && packet->bytes == 0 && !(packet->flags & (SYN | FIN | RST))) {
		count->bare_acknowledgements++;
		return NOTHING;
	}
	if (set->has_muted && is_muted(skb, packet)) {
		count->muted_bytes += packet->bytes;
		return NOTHING;
	}
	count->packets++;
	if (!(watched & CAPTURE_WATCHED_RULE))
		return WHOLE;
	rule = bpf_map_lookup_elem(&ports, &port);
	if (!rule)
		return WHOLE;
	read_flow(skb, packet, 0, &flow);
	if (rule->sample_per_million && sample_of(&flow, set->hash_seed) >= rule->sample_per_million) {
		count->not_sampled_packets++;
		if ((packet->flags & (SYN | ACK)) == SYN)
			count->not_sampled_connections++;
		return NOTHING;
	}
	return judge_flow(skb, packet, &port, rule, &flow, count, is_tap);
}

static __always_inline int is_sampled_out(struct __sk_buff *skb, const struct packet *packet, __u32 seed)
{
	struct capture_port port = {.port = packet->source_port, .protocol = packet->protocol};
	struct capture_rule *rule = bpf_map_lookup_elem(&ports, &port);
	struct capture_flow flow = {};

	if (!rule || !rule->sample_per_million)
		return 0;
	read_flow(skb, packet, 1, &flow);
	return sample_of(&flow, seed) >= rule->sample_per_million;
}

static __always_inline __u32 judge_answer(struct __sk_buff *skb, const struct packet *packet, __u8 watched,
					  const struct capture_settings *set)
{
	__u32 bytes = NOTHING;

	if (watched & CAPTURE_WATCHED_ANSWERS)
		bytes = WHOLE;
	else if (packet->protocol == IPPROTO_TCP && (packet->flags & (SYN | FIN | RST) || set->wants_acknowledgements))
		bytes = packet->payload;
	if (bytes != NOTHING && watched & CAPTURE_WATCHED_RULE && is_sampled_out(skb, packet, set->hash_seed))
		return NOTHING;
	return bytes;
}

static __always_inline __u32 judge_packet(struct __sk_buff *skb, struct packet *packet, int is_outgoing, int is_tap)
{
	struct capture_watched *all;
	struct capture_settings *set;
	struct capture_counters *count;
	const __u8 *by_port;
	__u32 kept;
	__u32 zero = 0;
	__u32 slot = 0;
	__u8 watched_as;
	int is_loopback = skb->ifindex == LOOPBACK;
	int is_request;
	int is_ours;

	/* Loopback shows each packet twice, on its way out and in; other interfaces only what is for us, and from us. */
	if (is_loopback && is_outgoing)
		return NOTHING;
	is_ours = packet->ethertype == bpf_htons(ETH_P_IP) ? read_plain(skb, packet, is_tap) : -1;
	if (is_ours < 0)
		is_ours = is_tap ? read_any(skb, packet) : read_packet(skb, packet);
	if (is_ours < 0)
		return NOTHING;
	all = bpf_map_lookup_elem(&watched, &zero);
	set = bpf_map_lookup_elem(&settings, &zero);
	if (!all || !set)
		return NOTHING;
	if (is_ours > 0) {
		count = bpf_map_lookup_elem(&counters, &slot);
		kept = is_outgoing || !count ? NOTHING : judge_fragment(skb, packet, all, set, count);
		/* Whose it is nobody knows yet. */
		if (kept != NOTHING)
			count->passed_packets++;
		return kept;
	}
	by_port = packet->protocol == IPPROTO_TCP ? all->tcp : all->udp;
	watched_as = by_port[packet->destination_port];
	is_request = !is_outgoing && watched_as && !(is_loopback && is_passed_on(skb, packet, 0));
	if (!is_request) {
		watched_as = by_port[packet->source_port];
		if (!watched_as || !(is_outgoing || is_loopback) || (is_loopback && is_passed_on(skb, packet, 1)))
			return NOTHING;
	}
	slot = watched_as >> CAPTURE_SLOT_SHIFT;
	count = bpf_map_lookup_elem(&counters, &slot);
	if (!count)
		return NOTHING;
	kept = is_request ? judge_request(skb, packet, watched_as, set, count, is_tap)
			  : judge_answer(skb, packet, watched_as, set);
	if (kept == NOTHING)
		return NOTHING;
	count->passed_packets++;
	if (is_request) {
		packet->counted_as = watched_as;
		count->passed_bytes += packet->bytes;
		if (packet->protocol == IPPROTO_TCP && (packet->flags & (SYN | ACK)) == SYN)
			count->passed_connections++;
	}
	return within_bulk(packet, kept, set, count);
}

/* Bytes to keep of a packet from where its network header is, or the first tag in front of that. */
static __always_inline __u32 judge(struct __sk_buff *skb, struct packet *packet, int is_outgoing, int is_tap)
{
	__u32 network = packet->network;
	__u32 kept;

	packet->ethertype = skb->protocol;
	if (is_tag(packet->ethertype))
		skip_tags(skb, packet, is_outgoing && network == 0);
	kept = judge_packet(skb, packet, is_outgoing, is_tap);
	return kept == NOTHING || kept == WHOLE ? kept : kept + packet->network - network;
}

SEC("socket")
int capture(struct __sk_buff *skb)
{
	struct packet packet = {};

	return judge(skb, &packet, skb->pkt_type == PACKET_OUTGOING, 0);
}

#include "taps.h"
