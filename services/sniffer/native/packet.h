// One captured packet, read: from the network header on, as an AF_PACKET socket of type SOCK_DGRAM gives it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sniffer {

constexpr uint8_t TCP_FIN = 0x01;
constexpr uint8_t TCP_SYN = 0x02;
constexpr uint8_t TCP_RST = 0x04;
constexpr uint8_t TCP_ACK = 0x10;

constexpr uint8_t PROTOCOL_TCP = 6;
constexpr uint8_t PROTOCOL_UDP = 17;

// What the kernel has left out of a connection since its last packet in the ring, because nobody wants it (bpf/left-out.h).
struct LeftOut {
	uint32_t from = 0; // a sequence number
	uint32_t bytes = 0;
	bool is_doubtful = false; // and perhaps more of what is missing in front of the packet
};

// What the ring says beside the bytes.
struct Captured {
	const uint8_t *data = nullptr;
	uint32_t captured_bytes = 0;
	uint32_t bytes = 0; // that the packet had
	uint16_t ethertype = 0;
	uint32_t interface = 0;
	bool is_outgoing = false;
	bool has_checksum = true; // false: not filled in yet, or known to be right
	bool is_unfinished = false; // not filled in yet
	bool may_be_unfinished = false; // nobody says which
	LeftOut left;
	uint64_t time_ns = 0;	  // since the epoch
};

struct Segment {
	uint8_t source[16] = {};
	uint8_t destination[16] = {};
	uint16_t source_port = 0;
	uint16_t destination_port = 0;
	uint8_t family = 0; // 4 or 6
	uint8_t protocol = 0;
	uint8_t flags = 0;
	uint32_t sequence = 0;
	uint32_t acknowledged = 0;
	const uint8_t *payload = nullptr;
	uint32_t captured_bytes = 0; // of the payload
	uint32_t bytes = 0;
	uint32_t interface = 0;
	bool is_outgoing = false;
	LeftOut left;
	uint64_t time_ns = 0;
};

// A part of a packet that was too large for its way, or (fragments.h) the whole of it again, from behind the network header on.
struct Fragment {
	uint8_t source[16] = {};
	uint8_t destination[16] = {};
	uint8_t family = 0;
	uint8_t protocol = 0; // of IPv6 perhaps that of an extension header; the first fragment's counts
	uint32_t id = 0;
	uint32_t offset = 0;
	bool has_more = false;
	const uint8_t *data = nullptr;
	uint32_t bytes = 0;
	uint32_t interface = 0;
	bool is_outgoing = false;
	bool is_unfinished = false;
	bool may_be_unfinished = false;
	uint64_t time_ns = 0;
};

enum class Parsed { SEGMENT, OTHER, FRAGMENT, MALFORMED, BAD_CHECKSUM };

// What `packet.data` begins with, where a packet socket of type SOCK_DGRAM gives it: a tag that was inside of another is left in
// there, though since Linux 6.10 the kernel says what is behind it, or cut off from what goes out, though older kernels say that it
// is there.
uint16_t ethertype_of(const Captured &packet, bool had_tag);
// Fills in one of both; a fragment is never empty, and no packet of its kind is longer than where it ends.
Parsed parse(const Captured &packet, Segment *segment, Fragment *fragment);
// Of all fragments together. The checksum is looked at whoever vouches for the parts: they may be those of two packets.
Parsed parse_whole(const Fragment &whole, Segment *segment);

} // namespace sniffer
