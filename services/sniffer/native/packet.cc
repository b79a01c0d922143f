// Reads IPv4 (RFC 791), IPv6 with extension headers (RFC 8200), VLAN tags (802.1Q, 802.1ad), TCP (RFC 9293) and UDP (RFC 768), and
// fragments of both.
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
constexpr uint32_t SHORTEST_PAYLOAD = 46; // of Ethernet
constexpr uint32_t TCP_BYTES = 20;
constexpr uint32_t UDP_BYTES = 8;
// What the length fields of whole packets can say, less the smallest header of IPv4, whose length counts it.
constexpr uint32_t MAX_WHOLE_BYTES[] = {65'515, 65'535};

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
	// Of a fragment.
	uint32_t id = 0;
	uint32_t offset = 0;
	bool has_more = false;
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
	uint32_t place = read_u16(data + 6);
	network->id = read_u16(data + 4);
	network->offset = (place & 0x1fff) * 8;
	network->has_more = (place & 0x2000) != 0;
	return network->has_more || network->offset > 0 ? Parsed::FRAGMENT : Parsed::SEGMENT;
}

// From `*at` on, which moves behind them; `*next` is what follows. Stops at a fragment header.
bool skip_extensions(const uint8_t *data, uint32_t captured, uint8_t *next, uint32_t *at)
{
	for (int count = 0; *next == HOP_BY_HOP || *next == ROUTING || *next == DESTINATION || *next == AUTHENTICATION; count++) {
		if (count == MAX_EXTENSIONS || captured < *at + 8)
			return false;
		uint32_t length = *next == AUTHENTICATION ? (data[*at + 1] + 2u) * 4 : (data[*at + 1] + 1u) * 8;
		*next = data[*at];
		*at += length;
	}
	return true;
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
	if (!skip_extensions(data, captured, &next, &at))
		return Parsed::MALFORMED;
	if (next == FRAGMENT_HEADER) {
		if (captured < at + 8)
			return Parsed::MALFORMED;
		uint32_t place = read_u16(data + at + 2);
		next = data[at];
		network->id = read_u32(data + at + 4);
		network->offset = place & 0xfff8;
		network->has_more = (place & 1) != 0;
		at += 8;
	}
	bool is_fragment = network->has_more || network->offset > 0;
	// One that is all of its packet (RFC 6946) has its other headers here.
	if (!is_fragment && !skip_extensions(data, captured, &next, &at))
		return Parsed::MALFORMED;
	if (at > total)
		return Parsed::MALFORMED;
	segment->family = 6;
	segment->protocol = next;
	memcpy(segment->source, data + 8, 16);
	memcpy(segment->destination, data + 24, 16);
	network->header = at;
	network->end = total;
	return is_fragment ? Parsed::FRAGMENT : Parsed::SEGMENT;
}

// Two words at a time: a sum that is folded does not care (RFC 1071 section 2).
uint64_t sum_words(const uint8_t *data, uint32_t bytes)
{
	uint64_t sum = 0;
	uint32_t at = 0;
	for (; at + 3 < bytes; at += 4)
		sum += read_u32(data + at);
	for (; at + 1 < bytes; at += 2)
		sum += read_u16(data + at);
	if (at < bytes)
		sum += static_cast<uint64_t>(data[at]) << 8;
	return sum;
}

// RFC 1071, with the pseudo header of RFC 9293 section 3.1 and RFC 8200 section 8.1.
uint16_t fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return static_cast<uint16_t>(sum);
}

enum class Checksum { NOT_LOOKED_AT, FINISHED, MAY_BE_UNFINISHED };

Checksum checksum_of(bool is_known, bool may_be_unfinished)
{
	if (is_known)
		return Checksum::NOT_LOOKED_AT;
	return may_be_unfinished ? Checksum::MAY_BE_UNFINISHED : Checksum::FINISHED;
}

bool is_checksum_right(const uint8_t *transport, uint32_t bytes, Checksum checksum, const Segment &segment)
{
	uint16_t said = read_u16(transport + (segment.protocol == PROTOCOL_UDP ? 6 : 16));
	if (segment.protocol == PROTOCOL_UDP && segment.family == 4 && said == 0)
		return true; // none was made
	uint32_t address_bytes = segment.family == 4 ? 4 : 16;
	uint64_t pseudo = sum_words(segment.source, address_bytes) + sum_words(segment.destination, address_bytes) +
			  segment.protocol + (bytes >> 16) + (bytes & 0xffff);
	// What a card would finish holds the sum of the pseudo header.
	if (checksum == Checksum::MAY_BE_UNFINISHED && said == fold(pseudo))
		return true;
	return fold(pseudo + sum_words(transport, bytes)) == 0xffff;
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

Parsed read_transport(const uint8_t *at, uint32_t captured, uint32_t bytes, Checksum checksum, Segment *segment)
{
	Parsed parsed = Parsed::OTHER;
	if (segment->protocol == PROTOCOL_TCP)
		parsed = read_tcp(at, captured, bytes, segment);
	else if (segment->protocol == PROTOCOL_UDP)
		parsed = read_udp(at, captured, bytes, segment);
	if (parsed == Parsed::SEGMENT && checksum != Checksum::NOT_LOOKED_AT && captured == bytes &&
	    !is_checksum_right(at, bytes, checksum, *segment))
		return Parsed::BAD_CHECKSUM;
	return parsed;
}

// What the kernel would take for reassembly (RFC 791 section 3.2, RFC 8200 section 4.5).
Parsed read_fragment(const Segment &addresses, const Network &network, const uint8_t *data, uint32_t captured, Fragment *fragment)
{
	if (captured < network.end || network.header >= network.end)
		return Parsed::MALFORMED;
	bool is_ipv4 = addresses.family == 4;
	uint32_t bytes = network.end - network.header;
	if (network.has_more && bytes % 8 != 0) {
		if (!is_ipv4 || bytes < 8)
			return Parsed::MALFORMED;
		bytes -= bytes % 8;
	}
	if (network.offset + bytes > MAX_WHOLE_BYTES[is_ipv4 ? 0 : 1])
		return Parsed::MALFORMED;
	*fragment = Fragment();
	memcpy(fragment->source, addresses.source, sizeof(fragment->source));
	memcpy(fragment->destination, addresses.destination, sizeof(fragment->destination));
	fragment->family = addresses.family;
	fragment->protocol = addresses.protocol;
	fragment->id = network.id;
	fragment->offset = network.offset;
	fragment->has_more = network.has_more;
	fragment->data = data + network.header;
	fragment->bytes = bytes;
	return Parsed::FRAGMENT;
}

bool is_tag(uint16_t ethertype)
{
	return ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_PROVIDER_VLAN;
}

// By what both versions have: a packet that fills what is there (a short frame is filled up), of IPv4 a checksum of its header.
bool is_network_header(const uint8_t *data, uint32_t captured, uint32_t bytes, uint16_t ethertype)
{
	Segment segment;
	Network network;
	if (ethertype == ETHERTYPE_IPV6)
		return read_ipv6(data, captured, bytes, &segment, &network) != Parsed::MALFORMED &&
		       (network.end == bytes || bytes <= SHORTEST_PAYLOAD);
	return ethertype == ETHERTYPE_IPV4 && captured >= 20 && captured >= (data[0] & 15u) * 4 &&
	       read_ipv4(data, captured, bytes, &segment, &network) != Parsed::MALFORMED &&
	       fold(sum_words(data, (data[0] & 15u) * 4)) == 0xffff;
}

} // namespace

uint16_t ethertype_of(const Captured &packet, bool had_tag)
{
	if (packet.captured_bytes < 4)
		return packet.ethertype;
	const uint8_t *data = packet.data;
	bool is_told = is_tag(packet.ethertype);
	uint16_t inner = read_u16(data + 2);
	bool may_be_tag = had_tag && (inner == packet.ethertype || is_tag(inner));
	if (is_told ? !packet.is_outgoing : !may_be_tag)
		return packet.ethertype;
	uint16_t by_nibble = data[0] >> 4 == 6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4;
	uint16_t version = is_told ? by_nibble : packet.ethertype;
	if (is_network_header(data, packet.captured_bytes, packet.bytes, version))
		return version;
	return is_told ? packet.ethertype : ETHERTYPE_VLAN;
}

Parsed parse(const Captured &packet, Segment *segment, Fragment *fragment)
{
	const uint8_t *data = packet.data;
	uint32_t captured = packet.captured_bytes;
	uint32_t bytes = packet.bytes;
	uint16_t ethertype = packet.ethertype;
	if (captured > bytes)
		return Parsed::MALFORMED;
	*segment = Segment();
	for (int tags = 0; is_tag(ethertype); tags++) {
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
	// Behind the end is padding of short Ethernet frames.
	if (captured > network.end)
		captured = network.end;
	if (parsed == Parsed::FRAGMENT) {
		parsed = read_fragment(*segment, network, data, captured, fragment);
		fragment->interface = packet.interface;
		fragment->is_outgoing = packet.is_outgoing;
		fragment->is_unfinished = packet.is_unfinished;
		fragment->may_be_unfinished = packet.may_be_unfinished;
		fragment->time_ns = packet.time_ns;
	}
	if (parsed != Parsed::SEGMENT)
		return parsed;
	if (captured < network.header)
		return Parsed::MALFORMED;
	segment->interface = packet.interface;
	segment->is_outgoing = packet.is_outgoing;
	segment->left = packet.left;
	segment->time_ns = packet.time_ns;
	return read_transport(data + network.header, captured - network.header, network.end - network.header,
			      checksum_of(!packet.has_checksum, packet.may_be_unfinished), segment);
}

Parsed parse_whole(const Fragment &whole, Segment *segment)
{
	*segment = Segment();
	memcpy(segment->source, whole.source, sizeof(segment->source));
	memcpy(segment->destination, whole.destination, sizeof(segment->destination));
	segment->family = whole.family;
	segment->protocol = whole.protocol;
	segment->interface = whole.interface;
	segment->is_outgoing = whole.is_outgoing;
	segment->time_ns = whole.time_ns;
	uint32_t at = 0;
	if (whole.family == 6 && !skip_extensions(whole.data, whole.bytes, &segment->protocol, &at))
		return Parsed::MALFORMED;
	if (at > whole.bytes)
		return Parsed::MALFORMED;
	uint32_t bytes = whole.bytes - at;
	return read_transport(whole.data + at, bytes, bytes, checksum_of(whole.is_unfinished, whole.may_be_unfinished),
			      segment);
}

} // namespace sniffer
