/*
 * Part of the filter in the kernel: whether a segment can hold a request that somebody wants. May say yes too often, never
 * no too often: who filters by the whole request comes after.
 */
#ifndef MIRRORD_BPF_PREFILTER_H
#define MIRRORD_BPF_PREFILTER_H

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "capture.h"

#define HEAD_CHUNK 64
/* A longer head is not looked at. */
#define HEAD_CHUNKS 16

struct packet {
	__u8 source[16];
	__u8 destination[16];
	__u16 source_port;
	__u16 destination_port;
	__u8 protocol;
	__u8 flags;
	__u32 header;  /* offset of the transport header */
	__u32 payload; /* offset of the payload */
	__u32 bytes;   /* of payload */
};

/*
 * True unless there may be an empty line before the last four bytes. Of four bytes "\r\n\r\n" two at even places are equal
 * and CR or LF, wherever they begin, so every second byte is enough; doubt counts as an empty line.
 */
__attribute__((noinline)) int is_one_head(struct __sk_buff *skb, __u32 from, __u32 bytes)
{
	__u8 chunk[HEAD_CHUNK];
	__u8 before = 0;

	for (__u32 i = 0; i < HEAD_CHUNKS; i++) {
		__u32 left = bytes - i * HEAD_CHUNK;
		__u32 end = i * HEAD_CHUNK >= bytes ? 0 : left > HEAD_CHUNK ? HEAD_CHUNK : left;

		if (end == 0)
			return 1;
		if (end < HEAD_CHUNK)
			from -= HEAD_CHUNK - end; /* the last chunk overlaps the one before */
		if (bpf_skb_load_bytes(skb, from + i * HEAD_CHUNK, chunk, HEAD_CHUNK))
			return 0;
		if (end < HEAD_CHUNK)
			before = 0;
		for (__u32 j = 0; j < HEAD_CHUNK; j += 2) {
			if (chunk[j] == before && (before == '\r' || before == '\n'))
				return 0;
			before = chunk[j];
		}
	}
	return 0;
}

/*
 * True when the payload is exactly one request, whole and without a body, that has none of the prefixes. Whatever could be
 * more, or the beginning of something, is wanted.
 */
static __always_inline int is_unwanted(struct __sk_buff *skb, const struct packet *packet,
				       const struct capture_rule *rule)
{
	union {
		__u8 bytes[CAPTURE_PREFIX_BYTES];
		__u64 words[CAPTURE_PREFIX_BYTES / 8];
	} line, path;
	__u32 tail = 0;

	if (packet->bytes < HEAD_CHUNK + 4 || bpf_skb_load_bytes(skb, packet->payload, &line, sizeof(line)))
		return 0;
	if (line.bytes[0] == 'G' && line.bytes[1] == 'E' && line.bytes[2] == 'T' && line.bytes[3] == ' ') {
		if (bpf_skb_load_bytes(skb, packet->payload + 3, &path, sizeof(path)))
			return 0;
	} else if (line.bytes[0] == 'H' && line.bytes[1] == 'E' && line.bytes[2] == 'A' && line.bytes[3] == 'D' &&
		   line.bytes[4] == ' ') {
		if (bpf_skb_load_bytes(skb, packet->payload + 4, &path, sizeof(path)))
			return 0;
	} else {
		return 0;
	}
	/* A request line may hold a whole URL. */
	if (path.bytes[1] != '/')
		return 0;
	if (bpf_skb_load_bytes(skb, packet->payload + packet->bytes - 4, &tail, 4) || tail != bpf_htonl(0x0d0a0d0a))
		return 0;
	for (__u32 i = 0; i < CAPTURE_MAX_PREFIXES; i++) {
		const struct capture_prefix *prefix = &rule->prefixes[i];
		__u64 in_line = 0;
		__u64 in_path = 0;

		if (i >= rule->prefix_count)
			break;
#pragma unroll
		for (int j = 0; j < CAPTURE_PREFIX_BYTES / 8; j++) {
			in_line |= (line.words[j] ^ prefix->words[j]) & prefix->masks[j];
			in_path |= (path.words[j] ^ prefix->words[j]) & prefix->masks[j];
		}
		if ((prefix->is_path ? in_path : in_line) == 0)
			return 0;
	}
	return is_one_head(skb, packet->payload, packet->bytes - 4);
}

#endif
