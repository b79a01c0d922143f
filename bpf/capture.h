/*
 * What the capture filter in the kernel and its loader (services/sniffer/native/kernel_filter.cc) have in common: the layout
 * of the maps. Both are built from this file; there is no other description.
 */
#ifndef MIRRORD_BPF_CAPTURE_H
#define MIRRORD_BPF_CAPTURE_H

#include <linux/types.h>

#define CAPTURE_MAX_PORTS 1024
#define CAPTURE_MAX_FLOWS 65536
/* Of a stealer's own connections to the target: services/stealer/native/stealer.h. */
#define CAPTURE_STEALER_MARK 0x306d
#define CAPTURE_MAX_PREFIXES 16
#define CAPTURE_PREFIX_BYTES 32
#define CAPTURE_PER_MILLION 1000000

struct capture_port {
	__u16 port;
	__u8 protocol; /* IPPROTO_TCP or IPPROTO_UDP */
	__u8 reserved;
};

/* What every packet is held against first, by port; the whole rule is only looked up where it says more than this. */
enum {
	CAPTURE_WATCHED = 1,
	/* What the target answers is wanted in full. */
	CAPTURE_WATCHED_ANSWERS = 2,
	/* The rule has a sample, a limit or a prefilter. */
	CAPTURE_WATCHED_RULE = 4,
	/* Above the flags: which counters are the port's. */
	CAPTURE_SLOT_SHIFT = 3,
};

/* The first one counts for all ports that find no other free, and what belongs to no port. */
#define CAPTURE_SLOTS 32

struct capture_watched {
	__u8 tcp[65536];
	__u8 udp[65536];
};

enum {
	CAPTURE_ANSWERS = 1, /* as CAPTURE_WATCHED_ANSWERS */
	/* New connections only while there are tokens left. */
	CAPTURE_RATE = 2,
	/* Segments that hold nothing but a request without a wanted prefix are left out (left-out.h), or come without their payload. */
	CAPTURE_PREFILTER = 4,
	/* It was so before: of some connections something is left out that is not told yet. */
	CAPTURE_TELLS_LEFT = 8,
};

/* Of the request line: "GET /orders", or " /orders" (is_path) for any method. Compared under the mask. */
struct capture_prefix {
	__u64 words[CAPTURE_PREFIX_BYTES / 8];
	__u64 masks[CAPTURE_PREFIX_BYTES / 8];
	__u64 is_path;
};

struct capture_rule {
	__u32 flags;
	/* Connections out of a million, 0: all. */
	__u32 sample_per_million;
	/* Payload bytes of one connection, 0: all; what comes later comes without its payload. */
	__u64 connection_bytes;
	/* Tokens per second of CAPTURE_RATE. */
	__u64 bytes_per_second;
	__u32 prefix_count;
	/* Of the watch: what is remembered of connections under another is nothing any more. */
	__u32 generation;
	struct capture_prefix prefixes[CAPTURE_MAX_PREFIXES];
};

struct capture_settings {
	/* Headers of what the target sends are wanted: somewhere a byte is missing, and its acknowledgement tells why. */
	__u32 wants_acknowledgements;
	__u32 hash_seed;
	/* There are flows in the map of those that nobody wants any more. */
	__u32 has_muted;
	/* CAPTURE_FRAGMENTS_…: of which protocols a port is watched. Only first fragments tell their port. */
	__u32 fragments;
	/* Of what the target sends only beginnings and ends are wanted, of all ports. */
	__u32 wants_ends_alone;
	__u32 padding;
	/* Of bulk, of all ports together; what is beyond comes without its payload. 0: all. */
	__u64 bulk_bytes_per_second;
};

enum {
	CAPTURE_FRAGMENTS_TCP = 1,
	CAPTURE_FRAGMENTS_UDP = 2,
};

#define CAPTURE_MAX_FRAGMENTED 1024
/* Numbers of datagrams come again. */
#define CAPTURE_FRAGMENTED_NS 1000000000ull

/* A datagram in fragments. */
struct capture_fragmented {
	__u8 source[16];
	__u8 destination[16];
	__u32 id;
	__u32 protocol; /* 0 for IPv6 */
};

/* A packet with so much in it is bulk. More than a request that the prefilter looks at: which of both left out the payload can be
 * told from its size. */
#define CAPTURE_BULK_BYTES 1100
/* Bulk may come at once for half a second. */
#define CAPTURE_BULK_BURSTS_PER_SECOND 2

/* Addresses as they are in the packet, IPv4 in the first four bytes. */
struct capture_flow {
	__u8 local[16];
	__u8 peer[16];
	__u16 local_port;
	__u16 peer_port;
	__u32 protocol;
};

enum {
	CAPTURE_FLOW_UNDECIDED = 0,
	/* It may hold a wanted request anywhere: everything from here on. */
	CAPTURE_FLOW_WANTED = 1,
	/* It came when there were no tokens: nothing. */
	CAPTURE_FLOW_REFUSED = 2,
};

enum {
	/* What is missing in front of its next record may have been left out and forgotten. */
	CAPTURE_FLOW_DOUBTFUL = 1,
	/* Its beginning was not seen, or was forgotten. */
	CAPTURE_FLOW_FROM_MIDDLE = 4,
	/* The ring had no room for its last packet: the next one goes there, so that the hole is found. */
	CAPTURE_FLOW_LOST = 2,
};

struct capture_flow_state {
	/* Sequence numbers, from the upper half up to the lower: left out and not told yet. 0: nothing. */
	__u64 left;
	__u64 bytes;
	__u32 next; /* the sequence number behind all that was seen */
	__u32 generation;
	__u8 verdict;
	__u8 flags;
	__u16 reserved;
	__u32 padding;
};

struct capture_tokens {
	__s64 bytes;
	__u64 at_ns;
};

/*
 * Per slot and CPU; one number for every way in which a packet to or from a watched port is not delivered whole. What has
 * passed and is not found in the ring was lost there.
 */
struct capture_counters {
	__u64 passed_packets;	   /* into the ring, or to be lost there */
	__u64 passed_connections;  /* their first packets */
	__u64 passed_bytes;	   /* payload of those to the port, whether it came with them or not; less repeats.h */
	__u64 packets;		   /* to a watched port, with something in them */
	__u64 bare_acknowledgements;
	__u64 not_sampled_connections;
	__u64 not_sampled_packets;
	__u64 refused_connections; /* no tokens */
	__u64 refused_bytes;
	__u64 prefiltered_packets; /* less those whose headers were lost in the ring */
	__u64 prefiltered_bytes;
	__u64 capped_bytes;	   /* beyond connection_bytes */
	__u64 muted_bytes;	   /* of connections that nobody wants any more */
	__u64 bulk_bytes;	   /* beyond bulk_bytes_per_second */
	__u64 foreign_fragments;   /* of ports that nobody watches */
};

/* Nothing longer is in the ring; what is cut off is told. */
#define CAPTURE_MOST_BYTES 262144
/* The verifier's limit of what an offset may be (BPF_MAX_VAR_OFF). */
#define CAPTURE_MOST_RING_BYTES (1u << 29)

/* A record tells no more than this to be left out, and is there before it is more. */
#define CAPTURE_MOST_LEFT_OUT (1u << 28)

enum {
	CAPTURE_RECORD_OUTGOING = 1,
	/* The packet's bytes could not be read: there are none. */
	CAPTURE_RECORD_EMPTY = 2,
	/* As CAPTURE_FLOW_DOUBTFUL. */
	CAPTURE_RECORD_DOUBTFUL = 4,
};

/* In front of each packet in the ring that the taps fill (shared-ring.h); a multiple of 8 bytes. */
struct capture_record {
	__u64 seal;
	__u64 monotonic_ns; /* CLOCK_MONOTONIC; but of SYN, FIN and RST up to a tick late */
	__u32 bytes;  /* of the packet, from its network header on */
	__u32 captured; /* what there is room for; what is unused behind it makes the record a multiple of 8 */
	__u32 interface;
	/* Of the packet's connection, since its last record: sequence numbers that nobody wants. */
	__u32 left_from;
	__u32 left_bytes;
	__be16 ethertype;
	__u8 flags; /* CAPTURE_RECORD_… */
	__u8 has_valid_checksum; /* somebody has looked */
};

/* Known before the programs are verified. */
struct capture_constants {
	__u64 ring_bytes; /* a power of two; the memory has CAPTURE_MOST_BYTES and a record more */
	__u64 ring_secret;
	__u32 keeps_order; /* this kind of processor shows stores in their order */
	__u32 reserved;
};

/* Mapped into the capture's memory. */
struct capture_taps {
	__u64 lost; /* packets that found the ring full */
	/* The next record's position. */
	__u64 reserved;
	/* The time, asked for once in a tick. */
	__u64 tick;
	__u64 tick_ns;
	/* The capture waits to be woken, by the next packet; otherwise it looks from time to time. */
	__u32 is_dozing;
	__u32 padding;
	/* The capture's, and in a cache line of its own: up to where there is room again. */
	__u64 consumed __attribute__((aligned(128)));
};

#endif
