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
#include "packet.h"

#define HEAD_CHUNK 64
/* A longer head is not looked at. */
#define HEAD_CHUNKS 16

/*
 * True unless there may be an empty line before the last four bytes. Of four bytes "\r\n\r\n" two at even places are equal
 * and CR or LF, wherever they begin, so every second byte is enough; doubt counts as an empty line.
 */
__attribute__((noinline)) int is_one_head(struct __sk_buff *skb, __u32 from, __u32 bytes)
{
	__u8 before = 0;

	for (__u32 i = 0; i < HEAD_CHUNKS; i++) {
		__u8 chunk[HEAD_CHUNK] = {};
		__u32 at = i * HEAD_CHUNK;
		__u32 count = bytes - at;

		if (at >= bytes)
			return 1;
		if (count > HEAD_CHUNK)
			count = HEAD_CHUNK;
		if (count == 0 || bpf_skb_load_bytes(skb, from + at, chunk, count))
			return 0;
		for (__u32 j = 0; j < HEAD_CHUNK; j += 2) {
			if (chunk[j] == before && (before == '\r' || before == '\n'))
				return 0;
			before = chunk[j];
		}
	}
	return 0;
}

#define FOUR(a, b, c, d) bpf_htonl((__u32)(a) << 24 | (b) << 16 | (c) << 8 | (d))

/* The methods of services/sniffer/native/tracker.cc, and HTTP/2; their first four bytes are enough here. */
static __always_inline int may_begin_request(struct __sk_buff *skb, const struct packet *packet)
{
	__u32 word = 0;

	if (packet->bytes < 4 || LOAD(skb, packet, packet->payload, &word, 4))
		return 0;
	switch (word) {
	case FOUR('G', 'E', 'T', ' '):
	case FOUR('P', 'O', 'S', 'T'):
	case FOUR('P', 'U', 'T', ' '):
	case FOUR('H', 'E', 'A', 'D'):
	case FOUR('D', 'E', 'L', 'E'):
	case FOUR('P', 'A', 'T', 'C'):
	case FOUR('O', 'P', 'T', 'I'):
	case FOUR('T', 'R', 'A', 'C'):
	case FOUR('C', 'O', 'N', 'N'):
	case FOUR('P', 'R', 'I', ' '):
		return 1;
	}
	return 0;
}

enum {
	/* Not one whole request, or nobody knows: from here on everything. */
	SEGMENT_DOUBTFUL,
	SEGMENT_WANTED,
	SEGMENT_UNWANTED,
};

/*
 * What a segment is when it is exactly one request, whole and without a body: then the next one begins behind it, and each is
 * judged for itself.
 */
static __always_inline int judge_segment(struct __sk_buff *skb, const struct packet *packet,
					 const struct capture_rule *rule)
{
	union {
		__u8 bytes[CAPTURE_PREFIX_BYTES];
		__u64 words[CAPTURE_PREFIX_BYTES / 8];
	} line, path;
	__u32 method;
	__u32 tail = 0;

	if (packet->bytes < CAPTURE_PREFIX_BYTES + 4 || LOAD(skb, packet, packet->payload, &line, sizeof(line)))
		return SEGMENT_DOUBTFUL;
	if (line.bytes[0] == 'G' && line.bytes[1] == 'E' && line.bytes[2] == 'T' && line.bytes[3] == ' ')
		method = 3;
	else if (line.bytes[0] == 'H' && line.bytes[1] == 'E' && line.bytes[2] == 'A' && line.bytes[3] == 'D' &&
		 line.bytes[4] == ' ')
		method = 4;
	else
		return SEGMENT_DOUBTFUL;
	/* A request line may hold a whole URL. */
	if (LOAD(skb, packet, packet->payload + method, &path, sizeof(path)) || path.bytes[1] != '/')
		return SEGMENT_DOUBTFUL;
	if (LOAD(skb, packet, packet->payload + packet->bytes - 4, &tail, 4) || tail != bpf_htonl(0x0d0a0d0a))
		return SEGMENT_DOUBTFUL;
	if (!is_one_head(skb, packet->network + packet->payload, packet->bytes - 4))
		return SEGMENT_DOUBTFUL;
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
			return SEGMENT_WANTED;
	}
	return SEGMENT_UNWANTED;
}

#endif
