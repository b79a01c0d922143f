/*
 * Part of the filter in the kernel: what may be copied in a second, of new connections to a port and of bulk.
 */
#ifndef MIRRORD_BPF_RATES_H
#define MIRRORD_BPF_RATES_H

#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>

#include "capture.h"
#include "packet.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CAPTURE_MAX_PORTS);
	__type(key, struct capture_port);
	__type(value, struct capture_tokens);
} tokens SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct capture_tokens);
} bulk SEC(".maps");

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

/* Copying bulk costs the target a fifth of what receiving it does; nobody's way to a developer takes more than this. */
static __always_inline int has_bulk_tokens(const struct capture_settings *set, __u32 bytes)
{
	__u32 zero = 0;
	struct capture_tokens *found = bpf_map_lookup_elem(&bulk, &zero);
	__s64 most = set->bulk_bytes_per_second / CAPTURE_BULK_BURSTS_PER_SECOND;
	__u64 now = bpf_ktime_get_ns();
	__u64 passed;

	if (!found)
		return 1;
	passed = (now - found->at_ns) >> 20; /* about milliseconds */
	if (passed > 0) {
		__s64 left = most;

		/* More than a second: full. It also keeps the product small. */
		if (passed < 1024)
			left = found->bytes + (__s64)(set->bulk_bytes_per_second * passed >> 10);
		found->at_ns = now;
		found->bytes = left > most ? most : left;
	}
	if (found->bytes <= 0)
		return 0;
	__sync_fetch_and_add(&found->bytes, -(__s64)bytes);
	return 1;
}

static __always_inline __u32 within_bulk(const struct packet *packet, __u32 kept, const struct capture_settings *set,
					 struct capture_counters *count)
{
	if (kept != WHOLE || packet->bytes < CAPTURE_BULK_BYTES || packet->protocol != IPPROTO_TCP ||
	    !set->bulk_bytes_per_second || has_bulk_tokens(set, packet->bytes))
		return kept;
	count->bulk_bytes += packet->bytes;
	return packet->payload;
}

#endif
