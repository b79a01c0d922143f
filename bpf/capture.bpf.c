// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Socket filter of the capture ring: what of a packet goes into it. Returns the number of bytes to keep, 0 for none. Knows
 * no kernel structure, so that it runs wherever eBPF socket filters do (Linux 5.8 for all that is used here). The socket is
 * SOCK_DGRAM: a packet begins with its network header.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "capture.h"
#include "prefilter.h"

#define WHOLE 0xffffffff
#define NOTHING 0
/* The loopback interface has this index in every network namespace. */
#define LOOPBACK 1
#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define ACK 0x10
#define MAX_EXTENSIONS 6

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CAPTURE_MAX_PORTS);
	__type(key, struct capture_port);
	__type(value, struct capture_rule);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct capture_settings);
} settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, CAPTURE_MAX_FLOWS);
	__type(key, struct capture_flow);
	__type(value, struct capture_flow_state);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CAPTURE_MAX_PORTS);
	__type(key, struct capture_port);
	__type(value, struct capture_tokens);
} tokens SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct capture_counters);
} counters SEC(".maps");

static __always_inline struct capture_counters *counted(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&counters, &zero);
}

/* 0, or -1 for what is not TCP or UDP, or 1 for a fragment. */
static __always_inline int read_network(struct __sk_buff *skb, struct packet *packet, __u32 *total)
{
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr ip;

		if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)))
			return -1;
		packet->protocol = ip.protocol;
		packet->header = ip.ihl * 4;
		*total = bpf_ntohs(ip.tot_len);
		__builtin_memcpy(packet->source, &ip.saddr, 4);
		__builtin_memcpy(packet->destination, &ip.daddr, 4);
		return ip.frag_off & bpf_htons(0x1fff) ? 1 : 0;
	}
	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr ip;
		__u8 next;

		if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)))
			return -1;
		next = ip.nexthdr;
		packet->header = sizeof(ip);
		*total = sizeof(ip) + bpf_ntohs(ip.payload_len);
		__builtin_memcpy(packet->source, &ip.saddr, 16);
		__builtin_memcpy(packet->destination, &ip.daddr, 16);
#pragma unroll
		for (int i = 0; i < MAX_EXTENSIONS; i++) {
			__u8 extension[2];

			if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS)
				break;
			if (bpf_skb_load_bytes(skb, packet->header, extension, 2))
				return -1;
			next = extension[0];
			packet->header += (extension[1] + 1) * 8;
		}
		packet->protocol = next;
		return next == IPPROTO_FRAGMENT ? 1 : 0;
	}
	return -1;
}

static __always_inline int read_packet(struct __sk_buff *skb, struct packet *packet)
{
	__u32 total = 0;
	__u16 both[2];
	__u8 tcp[2];
	int is_fragment = read_network(skb, packet, &total);

	if (is_fragment)
		return is_fragment;
	/* A super-packet beyond 64 KiB has no length of its own. */
	if (total == 0 || total == sizeof(struct ipv6hdr))
		total = skb->len;
	if (packet->protocol != IPPROTO_TCP && packet->protocol != IPPROTO_UDP)
		return -1;
	if (bpf_skb_load_bytes(skb, packet->header, both, sizeof(both)))
		return -1;
	packet->source_port = bpf_ntohs(both[0]);
	packet->destination_port = bpf_ntohs(both[1]);
	packet->payload = packet->header + 8;
	if (packet->protocol == IPPROTO_TCP) {
		if (bpf_skb_load_bytes(skb, packet->header + 12, tcp, sizeof(tcp)))
			return -1;
		packet->payload = packet->header + (tcp[0] >> 4) * 4;
		packet->flags = tcp[1];
	}
	packet->bytes = total > packet->payload ? total - packet->payload : 0;
	return 0;
}

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

static __always_inline int has_tokens(const struct capture_port *port, const struct capture_rule *rule)
{
	__u64 now = bpf_ktime_get_ns();
	struct capture_tokens *found = bpf_map_lookup_elem(&tokens, port);
	__u64 passed;
	__s64 most = rule->bytes_per_second;

	if (!found) {
		struct capture_tokens full = {.bytes = most, .at_ns = now};

		bpf_map_update_elem(&tokens, port, &full, BPF_NOEXIST);
		return 1;
	}
	passed = (now - found->at_ns) >> 20; /* about milliseconds */
	if (passed > 0) {
		__s64 bytes = found->bytes + (__s64)(rule->bytes_per_second * passed >> 10);

		found->at_ns = now;
		found->bytes = bytes > most ? most : bytes;
	}
	return found->bytes > 0;
}

static __always_inline void take_tokens(const struct capture_port *port, __u32 bytes)
{
	struct capture_tokens *found = bpf_map_lookup_elem(&tokens, port);

	if (found)
		__sync_fetch_and_add(&found->bytes, -(__s64)bytes);
}

/* What the flow's own state says of a packet to the target; only rules with a limit come here. */
static __always_inline __u32 judge_flow(struct __sk_buff *skb, const struct packet *packet,
					const struct capture_port *port, const struct capture_rule *rule,
					const struct capture_flow *flow, struct capture_counters *count)
{
	struct capture_flow_state *state = bpf_map_lookup_elem(&flows, flow);
	int is_new = packet->protocol == IPPROTO_TCP ? (packet->flags & (SYN | ACK)) == SYN : !state;

	if (is_new || !state) {
		struct capture_flow_state fresh = {};

		if (is_new && (rule->flags & CAPTURE_RATE) && !has_tokens(port, rule)) {
			fresh.verdict = CAPTURE_FLOW_REFUSED;
			count->refused_connections++;
		}
		bpf_map_update_elem(&flows, flow, &fresh, BPF_ANY);
		state = bpf_map_lookup_elem(&flows, flow);
		if (!state)
			return WHOLE;
	}
	if (state->verdict == CAPTURE_FLOW_REFUSED) {
		count->refused_bytes += packet->bytes;
		return NOTHING;
	}
	if (packet->bytes == 0)
		return WHOLE;
	if (rule->flags & CAPTURE_PREFILTER && state->verdict == CAPTURE_FLOW_UNDECIDED &&
	    packet->protocol == IPPROTO_TCP) {
		switch (judge_segment(skb, packet, rule)) {
		case SEGMENT_UNWANTED:
			count->prefiltered_packets++;
			count->prefiltered_bytes += packet->bytes;
			return packet->payload;
		case SEGMENT_DOUBTFUL:
			state->verdict = CAPTURE_FLOW_WANTED;
		}
	}
	if (rule->flags & CAPTURE_RATE)
		take_tokens(port, packet->bytes);
	if (rule->connection_bytes && state->bytes >= rule->connection_bytes) {
		count->capped_bytes += packet->bytes;
		return packet->payload;
	}
	state->bytes += packet->bytes;
	return WHOLE;
}

static __always_inline __u32 judge_request(struct __sk_buff *skb, const struct packet *packet,
					   const struct capture_port *port, const struct capture_rule *rule,
					   const struct capture_settings *set, struct capture_counters *count)
{
	struct capture_flow flow = {
		.local_port = packet->destination_port,
		.peer_port = packet->source_port,
		.protocol = packet->protocol,
	};

	if (packet->protocol == IPPROTO_TCP && packet->bytes == 0 && !(packet->flags & (SYN | FIN | RST))) {
		count->bare_acknowledgements++;
		return NOTHING;
	}
	count->packets++;
	if (!rule->sample_per_million && !rule->connection_bytes && !(rule->flags & (CAPTURE_RATE | CAPTURE_PREFILTER)))
		return WHOLE;
	__builtin_memcpy(flow.local, packet->destination, 16);
	__builtin_memcpy(flow.peer, packet->source, 16);
	if (rule->sample_per_million && sample_of(&flow, set->hash_seed) >= rule->sample_per_million) {
		count->not_sampled_packets++;
		if ((packet->flags & (SYN | ACK)) == SYN)
			count->not_sampled_connections++;
		return NOTHING;
	}
	return judge_flow(skb, packet, port, rule, &flow, count);
}

static __always_inline __u32 judge_answer(const struct packet *packet, const struct capture_rule *rule,
					  const struct capture_settings *set)
{
	int is_sampled_out = 0;

	if (rule->sample_per_million) {
		struct capture_flow flow = {.local_port = packet->source_port, .peer_port = packet->destination_port};

		__builtin_memcpy(flow.peer, packet->destination, 16);
		is_sampled_out = sample_of(&flow, set->hash_seed) >= rule->sample_per_million;
	}
	if (is_sampled_out)
		return NOTHING;
	if (rule->flags & CAPTURE_ANSWERS)
		return WHOLE;
	if (packet->protocol != IPPROTO_TCP)
		return NOTHING;
	if (packet->flags & (SYN | FIN | RST) || set->wants_acknowledgements)
		return packet->payload;
	return NOTHING;
}

SEC("socket")
int capture(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct capture_port port = {};
	struct capture_rule *rule;
	struct capture_settings *set;
	struct capture_counters *count = counted();
	__u32 zero = 0;
	int is_ours = read_packet(skb, &packet);

	set = bpf_map_lookup_elem(&settings, &zero);
	if (is_ours < 0 || !count || !set)
		return NOTHING;
	if (is_ours > 0) {
		count->fragments++;
		return NOTHING;
	}
	/* Loopback shows each packet twice, on its way out and in; other interfaces only what is for us, and from us. */
	if (skb->ifindex == LOOPBACK && skb->pkt_type == PACKET_OUTGOING)
		return NOTHING;
	port.protocol = packet.protocol;
	if (skb->pkt_type != PACKET_OUTGOING) {
		port.port = packet.destination_port;
		rule = bpf_map_lookup_elem(&ports, &port);
		if (rule)
			return judge_request(skb, &packet, &port, rule, set, count);
	}
	if (skb->pkt_type == PACKET_OUTGOING || skb->ifindex == LOOPBACK) {
		port.port = packet.source_port;
		rule = bpf_map_lookup_elem(&ports, &port);
		if (rule)
			return judge_answer(&packet, rule, set);
	}
	return NOTHING;
}
