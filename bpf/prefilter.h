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

union head_chunk {
	__u8 bytes[HEAD_CHUNK];
	__u64 words[HEAD_CHUNK / 8];
};

/* In every second byte of a word. */
#define EACH(byte) ((byte) * 0x0001000100010001ull)

/* Which of these are zero: bit 8 of each. */
static __always_inline __u64 zeros(__u64 every_second)
{
	return ~(every_second + EACH(0xff)) & EACH(0x100);
}

/*
 * True where there may be an empty line. Of four bytes "\r\n\r\n" two at even places are equal and CR or LF, wherever they
 * begin, so every second byte is enough; doubt counts as an empty line. `before`: the last of those of the chunk before.
 */
static __always_inline int has_empty_line(const union head_chunk *chunk, __u64 *before)
{
	__u64 found = 0;
	__u64 last = *before;

	/* As a loop it needs less of the stack. */
#pragma clang loop unroll(disable)
	for (int i = 0; i < HEAD_CHUNK / 8; i++) {
		__u64 bytes = chunk->words[i];

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
		bytes = __builtin_bswap64(bytes);
#endif
		bytes &= EACH(0xff);
		found |= zeros(bytes ^ (bytes << 16 | last)) & (zeros(bytes ^ EACH('\r')) | zeros(bytes ^ EACH('\n')));
		last = bytes >> 48;
	}
	*before = last;
	return found != 0;
}

/* True for what holds no empty line behind the first chunk, whose last byte but one is `before`. */
__attribute__((noinline)) int is_one_head(struct __sk_buff *skb, __u32 from, __u32 bytes, __u64 before)
{
	for (__u32 i = 1; i < HEAD_CHUNKS; i++) {
		union head_chunk chunk = {};
		__u32 at = i * HEAD_CHUNK;
		__u32 count = bytes - at;

		if (at >= bytes)
			return 1;
		if (count > HEAD_CHUNK)
			count = HEAD_CHUNK;
		if (count == 0 || bpf_skb_load_bytes(skb, from + at, &chunk, count))
			return 0;
		if (has_empty_line(&chunk, &before))
			return 0;
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

/* So many words behind the first bytes of them, of which there is one more. */
static __always_inline void skip_bytes(const __u64 *from, int bytes, __u64 *to)
{
#pragma unroll
	for (int i = 0; i < CAPTURE_PREFIX_BYTES / 8; i++) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
		to[i] = from[i] << (8 * bytes) | from[i + 1] >> (64 - 8 * bytes);
#else
		to[i] = from[i] >> (8 * bytes) | from[i + 1] << (64 - 8 * bytes);
#endif
	}
}

/*
 * What a segment is when it is exactly one request, whole and without a body: then the next one begins behind it, and each is
 * judged for itself.
 */
static __attribute__((noinline)) int judge_segment(struct __sk_buff *skb, const struct packet *packet,
					 const struct capture_rule *rule)
{
	union head_chunk line = {};
	__u64 path[CAPTURE_PREFIX_BYTES / 8];
	__u64 before = 0;
	__u32 tail = 0;
	__u32 bytes = packet->bytes - sizeof(tail); /* but for the empty line at its end */
	__u32 count = bytes < HEAD_CHUNK ? bytes : HEAD_CHUNK;

	if (packet->bytes < CAPTURE_PREFIX_BYTES + sizeof(tail))
		return SEGMENT_DOUBTFUL;
	/* What the verifier has to see: from 1 to all of it. */
	count--;
	asm volatile("" : "+r"(count));
	count = (count & (HEAD_CHUNK - 1)) + 1;
	if (LOAD(skb, packet, packet->payload, &line, count))
		return SEGMENT_DOUBTFUL;
	/* A request line may hold a whole URL. */
	if (line.bytes[0] == 'G' && line.bytes[1] == 'E' && line.bytes[2] == 'T' && line.bytes[3] == ' ' &&
	    line.bytes[4] == '/')
		skip_bytes(line.words, 3, path);
	else if (line.bytes[0] == 'H' && line.bytes[1] == 'E' && line.bytes[2] == 'A' && line.bytes[3] == 'D' &&
		 line.bytes[4] == ' ' && line.bytes[5] == '/')
		skip_bytes(line.words, 4, path);
	else
		return SEGMENT_DOUBTFUL;
	if (LOAD(skb, packet, packet->payload + bytes, &tail, sizeof(tail)) || tail != bpf_htonl(0x0d0a0d0a))
		return SEGMENT_DOUBTFUL;
	if (has_empty_line(&line, &before))
		return SEGMENT_DOUBTFUL;
	if (bytes > HEAD_CHUNK && !is_one_head(skb, packet->network + packet->payload, bytes, before))
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
			in_path |= (path[j] ^ prefix->words[j]) & prefix->masks[j];
		}
		if ((prefix->is_path ? in_path : in_line) == 0)
			return SEGMENT_WANTED;
	}
	return SEGMENT_UNWANTED;
}

#endif
