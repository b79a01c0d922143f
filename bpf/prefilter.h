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

/* A longer head is not looked at. */
#define MOST_HEAD 1024
/* Words that are looked at at once, and how far the next ones begin behind: what an empty line is lies in one of both. */
#define HEAD_WORDS 7
#define HEAD_STEP (8 * HEAD_WORDS - 4)
/* The same where all of a head is in its first and its last words. */
#define SHORT_WORDS_OF_HEAD 4
#define MOST_SHORT_HEAD (16 * SHORT_WORDS_OF_HEAD)

union head_chunk {
	__u8 bytes[8 * HEAD_WORDS + 8];
	__u64 words[HEAD_WORDS + 1];
};

/* In every second byte of a word. */
#define EACH(byte) ((byte) * 0x0001000100010001ull)

/* Which of these are zero: bit 8 of each. */
static __always_inline __u64 zeros(__u64 every_second)
{
	return ~(every_second + EACH(0xff)) & EACH(0x100);
}

/*
 * True where there may be an empty line in so many words. Of four bytes "\r\n\r\n" two at even places are equal and CR or LF, wherever
 * they begin, so every second byte is enough; doubt counts as an empty line.
 */
static __always_inline int has_empty_line(const union head_chunk *chunk, int words)
{
	__u64 found = 0;
	__u64 last = 0;

#pragma unroll
	for (int i = 0; i < words; i++) {
		__u64 bytes = chunk->words[i];

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
		bytes = __builtin_bswap64(bytes);
#endif
		bytes &= EACH(0xff);
		found |= zeros(bytes ^ (bytes << 16 | last)) & (zeros(bytes ^ EACH('\r')) | zeros(bytes ^ EACH('\n')));
		last = bytes >> 48;
	}
	return found != 0;
}

/* The end of a head: an empty line, and none in the words before it. */
static __always_inline int is_end_of_head(struct __sk_buff *skb, __u32 end, union head_chunk *chunk, int words)
{
	__u32 bytes = 8 * words + 4;

	return !bpf_skb_load_bytes(skb, end - bytes, chunk, bytes) &&
	       *(__u32 *)&chunk->words[words] == bpf_htonl(0x0d0a0d0a) && !has_empty_line(chunk, words);
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

/* Four words from one of the first bytes of them on. */
static __always_inline __u64 word_behind(const __u64 *from, int bytes, int i)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	return from[i] << (8 * bytes) | from[i + 1] >> (64 - 8 * bytes);
#else
	return from[i] >> (8 * bytes) | from[i + 1] << (64 - 8 * bytes);
#endif
}

/* How many bytes are in front of the space before a path; 0 for another method, or a whole URL. */
static __always_inline int method_of(const union head_chunk *line)
{
	const __u8 *at = line->bytes;

	if (at[0] == 'G' && at[1] == 'E' && at[2] == 'T' && at[3] == ' ' && at[4] == '/')
		return 3;
	if (at[0] == 'H' && at[1] == 'E' && at[2] == 'A' && at[3] == 'D' && at[4] == ' ' && at[5] == '/')
		return 4;
	return 0;
}

static __always_inline int is_wanted(const union head_chunk *line, int method, const struct capture_rule *rule)
{
	for (__u32 i = 0; i < CAPTURE_MAX_PREFIXES && i < rule->prefix_count; i++) {
		const struct capture_prefix *prefix = &rule->prefixes[i];
		__u64 differs = 0;

#pragma unroll
		for (int j = 0; j < CAPTURE_PREFIX_BYTES / 8; j++) {
			__u64 word = line->words[j];

			if (prefix->is_path)
				word = method == 3 ? word_behind(line->words, 3, j) : word_behind(line->words, 4, j);
			differs |= (word ^ prefix->words[j]) & prefix->masks[j];
		}
		if (!differs)
			return 1;
	}
	return 0;
}

/*
 * What a segment of so many bytes is when it is exactly one request, whole and without a body: then the next one begins behind it, and each is
 * judged for itself. Global, as read_any.
 */
__attribute__((noinline)) int judge_segment(struct __sk_buff *skb, __u32 from, __u32 bytes, const struct capture_rule *rule)
{
	union head_chunk chunk;
	int judged = SEGMENT_UNWANTED;
	__u32 end = from + bytes;
	int method;

	if (!rule || bytes < CAPTURE_PREFIX_BYTES + 4 || bytes > MOST_HEAD)
		return SEGMENT_DOUBTFUL;
	chunk.words[SHORT_WORDS_OF_HEAD] = 0;
	if (bpf_skb_load_bytes(skb, from, &chunk, CAPTURE_PREFIX_BYTES + 4))
		return SEGMENT_DOUBTFUL;
	method = method_of(&chunk);
	if (!method)
		return SEGMENT_DOUBTFUL;
	if (is_wanted(&chunk, method, rule))
		judged = SEGMENT_WANTED;
	if (has_empty_line(&chunk, SHORT_WORDS_OF_HEAD))
		return SEGMENT_DOUBTFUL;
	if (bytes <= MOST_SHORT_HEAD)
		return is_end_of_head(skb, end, &chunk, SHORT_WORDS_OF_HEAD) ? judged : SEGMENT_DOUBTFUL;
	from += 8 * SHORT_WORDS_OF_HEAD - 4;
	for (int i = 0; i < MOST_HEAD / HEAD_STEP + 1; i++) {
		if (end - from <= 8 * HEAD_WORDS + 4)
			return is_end_of_head(skb, end, &chunk, HEAD_WORDS) ? judged : SEGMENT_DOUBTFUL;
		if (bpf_skb_load_bytes(skb, from, &chunk, 8 * HEAD_WORDS) || has_empty_line(&chunk, HEAD_WORDS))
			return SEGMENT_DOUBTFUL;
		from += HEAD_STEP;
	}
	return SEGMENT_DOUBTFUL;
}

#endif
