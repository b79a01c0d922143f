// Reads IPv4 (RFC 791), IPv6 with extension headers (RFC 8200), VLAN tags (802.1Q), TCP (RFC 9293) and UDP (RFC 768).
// Nothing is believed: every length is held against what is there.
#include "packet.h"

#include <cstring>

namespace sniffer {

namespace {

constexpr uint16_t ETHERTYPE_IPV4 = 0x0800;
constexpr uint16_t ETHERTYPE_IPV6 = 0x86dd;
constexpr uint16_t ETHERTYPE_VLAN = 0x8100;
constexpr uint16_t ETHERTYPE_PROVIDER_VLAN = 0x88a8;
constexpr int MAX_VLAN_TAGS = 2;
constexpr int MAX_EXTENSIONS = 8;
constexpr uint32_t TCP_BYTES = 20;
constexpr uint32_t UDP_BYTES = 8;

enum : uint8_t { HOP_BY_HOP = 0, ROUTING = 43, FRAGMENT_HEADER = 44, AUTHENTICATION = 51, DESTINATION = 60 };

uint16_t read_u16(const uint8_t *at)
{
	return static_cast<uint16_t>(at[0] << 8 | at[1]);
}

uint32_t read_u32(const uint8_t *at)
{
	return static_cast<uint32_t>(at[0]) << 24 | static_cast<uint32_t>(at[1]) << 16 |
	       static_cast<uint32_t>(at[2]) << 8 | at[3];
}

// Where the transport header is and where the packet ends, both from the network header on.
struct Network {
	uint32_t header = 0;
	uint32_t end = 0;
};

Parsed read_ipv4(const uint8_t *data, uint32_t captured, uint32_t bytes, Segment *segment, Network *network)
{
	if (captured < 20)
		return Parsed::MALFORMED;
	uint32_t header = (data[0] & 15u) * 4;
	uint32_t total = read_u16(data + 2);
	if (data[0] >> 4 != 4 || header < 20 || captured < header)
		return Parsed::MALFORMED;
	// A super-packet of more than 64 KiB has no length of its own.
	if (total == 0)
		total = bytes;
	if (total < header || total > bytes)
		return Parsed::MALFORMED;
	segment->family = 4;
	segment->protocol = data[9];
	memcpy(segment->source, data + 12, 4);
	memcpy(segment->destination, data + 16, 4);
	network->header = header;
	network->end = total;
	// More fragments, or an offset.
	return read_u16(data + 6) & 0x3fff ? Parsed::FRAGMENT : Parsed::SEGMENT;
}

Parsed read_ipv6(const uint8_t *data, uint32_t captured, uint32_t bytes, Segment *segment, Network *network)
{
	if (captured < 40 || data[0] >> 4 != 6)
		return Parsed::MALFORMED;
	uint32_t total = 40u + read_u16(data + 4);
	if (total == 40)
		total = bytes;
	if (total > bytes)
		return Parsed::MALFORMED;
	uint8_t next = data[6];
	uint32_t at = 40;
	for (int count = 0;; count++) {
		if (next == FRAGMENT_HEADER)
			return Parsed::FRAGMENT;
		if (next != HOP_BY_HOP && next != ROUTING && next != DESTINATION && next != AUTHENTICATION)
			break;
		if (count == MAX_EXTENSIONS || captured < at + 8)
			return Parsed::MALFORMED;
		uint32_t length = next == AUTHENTICATION ? (data[at + 1] + 2u) * 4 : (data[at + 1] + 1u) * 8;
		next = data[at];
		at += length;
	}
	if (at > total)
		return Parsed::MALFORMED;
	segment->family = 6;
	segment->protocol = next;
	memcpy(segment->source, data + 8, 16);
	memcpy(segment->destination, data + 24, 16);
	network->header = at;
	network->end = total;
	return Parsed::SEGMENT;
}

uint64_t sum_words(const uint8_t *data, uint32_t bytes)
{
	uint64_t sum = 0;
	uint32_t at = 0;
	for (; at + 1 < bytes; at += 2)
		sum += read_u16(data + at);
	if (at < bytes)
		sum += static_cast<uint64_t>(data[at]) << 8;
	return sum;
}

// RFC 1071, with the pseudo header of RFC 9293 section 3.1 and RFC 8200 section 8.1.
bool is_checksum_right(const uint8_t *transport, uint32_t bytes, const Segment &segment)
{
	if (segment.protocol == PROTOCOL_UDP && segment.family == 4 && read_u16(transport + 6) == 0)
		return true; // none was made
	uint32_t address_bytes = segment.family == 4 ? 4 : 16;
	uint64_t sum = sum_words(segment.source, address_bytes) + sum_words(segment.destination, address_bytes) +
		       segment.protocol + (bytes >> 16) + (bytes & 0xffff) + sum_words(transport, bytes);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum == 0xffff;
}

Parsed read_tcp(const uint8_t *at, uint32_t captured, uint32_t bytes, Segment *segment)
{
	if (captured < TCP_BYTES)
		return Parsed::MALFORMED;
	uint32_t header = (at[12] >> 4) * 4u;
	if (header < TCP_BYTES || header > bytes)
		return Parsed::MALFORMED;
	segment->source_port = read_u16(at);
	segment->destination_port = read_u16(at + 2);
	segment->sequence = read_u32(at + 4);
	segment->acknowledged = read_u32(at + 8);
	segment->flags = at[13];
	segment->payload = at + header;
	segment->bytes = bytes - header;
	segment->captured_bytes = captured > header ? captured - header : 0;
	return Parsed::SEGMENT;
}

Parsed read_udp(const uint8_t *at, uint32_t captured, uint32_t bytes, Segment *segment)
{
	if (captured < UDP_BYTES)
		return Parsed::MALFORMED;
	uint32_t length = read_u16(at + 4);
	if (length < UDP_BYTES || length > bytes)
		return Parsed::MALFORMED;
	segment->source_port = read_u16(at);
	segment->destination_port = read_u16(at + 2);
	segment->payload = at + UDP_BYTES;
	segment->bytes = length - UDP_BYTES;
	segment->captured_bytes = captured - UDP_BYTES < segment->bytes ? captured - UDP_BYTES : segment->bytes;
	return Parsed::SEGMENT;
}

} // namespace

Parsed parse(const Captured &packet, Segment *segment)
{
	const uint8_t *data = packet.data;
	uint32_t captured = packet.captured_bytes;
	uint32_t bytes = packet.bytes;
	uint16_t ethertype = packet.ethertype;
	if (captured > bytes)
		return Parsed::MALFORMED;
	*segment = Segment();
	for (int tags = 0; ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_PROVIDER_VLAN; tags++) {
		if (tags == MAX_VLAN_TAGS || captured < 4)
			return Parsed::MALFORMED;
		ethertype = read_u16(data + 2);
		data += 4;
		captured -= 4;
		bytes -= 4;
	}
	Network network;
	Parsed parsed = Parsed::OTHER;
	if (ethertype == ETHERTYPE_IPV4)
		parsed = read_ipv4(data, captured, bytes, segment, &network);
	else if (ethertype == ETHERTYPE_IPV6)
		parsed = read_ipv6(data, captured, bytes, segment, &network);
	if (parsed != Parsed::SEGMENT)
		return parsed;
	if (segment->protocol != PROTOCOL_TCP && segment->protocol != PROTOCOL_UDP)
		return Parsed::OTHER;
	// Behind the end is padding of short Ethernet frames.
	if (captured > network.end)
		captured = network.end;
	if (captured < network.header)
		return Parsed::MALFORMED;
	const uint8_t *transport = data + network.header;
	uint32_t transport_captured = captured - network.header;
	uint32_t transport_bytes = network.end - network.header;
	parsed = segment->protocol == PROTOCOL_TCP ? read_tcp(transport, transport_captured, transport_bytes, segment)
						   : read_udp(transport, transport_captured, transport_bytes, segment);
	if (parsed != Parsed::SEGMENT)
		return parsed;
	if (packet.has_checksum && transport_captured == transport_bytes &&
	    !is_checksum_right(transport, transport_bytes, *segment))
		return Parsed::BAD_CHECKSUM;
	segment->interface = packet.interface;
	segment->is_outgoing = packet.is_outgoing;
	segment->time_ns = packet.time_ns;
	return Parsed::SEGMENT;
}

} // namespace sniffer
