/*
 * sk_lookup: new connections to a stolen port of the target's network namespace go to our listener. Established ones are
 * found before this runs, and addresses stay what they were: nothing is translated.
 *
 * Linux 5.9. Held by a link: when the process that holds it is gone, so is this, and connections go to the target again.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "redirect.h"

#define AF_INET 2

char program_license[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MIRRORD_REDIRECT_PORTS);
	__type(key, __u16);
	__type(value, __u8);
} stolen_ports SEC(".maps");

/* One listening socket for all ports: the accepted one bears the address that the peer meant. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} listener SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MIRRORD_REDIRECT_DIALS);
	__type(key, struct mirrord_dial);
	__type(value, __u8);
} own_dials SEC(".maps");

/* All fields are read before it is decided which count: two branches would share a load through a moved pointer, which
 * the verifier refuses. Those of the other family read as zero. */
static __always_inline void source_of(const volatile struct bpf_sk_lookup *lookup, struct mirrord_dial *source)
{
	__u32 *words = (__u32 *)source->address;
	__u32 v4 = lookup->remote_ip4;
	__u32 v6[4] = {lookup->remote_ip6[0], lookup->remote_ip6[1], lookup->remote_ip6[2], lookup->remote_ip6[3]};
	bool is_v4 = lookup->family == AF_INET;

	source->zero = 0;
	source->port = bpf_ntohs((__u16)lookup->remote_port);
	words[0] = v6[0];
	words[1] = v6[1];
	words[2] = is_v4 ? bpf_htonl(0xffff) : v6[2];
	words[3] = is_v4 ? v4 : v6[3];
}

SEC("sk_lookup")
int mirrord_steal(struct bpf_sk_lookup *lookup)
{
	__u16 port = (__u16)lookup->local_port;
	struct mirrord_dial source;
	struct bpf_sock *socket;
	__u32 zero = 0;

	if (lookup->protocol != IPPROTO_TCP || !bpf_map_lookup_elem(&stolen_ports, &port))
		return SK_PASS;
	source_of(lookup, &source);
	if (bpf_map_lookup_elem(&own_dials, &source))
		return SK_PASS;
	socket = bpf_map_lookup_elem(&listener, &zero);
	if (!socket)
		return SK_PASS;
	/* Refused for a listener of another family: then the target answers, as without us. */
	bpf_sk_assign(lookup, socket, 0);
	bpf_sk_release(socket);
	return SK_PASS;
}
