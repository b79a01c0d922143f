/*
 * Part of the filter in the kernel: fragments of packets that were too large for their way.
 */
#ifndef MIRRORD_BPF_FRAGMENTS_H
#define MIRRORD_BPF_FRAGMENTS_H

#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "capture.h"
#include "packet.h"

/* Datagrams whose first fragment was for a port that nobody watches, and when it came. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, CAPTURE_MAX_FRAGMENTED);
	__type(key, struct capture_fragmented);
	__type(value, __u64);
} foreign SEC(".maps");

/*
 * Fragments come in any order, and the first alone tells the port: until it is known to be nobody's, they pass. IPv6 may have
 * extension headers in there as well: whose those are is found out where all is together.
 */
static __always_inline __u32 judge_fragment(struct __sk_buff *skb, const struct packet *packet,
					    const struct capture_watched *all, const struct capture_settings *set,
					    struct capture_counters *count)
{
	struct capture_fragmented key = {.id = packet->fragment_id};
	const __u8 *by_port = packet->protocol == IPPROTO_TCP ? all->tcp : all->udp;
	__u32 watched = packet->protocol == IPPROTO_TCP	  ? CAPTURE_FRAGMENTS_TCP
			: packet->protocol == IPPROTO_UDP ? CAPTURE_FRAGMENTS_UDP
			: packet->is_v6			  ? CAPTURE_FRAGMENTS_TCP | CAPTURE_FRAGMENTS_UDP
							  : 0;
	__u64 now = bpf_ktime_get_ns();
	__u64 *since;
	__be16 ports[2];

	if (!(set->fragments & watched))
		return NOTHING;
	if (packet->is_v6) {
		LOAD(skb, packet, __builtin_offsetof(struct ipv6hdr, saddr), key.source, 16);
		LOAD(skb, packet, __builtin_offsetof(struct ipv6hdr, daddr), key.destination, 16);
	} else {
		LOAD(skb, packet, __builtin_offsetof(struct iphdr, saddr), key.source, 4);
		LOAD(skb, packet, __builtin_offsetof(struct iphdr, daddr), key.destination, 4);
		key.protocol = packet->protocol;
	}
	if (packet->fragment_offset == 0) {
		int is_known = packet->protocol == IPPROTO_TCP || packet->protocol == IPPROTO_UDP;

		if (is_known && LOAD(skb, packet, packet->header, ports, sizeof(ports)))
			return NOTHING;
		if (!is_known || by_port[bpf_ntohs(ports[1])]) {
			bpf_map_delete_elem(&foreign, &key);
			return WHOLE;
		}
		bpf_map_update_elem(&foreign, &key, &now, BPF_ANY);
		count->foreign_fragments++;
		return NOTHING;
	}
	since = bpf_map_lookup_elem(&foreign, &key);
	if (!since || now - *since > CAPTURE_FRAGMENTED_NS)
		return WHOLE;
	count->foreign_fragments++;
	return NOTHING;
}

#endif
