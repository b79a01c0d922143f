/*
 * Part of the filter in the kernel: the headers of a packet, which begins with its network header. What costs every packet of
 * the target is here: helper calls are counted.
 */
#ifndef MIRRORD_BPF_PACKET_H
#define MIRRORD_BPF_PACKET_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "capture.h"

#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define ACK 0x10
#define MAX_EXTENSIONS 6
/* Of VLANs, behind the one that the kernel has taken off. */
#define MAX_INNER_TAGS 2
#define TAG_BYTES 4
/* A power of two above an Ethernet header with those tags. */
#define MOST_IN_FRONT 32

/* What the filter answers: bytes to keep. */
#define WHOLE 0xffffffff
#define NOTHING 0

/* Other addresses than those of plain packets are read where somebody asks for them: few are asked for more than their ports. */
struct packet {
	__u32 network; /* offset of the network header, from which on the others count */
	__be16 ethertype;
	__u16 source_port;
	__u16 destination_port;
	__u8 protocol;
	__u8 flags;
	__u8 is_v6;
	__u8 has_addresses;
	__u8 counted_as; /* of a packet to a watched port: its byte in capture_watched */
	__u8 is_unwanted; /* its headers alone go into the ring */
	__u8 is_doubtful; /* as the next two: what its record tells beside it (left-out.h) */
	__u32 left_from;
	__u32 left_bytes;
	__u32 sequence;
	__be32 source; /* of IPv4, as the next */
	__be32 destination;
	__u32 header;  /* offset of the transport header, or of what a fragment holds */
	__u32 payload; /* offset of the payload */
	__u32 bytes;   /* of payload */
	__u32 fragment_id;
	__u32 fragment_offset;
};

#define LOAD(skb, packet, at, to, bytes) bpf_skb_load_bytes(skb, (packet)->network + (at), to, bytes)

/* Nearly every packet of a connection over IPv4: both headers in one go. */
struct plain_headers {
	struct iphdr ip;
	struct tcphdr tcp;
} __attribute__((packed));

/* More fragments, or an offset. */
#define IP_FRAGMENT 0x3fff
#define IP_OFFSET 0x1fff
#define IPV6_MORE 1

struct fragment_header {
	__u8 next;
	__u8 reserved;
	__be16 place;
	__be32 id;
};

#define TCP_SEQUENCE 4
#define TCP_DATA_OFFSET 12
#define TCP_FLAGS 13

static __always_inline int is_tag(__be16 ethertype)
{
	return ethertype == bpf_htons(ETH_P_8021Q) || ethertype == bpf_htons(ETH_P_8021AD);
}

/* Either family's header may have the length that is a tag's type: then it is as long as the packet. */
static __always_inline int is_header(struct __sk_buff *skb, const struct packet *packet, const __u8 *begin)
{
	__u32 bytes = skb->len - packet->network;

	if (begin[0] >> 4 == 4)
		return begin[4] >> 4 != 4 || (__u32)(begin[2] << 8 | begin[3]) == bytes;
	return begin[0] >> 4 == 6 && begin[4] >> 4 != 6;
}

/*
 * Behind tags that are in the packet is its network header. Of what goes out a packet socket may have cut them off, though the kernel
 * says that they are there.
 */
static __always_inline void skip_tags(struct __sk_buff *skb, struct packet *packet, int may_be_cut)
{
	__u8 begin[6];

#pragma unroll
	for (int i = 0; i < MAX_INNER_TAGS; i++) {
		if (!is_tag(packet->ethertype) || LOAD(skb, packet, 0, begin, sizeof(begin)))
			return;
		if (may_be_cut && is_header(skb, packet, begin)) {
			packet->ethertype = begin[0] >> 4 == 6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
			return;
		}
		packet->ethertype = bpf_htons(begin[2] << 8 | begin[3]);
		packet->network += TAG_BYTES;
	}
}

/* At an interface a packet lies open: to read it there costs nothing that can be measured, two calls cost 1 % of a small request. */
static __always_inline int load_plain(struct __sk_buff *skb, const struct packet *packet, struct plain_headers *headers,
				      int is_tap)
{
	if (is_tap) {
		__u32 network = packet->network;
		const __u8 *at;

		/* It is 22 at most, which the verifier has to see. */
		asm volatile("" : "+r"(network));
		at = (const __u8 *)(long)skb->data + (network & (MOST_IN_FRONT - 1));
		/* Not in one piece: as any other packet. */
		if (at + sizeof(*headers) > (const __u8 *)(long)skb->data_end)
			return -1;
		__builtin_memcpy(headers, at, sizeof(*headers));
		return 0;
	}
	return LOAD(skb, packet, 0, headers, sizeof(*headers));
}

static __always_inline int read_plain(struct __sk_buff *skb, struct packet *packet, int is_tap)
{
	struct plain_headers headers;
	const __u8 *tcp = (const __u8 *)&headers.tcp;
	__u32 total;

	if (load_plain(skb, packet, &headers, is_tap))
		return -1;
	if (headers.ip.ihl != 5 || headers.ip.protocol != IPPROTO_TCP || headers.ip.frag_off & bpf_htons(IP_FRAGMENT))
		return -1;
	total = headers.ip.tot_len ? bpf_ntohs(headers.ip.tot_len) : skb->len - packet->network;
	packet->protocol = IPPROTO_TCP;
	packet->has_addresses = 1;
	packet->source = headers.ip.saddr;
	packet->destination = headers.ip.daddr;
	packet->header = sizeof(headers.ip);
	packet->source_port = bpf_ntohs(headers.tcp.source);
	packet->destination_port = bpf_ntohs(headers.tcp.dest);
	packet->payload = packet->header + (tcp[TCP_DATA_OFFSET] >> 4) * 4;
	packet->flags = tcp[TCP_FLAGS];
	packet->sequence = bpf_ntohl(headers.tcp.seq);
	packet->bytes = total > packet->payload ? total - packet->payload : 0;
	return 0;
}

/* 0, or -1 for what is not TCP or UDP, or 1 for a fragment, the first included. */
static __always_inline int read_network(struct __sk_buff *skb, struct packet *packet, __u32 *total)
{
	if (packet->ethertype == bpf_htons(ETH_P_IP)) {
		struct iphdr ip;

		if (LOAD(skb, packet, 0, &ip, sizeof(ip)))
			return -1;
		packet->protocol = ip.protocol;
		packet->header = ip.ihl * 4;
		*total = bpf_ntohs(ip.tot_len);
		packet->fragment_id = ip.id;
		packet->fragment_offset = (bpf_ntohs(ip.frag_off) & IP_OFFSET) * 8;
		return ip.frag_off & bpf_htons(IP_FRAGMENT) ? 1 : 0;
	}
	if (packet->ethertype == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr ip;
		__u8 next;

		if (LOAD(skb, packet, 0, &ip, sizeof(ip)))
			return -1;
		next = ip.nexthdr;
		packet->is_v6 = 1;
		packet->header = sizeof(ip);
		*total = sizeof(ip) + bpf_ntohs(ip.payload_len);
#pragma unroll
		for (int i = 0; i < MAX_EXTENSIONS; i++) {
			__u8 extension[2];

			if (next == IPPROTO_FRAGMENT) {
				struct fragment_header fragment;

				if (LOAD(skb, packet, packet->header, &fragment, sizeof(fragment)))
					return -1;
				next = fragment.next;
				packet->header += sizeof(fragment);
				packet->fragment_id = fragment.id;
				packet->fragment_offset = bpf_ntohs(fragment.place) & ~7u;
				if (packet->fragment_offset || bpf_ntohs(fragment.place) & IPV6_MORE) {
					packet->protocol = next;
					return 1;
				}
				continue;
			}
			if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS && next != IPPROTO_AH)
				break;
			if (LOAD(skb, packet, packet->header, extension, 2))
				return -1;
			packet->header += next == IPPROTO_AH ? (extension[1] + 2) * 4 : (extension[1] + 1) * 8;
			next = extension[0];
		}
		packet->protocol = next;
		return 0;
	}
	return -1;
}

static __always_inline int read_packet(struct __sk_buff *skb, struct packet *packet)
{
	__u32 total = 0;
	__u8 transport[14];
	int is_fragment = read_network(skb, packet, &total);

	if (is_fragment)
		return is_fragment;
	/* A super-packet beyond 64 KiB has no length of its own. */
	if (total == 0 || total == sizeof(struct ipv6hdr))
		total = skb->len - packet->network;
	if (packet->protocol == IPPROTO_TCP) {
		if (LOAD(skb, packet, packet->header, transport, sizeof(transport)))
			return -1;
		packet->payload = packet->header + (transport[TCP_DATA_OFFSET] >> 4) * 4;
		packet->flags = transport[TCP_FLAGS];
		packet->sequence = (__u32)transport[4] << 24 | transport[5] << 16 | transport[6] << 8 | transport[7];
	} else if (packet->protocol == IPPROTO_UDP) {
		if (LOAD(skb, packet, packet->header, transport, 4))
			return -1;
		packet->payload = packet->header + 8;
	} else {
		return -1;
	}
	packet->source_port = transport[0] << 8 | transport[1];
	packet->destination_port = transport[2] << 8 | transport[3];
	packet->bytes = total > packet->payload ? total - packet->payload : 0;
	return 0;
}

/* The same, global: the verifier looks at it once and forgets which way led out of it. Linux 5.13, where taps are. */
__attribute__((noinline)) int read_any(struct __sk_buff *skb, struct packet *packet)
{
	return packet ? read_packet(skb, packet) : -1;
}

/* Whose packet it is, seen from the target. The headers have been read before: this does not fail. */
static __always_inline void read_flow(struct __sk_buff *skb, const struct packet *packet, int is_answer,
				      struct capture_flow *flow)
{
	__u8 *source = is_answer ? flow->local : flow->peer;
	__u8 *destination = is_answer ? flow->peer : flow->local;

	if (packet->has_addresses) {
		__builtin_memcpy(source, &packet->source, 4);
		__builtin_memcpy(destination, &packet->destination, 4);
	} else if (packet->is_v6) {
		LOAD(skb, packet, __builtin_offsetof(struct ipv6hdr, saddr), source, 16);
		LOAD(skb, packet, __builtin_offsetof(struct ipv6hdr, daddr), destination, 16);
	} else {
		LOAD(skb, packet, __builtin_offsetof(struct iphdr, saddr), source, 4);
		LOAD(skb, packet, __builtin_offsetof(struct iphdr, daddr), destination, 4);
	}
	flow->local_port = is_answer ? packet->source_port : packet->destination_port;
	flow->peer_port = is_answer ? packet->destination_port : packet->source_port;
	flow->protocol = packet->protocol;
}

#endif
