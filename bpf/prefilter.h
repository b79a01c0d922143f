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

/* A longer head is not looked at; a power of two. */
#define MOST_HEAD 1024

/* As it lies in the packet, and nothing but zeros behind it up to the end of a word. */
union head {
	__u8 bytes[MOST_HEAD + 16];
	__u64 words[MOST_HEAD / 8 + 2];
};

/* What is read by one call may not lie on the stack. Who runs is not interrupted by another who does. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, union head);
} heads SEC(".maps");

/* In every second byte of a word. */
#define EACH(byte) ((byte) * 0x0001000100010001ull)

/* Which of these are zero: bit 8 of each. */
static __always_inline __u64 zeros(__u64 every_second)
{
	return ~(every_second + EACH(0xff)) & EACH(0x100);
}

/*
 * True where there may be an empty line in so many bytes. Of four bytes "\r\n\r\n" two at even places are equal and CR or LF, wherever
 * they begin, so every second byte is enough; doubt counts as an empty line.
 */
static __always_inline int has_empty_line(const union head *head, __u32 bytes)
{
	__u64 found = 0;
	__u64 last = 0;

	for (__u32 i = 0; i < MOST_HEAD / 8; i++) {
		__u64 word;

		if (8 * i >= bytes)
			break;
		word = head->words[i];
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
		word = __builtin_bswap64(word);
#endif
		word &= EACH(0xff);
		found |= zeros(word ^ (word << 16 | last)) & (zeros(word ^ EACH('\r')) | zeros(word ^ EACH('\n')));
		last = word >> 48;
	}
	return found != 0;
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
static __always_inline int method_of(const union head *head)
{
	const __u8 *at = head->bytes;

	if (at[0] == 'G' && at[1] == 'E' && at[2] == 'T' && at[3] == ' ' && at[4] == '/')
		return 3;
	if (at[0] == 'H' && at[1] == 'E' && at[2] == 'A' && at[3] == 'D' && at[4] == ' ' && at[5] == '/')
		return 4;
	return 0;
}

static __always_inline int is_wanted(const union head *head, int method, const struct capture_rule *rule)
{
	for (__u32 i = 0; i < CAPTURE_MAX_PREFIXES && i < rule->prefix_count; i++) {
		const struct capture_prefix *prefix = &rule->prefixes[i];
		__u64 differs = 0;

#pragma unroll
		for (int j = 0; j < CAPTURE_PREFIX_BYTES / 8; j++) {
			__u64 word = head->words[j];

			if (prefix->is_path)
				word = method == 3 ? word_behind(head->words, 3, j) : word_behind(head->words, 4, j);
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
	union head *head;
	__u32 zero = 0;
	__u32 count = bytes - 1;
	__u32 end = bytes - 4;
	int method;

	if (!rule || bytes < CAPTURE_PREFIX_BYTES + 4 || bytes > MOST_HEAD)
		return SEGMENT_DOUBTFUL;
	head = bpf_map_lookup_elem(&heads, &zero);
	if (!head)
		return SEGMENT_DOUBTFUL;
	/* What the verifier has to see: from 1 to all of it, and within. */
	asm volatile("" : "+r"(count), "+r"(end));
	count = (count & (MOST_HEAD - 1)) + 1;
	end &= MOST_HEAD - 1;
	if (bpf_skb_load_bytes(skb, from, head->bytes, count))
		return SEGMENT_DOUBTFUL;
	method = method_of(head);
	if (!method || *(const __u32 *)(head->bytes + end) != bpf_htonl(0x0d0a0d0a))
		return SEGMENT_DOUBTFUL;
	/* Of the empty line at its end nothing is to be found. */
	*(__u64 *)(head->bytes + end) = 0;
	*(__u64 *)(head->bytes + end + 8) = 0;
	if (has_empty_line(head, end))
		return SEGMENT_DOUBTFUL;
	return is_wanted(head, method, rule) ? SEGMENT_WANTED : SEGMENT_UNWANTED;
}

#endif
