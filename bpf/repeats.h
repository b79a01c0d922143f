/*
 * Part of the capture in the kernel: of a packet that found the ring full, the bytes that the target has had before are no loss.
 * Only the target's own socket knows of them; it is asked for nothing else. One that it has just closed, or that is behind a
 * redirect, is not found: then what was sent again counts again.
 */
#ifndef MIRRORD_BPF_REPEATS_H
#define MIRRORD_BPF_REPEATS_H

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "capture.h"
#include "packet.h"

static __always_inline struct bpf_sock *socket_of(struct __sk_buff *skb, const struct packet *packet)
{
	struct bpf_sock_tuple tuple = {};
	struct capture_flow flow = {};

	read_flow(skb, packet, 0, &flow);
	if (packet->is_v6) {
		__builtin_memcpy(tuple.ipv6.saddr, flow.peer, 16);
		__builtin_memcpy(tuple.ipv6.daddr, flow.local, 16);
		tuple.ipv6.sport = bpf_htons(packet->source_port);
		tuple.ipv6.dport = bpf_htons(packet->destination_port);
		return bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	}
	__builtin_memcpy(&tuple.ipv4.saddr, flow.peer, 4);
	__builtin_memcpy(&tuple.ipv4.daddr, flow.local, 4);
	tuple.ipv4.sport = bpf_htons(packet->source_port);
	tuple.ipv4.dport = bpf_htons(packet->destination_port);
	return bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
}

/* Global, as read_any. Of a packet to the target; it is TCP and has a payload. */
__attribute__((noinline)) int repeated_bytes(struct __sk_buff *skb, struct packet *packet)
{
	struct bpf_tcp_sock *tcp;
	struct bpf_sock *sock;
	__s32 repeated = 0;
	__be32 sequence;

	if (!packet || LOAD(skb, packet, packet->header + TCP_SEQUENCE, &sequence, sizeof(sequence)))
		return 0;
	sock = socket_of(skb, packet);
	if (!sock)
		return 0;
	tcp = sock->state == BPF_TCP_LISTEN ? 0 : bpf_tcp_sock(sock);
	if (tcp)
		repeated = tcp->rcv_nxt - bpf_ntohl(sequence);
	bpf_sk_release(sock);
	if (repeated <= 0)
		return 0;
	return (__u32)repeated < packet->bytes ? repeated : packet->bytes;
}

#endif
