/*
 * Part of the capture in the kernel: the programs at the interfaces of the target's network (tcx, Linux 6.6), which copy what
 * is wanted into a ring buffer. A packet socket costs the target more: each packet that leaves is cloned before its filter is
 * asked. They are read only, and whatever else is attached goes on.
 */
#ifndef MIRRORD_BPF_TAPS_H
#define MIRRORD_BPF_TAPS_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_helpers.h>

#include "capture.h"
#include "packet.h"

/* TCX_NEXT: as if nobody had been here. */
#define GO_ON (-1)
#define ETHERNET_BYTES 14

/* Its size is the loader's to say. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 24);
} tapped SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct capture_taps);
} taps SEC(".maps");

/*
 * A record's size has to be known to the verifier: the packet is put into one of the next size. `most` is a power of two; a
 * packet of more than the largest is cut off, and told to be.
 */
#define PUT(most)                                                                                                     \
	do {                                                                                                          \
		struct capture_record *record = bpf_ringbuf_reserve(&tapped, sizeof(*record) + (most), 0);            \
		__u32 count = captured - 1;                                                                           \
                                                                                                                      \
		if (!record) {                                                                                        \
			__sync_fetch_and_add(&state->lost, 1);                                                        \
			return 0;                                                                                     \
		}                                                                                                     \
		asm volatile("" : "+r"(count));                                                                       \
		count = (count & ((most) - 1)) + 1;                                                                   \
		record->monotonic_ns = monotonic_ns;                                                                  \
		record->bytes = skb->len - network;                                                                   \
		record->captured = count;                                                                             \
		record->interface = skb->ifindex;                                                                     \
		record->ethertype = skb->protocol;                                                                    \
		record->is_outgoing = is_outgoing != 0;                                                               \
		record->has_valid_checksum = has_valid_checksum;                                                      \
		/* What was read before in there can be read again. */                                                \
		if (bpf_skb_load_bytes(skb, network, record + 1, count))                                              \
			record->captured = 0;                                                                         \
		bpf_ringbuf_submit(record, wake(state));                                                               \
	} while (0)

static __always_inline __u64 wake(struct capture_taps *state)
{
	if (!state->is_dozing)
		return BPF_RB_NO_WAKEUP;
	state->is_dozing = 0;
	return BPF_RB_FORCE_WAKEUP;
}

/* Global: the verifier looks at it once, not once for each way that leads here. */
__attribute__((noinline)) int put(struct __sk_buff *skb, __u32 network, __u32 captured, __u32 is_outgoing, __u64 monotonic_ns)
{
	__u32 zero = 0;
	struct capture_taps *state = bpf_map_lookup_elem(&taps, &zero);
	int has_valid_checksum = bpf_csum_level(skb, BPF_CSUM_LEVEL_QUERY) >= 0;

	if (!state)
		return 0;
	if (captured <= 128)
		PUT(128);
	else if (captured <= 256)
		PUT(256);
	else if (captured <= 512)
		PUT(512);
	else if (captured <= 1024)
		PUT(1024);
	else if (captured <= 2048)
		PUT(2048);
	else if (captured <= 4096)
		PUT(4096);
	else if (captured <= 8192)
		PUT(8192);
	else if (captured <= 16384)
		PUT(16384);
	else if (captured <= 32768)
		PUT(32768);
	else if (captured <= 65536)
		PUT(65536);
	else if (captured <= 131072)
		PUT(131072);
	else {
		captured = captured < 262144 ? captured : 262144;
		PUT(262144);
	}
	return 0;
}

/* Only of beginnings and ends exactly: a clock that is a tick late costs less. */
static __always_inline __u64 time_of(const struct packet *packet)
{
	return packet->flags & (SYN | FIN | RST) ? bpf_ktime_get_ns() : bpf_ktime_get_coarse_ns();
}

static __always_inline void tap(struct __sk_buff *skb, __u32 network, int is_outgoing)
{
	struct packet packet = {.network = network};
	__u32 kept = judge(skb, &packet, is_outgoing, 1);
	__u32 bytes = skb->len - network;
	__u32 captured = kept < bytes ? kept : bytes;

	if (captured != 0)
		put(skb, network, captured, is_outgoing, time_of(&packet));
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
