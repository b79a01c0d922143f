// Parsing of packets: what is read, what is refused, and that no length is believed.
#include "packet.h"

#include <random>

#include "packets.h"
#include "tap.h"

using namespace sniffer;
using namespace packets;

namespace {

std::string payload_of(const Segment &segment)
{
	return std::string(reinterpret_cast<const char *>(segment.payload), segment.captured_bytes);
}

Parsed read(const Bytes &bytes, Segment *segment, uint16_t ethertype = 0x0800)
{
	Fragment fragment;
	return parse(captured(bytes, ethertype), segment, &fragment);
}

Tcp hello()
{
	Tcp tcp;
	tcp.payload = "hello";
	return tcp;
}

int number(Parsed parsed)
{
	return static_cast<int>(parsed);
}

#define PARSED(got, wanted) EQUAL(number(got), number(Parsed::wanted))

// Fills in what the kernel leaves to the card: RFC 1071 over pseudo header and segment of an IPv4 packet.
void fill_checksum(Bytes *packet)
{
	uint32_t sum = 6 + static_cast<uint32_t>(packet->size() - 20);
	for (size_t at = 12; at < packet->size(); at += 2)
		sum += static_cast<uint32_t>((*packet)[at] << 8 | (at + 1 < packet->size() ? (*packet)[at + 1] : 0));
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	(*packet)[36] = static_cast<uint8_t>(~sum >> 8);
	(*packet)[37] = static_cast<uint8_t>(~sum);
}

void fill_header_checksum(Bytes *packet)
{
	uint32_t sum = 0;
	(*packet)[10] = (*packet)[11] = 0;
	for (size_t at = 0; at < 20; at += 2)
		sum += static_cast<uint32_t>((*packet)[at] << 8 | (*packet)[at + 1]);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	(*packet)[10] = static_cast<uint8_t>(~sum >> 8);
	(*packet)[11] = static_cast<uint8_t>(~sum);
}

void reading()
{
	tap::test("IPv4 with and without options", [] {
		for (size_t options : {0, 4, 40}) {
			Segment segment;
			Bytes bytes = ipv4(tcp(hello()), PROTOCOL_TCP, 0, options);
			PARSED(read(bytes, &segment), SEGMENT);
			EQUAL(payload_of(segment), "hello");
			EQUAL(segment.source_port, 40000);
			EQUAL(segment.destination_port, 80);
			EQUAL(segment.sequence, 1000u);
			EQUAL(segment.family, 4);
			EQUAL(segment.source[3], 2);
		}
	});
	tap::test("TCP options are no payload", [] {
		Segment segment;
		Tcp with = hello();
		with.option_bytes = 12;
		Bytes bytes = ipv4(tcp(with));
		PARSED(read(bytes, &segment), SEGMENT);
		EQUAL(payload_of(segment), "hello");
	});
	tap::test("IPv6 with extension headers", [] {
		Segment segment;
		Bytes plain = ipv6(tcp(hello()));
		PARSED(read(plain, &segment, 0x86dd), SEGMENT);
		EQUAL(payload_of(segment), "hello");
		Bytes extensions = {60, 0, 0, 0, 0, 0, 0, 0, 51, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
				    6,	2, 0, 0, 0, 0, 0, 0, 0,	 0, 0, 0, 0, 0, 0, 0};
		Bytes bytes = ipv6(tcp(hello()), 0, extensions);
		PARSED(read(bytes, &segment, 0x86dd), SEGMENT);
		EQUAL(payload_of(segment), "hello");
		EQUAL(segment.family, 6);
	});
	tap::test("one and two VLAN tags", [] {
		Segment segment;
		Bytes inner = ipv4(tcp(hello()));
		Bytes one = Bytes{0, 100, 0x08, 0x00} + inner;
		PARSED(read(one, &segment, 0x8100), SEGMENT);
		EQUAL(payload_of(segment), "hello");
		Bytes two = Bytes{0, 7, 0x81, 0x00} + one;
		PARSED(read(two, &segment, 0x88a8), SEGMENT);
		EQUAL(payload_of(segment), "hello");
		Bytes three = Bytes{0, 7, 0x81, 0x00} + two;
		PARSED(read(three, &segment, 0x88a8), MALFORMED);
	});
	tap::test("what a packet socket says is in there is held against what is", [] {
		auto said = [](const Bytes &bytes, uint16_t ethertype, bool is_outgoing, bool had_tag = true) {
			Captured packet = captured(bytes, ethertype);
			packet.is_outgoing = is_outgoing;
			return ethertype_of(packet, had_tag);
		};
		Bytes four = ipv4(tcp(hello())), six = ipv6(tcp(hello()));
		fill_header_checksum(&four);
		// The first four bits of a tag are those of either version, and those of none; its next bytes, of a header, are a length.
		for (uint8_t first : {0x00, 0x45, 0x60, 0xe7}) {
			EQUAL(said(Bytes{first, 5, 8, 0} + four, 0x0800, false), 0x8100);
			EQUAL(said(Bytes{first, 5, 0x86, 0xdd} + six, 0x86dd, false), 0x8100);
			EQUAL(said(Bytes{first, 5, 0x81, 0, 0, 1, 8, 0} + four, 0x0800, false), 0x8100);
		}
		Tcp large = hello();
		large.payload = std::string(0x0800 - 40, 'x');
		Bytes as_long_as_a_type = ipv4(tcp(large));
		fill_header_checksum(&as_long_as_a_type);
		EQUAL(said(as_long_as_a_type, 0x0800, false), 0x0800);
		Bytes labelled = six;
		labelled[2] = 0x86, labelled[3] = 0xdd;
		EQUAL(said(labelled, 0x86dd, false), 0x86dd);
		EQUAL(said(four, 0x0800, false, false), 0x0800);
		// Older kernels: the tag is told where it is, and where it was.
		EQUAL(said(Bytes{0, 5, 8, 0} + four, 0x8100, false), 0x8100);
		EQUAL(said(four, 0x8100, true), 0x0800);
		EQUAL(said(six, 0x88a8, true), 0x86dd);
		EQUAL(said(four, 0x0800, true), 0x0800);
		EQUAL(said(Bytes{0, 5}, 0x0800, false), 0x0800);
	});
	tap::test("a packet is the same behind any tags, by the hundred thousand", [] {
		std::mt19937 random(11);
		for (int round = 0; round < 100'000; round++) {
			Tcp of = hello();
			of.sequence = static_cast<uint32_t>(random());
			of.payload = std::string(random() % 40, 'p');
			bool is_version6 = random() % 2 != 0;
			Bytes bytes = is_version6 ? ipv6(tcp(of)) : ipv4(tcp(of));
			uint16_t ethertype = is_version6 ? 0x86dd : 0x0800;
			Segment wanted, got;
			PARSED(read(bytes, &wanted, ethertype), SEGMENT);
			for (size_t tags = random() % 3; tags > 0; tags--) {
				Bytes tag;
				put16(&tag, random() & 0xffff);
				put16(&tag, ethertype);
				bytes = tag + bytes;
				ethertype = random() % 2 ? 0x8100 : 0x88a8;
			}
			PARSED(read(bytes, &got, ethertype), SEGMENT);
			HOLDS(got.sequence == wanted.sequence && got.family == wanted.family && payload_of(got) == of.payload);
			// Cut anywhere.
			Bytes exact(bytes.begin(), bytes.begin() + static_cast<long>(random() % bytes.size()));
			exact.shrink_to_fit();
			Captured cut = captured(exact, ethertype);
			ethertype_of(cut, true);
			cut.bytes = static_cast<uint32_t>(bytes.size());
			Fragment fragment;
			parse(cut, &got, &fragment);
		}
	});
	tap::test("padding of a short frame is no payload", [] {
		Segment segment;
		Bytes bytes = ipv4(tcp(Tcp()));
		bytes.resize(bytes.size() + 6, 0);
		PARSED(read(bytes, &segment), SEGMENT);
		EQUAL(segment.bytes, 0u);
	});
	tap::test("a super-packet without a length of its own has the packet's", [] {
		Segment segment;
		Tcp large = hello();
		large.payload = std::string(100'000, 'x');
		Bytes bytes = ipv4(tcp(large));
		bytes[2] = bytes[3] = 0;
		PARSED(read(bytes, &segment), SEGMENT);
		EQUAL(segment.bytes, 100'000u);
		Bytes six = ipv6(tcp(large));
		six[4] = six[5] = 0;
		PARSED(read(six, &segment, 0x86dd), SEGMENT);
		EQUAL(segment.bytes, 100'000u);
	});
	tap::test("a packet that was cut knows what it had", [] {
		Segment segment;
		Bytes bytes = ipv4(tcp(hello()));
		Fragment fragment;
		Captured packet = captured(bytes);
		packet.captured_bytes -= 3;
		PARSED(parse(packet, &segment, &fragment), SEGMENT);
		EQUAL(segment.bytes, 5u);
		EQUAL(segment.captured_bytes, 2u);
	});
	tap::test("datagrams, also empty ones", [] {
		Segment segment;
		Bytes bytes = ipv4(udp(5000, 53, "question"), PROTOCOL_UDP);
		PARSED(read(bytes, &segment), SEGMENT);
		EQUAL(payload_of(segment), "question");
		Bytes empty = ipv4(udp(5000, 53, ""), PROTOCOL_UDP);
		PARSED(read(empty, &segment), SEGMENT);
		EQUAL(segment.bytes, 0u);
	});
	tap::test("a wrong checksum is seen where the kernel does not vouch for it", [] {
		Segment segment;
		Bytes bytes = ipv4(tcp(hello()));
		fill_checksum(&bytes);
		Fragment fragment;
		Captured packet = captured(bytes);
		packet.has_checksum = true;
		PARSED(parse(packet, &segment, &fragment), SEGMENT);
		bytes[bytes.size() - 1] ^= 1;
		PARSED(parse(packet, &segment, &fragment), BAD_CHECKSUM);
		packet.has_checksum = false;
		PARSED(parse(packet, &segment, &fragment), SEGMENT);
	});
	tap::test("one that a card would finish is no wrong one where nobody says which it is", [] {
		Segment segment;
		Fragment fragment;
		Bytes bytes = ipv4(tcp(hello()));
		uint32_t sum = PROTOCOL_TCP + static_cast<uint32_t>(bytes.size()) - 20;
		for (size_t at = 12; at < 20; at += 2)
			sum += static_cast<uint32_t>(bytes[at] << 8 | bytes[at + 1]);
		sum = (sum & 0xffff) + (sum >> 16);
		bytes[36] = static_cast<uint8_t>(sum >> 8);
		bytes[37] = static_cast<uint8_t>(sum);
		Captured packet = captured(bytes);
		packet.has_checksum = true;
		PARSED(parse(packet, &segment, &fragment), BAD_CHECKSUM);
		packet.may_be_unfinished = true;
		PARSED(parse(packet, &segment, &fragment), SEGMENT);
		bytes[37] ^= 1;
		PARSED(parse(packet, &segment, &fragment), BAD_CHECKSUM);
		bytes[36] = bytes[37] = 0;
		fill_checksum(&bytes);
		PARSED(parse(packet, &segment, &fragment), SEGMENT);
	});
}

void reading_fragments()
{
	tap::test("where a fragment belongs, of IPv4", [] {
		Segment segment;
		Fragment fragment;
		Bytes first = ipv4(udp(1, 53, std::string(20, 'x')), PROTOCOL_UDP, 0x2000);
		PARSED(parse(captured(first), &segment, &fragment), FRAGMENT);
		// What is behind the last whole eight bytes comes again with the next.
		EQUAL(fragment.bytes, 24u);
		HOLDS(fragment.has_more && fragment.offset == 0 && fragment.id == 7 && fragment.protocol == PROTOCOL_UDP);
		Bytes last = ipv4(Bytes(21, 0), PROTOCOL_UDP, 100, 8);
		PARSED(parse(captured(last), &segment, &fragment), FRAGMENT);
		HOLDS(!fragment.has_more && fragment.offset == 800 && fragment.bytes == 21 && fragment.family == 4);
	});
	tap::test("where a fragment belongs, of IPv6 behind another extension header", [] {
		Segment segment;
		Fragment fragment;
		Bytes headers = {44, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0x01, 0x01, 1, 2, 3, 4};
		Bytes bytes = ipv6(Bytes(24, 0), 60, headers);
		PARSED(parse(captured(bytes, 0x86dd), &segment, &fragment), FRAGMENT);
		HOLDS(fragment.has_more && fragment.offset == 256 && fragment.id == 0x01020304 && fragment.bytes == 24);
		EQUAL(fragment.protocol, PROTOCOL_UDP);
		EQUAL(fragment.destination[15], 1);
	});
	tap::test("an IPv6 fragment that is all of its packet is a packet", [] {
		Segment segment;
		Bytes headers = {60, 0, 0, 0, 1, 2, 3, 4, 6, 0, 0, 0, 0, 0, 0, 0};
		Bytes bytes = ipv6(tcp(hello()), 44, headers);
		PARSED(read(bytes, &segment, 0x86dd), SEGMENT);
		EQUAL(payload_of(segment), "hello");
	});
	tap::test("all fragments together are read as their packet, and held against its checksum", [] {
		Segment segment;
		Bytes options = {17, 0, 0, 0, 0, 0, 0, 0};
		Bytes bytes = options + udp(5000, 53, "question");
		Fragment whole;
		whole.family = 6;
		whole.protocol = 60;
		whole.data = bytes.data();
		whole.bytes = static_cast<uint32_t>(bytes.size());
		whole.is_unfinished = true;
		PARSED(parse_whole(whole, &segment), SEGMENT);
		EQUAL(payload_of(segment), "question");
		EQUAL(segment.destination_port, 53);
		// Of IPv6 it may not be missing.
		whole.is_unfinished = false;
		PARSED(parse_whole(whole, &segment), BAD_CHECKSUM);
		for (uint32_t count = 0; count < bytes.size(); count++) {
			Bytes exact(bytes.begin(), bytes.begin() + count);
			exact.shrink_to_fit();
			whole.data = exact.data();
			whole.bytes = count;
			HOLDS(parse_whole(whole, &segment) != Parsed::SEGMENT);
		}
	});
}

void refusing()
{
	tap::test("what a fragment may not be is refused", [] {
		Segment segment;
		for (const Bytes &bytes : {ipv4({}, PROTOCOL_UDP, 100), ipv4(Bytes(7, 0), PROTOCOL_UDP, 0x2000),
					   ipv4(Bytes(80, 0), PROTOCOL_UDP, 0x1fff)})
			PARSED(read(bytes, &segment), MALFORMED);
		PARSED(read(ipv6(Bytes(20, 0), 44, Bytes{17, 0, 0, 1, 0, 0, 0, 0}), &segment, 0x86dd), MALFORMED);
		PARSED(read(ipv6({}, 44, Bytes{17, 0, 0}), &segment, 0x86dd), MALFORMED);
		Bytes whole = ipv4(Bytes(80, 0), PROTOCOL_UDP, 0x2000);
		Captured cut = captured(whole);
		Fragment fragment;
		cut.captured_bytes -= 1;
		PARSED(parse(cut, &segment, &fragment), MALFORMED);
	});
	tap::test("other protocols are not ours", [] {
		Segment segment;
		Bytes icmp = ipv4(Bytes(20, 0), 1);
		PARSED(read(icmp, &segment), OTHER);
		PARSED(read(icmp, &segment, 0x0806), OTHER);
	});
	tap::test("lengths that lie are refused", [] {
		Segment segment;
		Bytes good = ipv4(tcp(hello()));
		for (auto [at, value] : {std::pair{0, 0x4f}, {0, 0x41}, {0, 0x55}, {2, 0xff}, {32, 0x40}, {32, 0xf0}}) {
			Bytes bytes = good;
			bytes[static_cast<size_t>(at)] = static_cast<uint8_t>(value);
			PARSED(read(bytes, &segment), MALFORMED);
		}
		Bytes datagram = ipv4(udp(1, 53, "x"), PROTOCOL_UDP);
		datagram[25] = 200;
		PARSED(read(datagram, &segment), MALFORMED);
		datagram[25] = 7;
		PARSED(read(datagram, &segment), MALFORMED);
	});
	tap::test("extension headers that never end are refused", [] {
		Segment segment;
		Bytes extensions;
		for (int count = 0; count < 20; count++)
			extensions = extensions + Bytes{60, 0, 0, 0, 0, 0, 0, 0};
		Bytes bytes = ipv6(tcp(hello()), 60, extensions);
		PARSED(read(bytes, &segment, 0x86dd), MALFORMED);
	});
	tap::test("every beginning of every packet is read without reading beyond it", [] {
		for (const Bytes &whole : {ipv4(tcp(hello())), ipv6(tcp(hello()), 60, Bytes{6, 0, 0, 0, 0, 0, 0, 0}),
					   ipv4(udp(1, 2, "abc"), PROTOCOL_UDP)}) {
			for (size_t bytes = 0; bytes <= whole.size(); bytes++) {
				Bytes exact(whole.begin(), whole.begin() + static_cast<long>(bytes));
				exact.shrink_to_fit();
				Segment segment;
				Fragment fragment;
				Captured packet = captured(exact, whole[0] >> 4 == 4 ? 0x0800 : 0x86dd);
				packet.bytes = static_cast<uint32_t>(whole.size());
				packet.has_checksum = true;
				parse(packet, &segment, &fragment);
				HOLDS(segment.captured_bytes <= bytes);
			}
		}
	});
	tap::test("packets with random bytes in them claim nothing that is not there", [] {
		std::mt19937 random(1);
		for (int count = 0; count < 50'000; count++) {
			Bytes bytes = random() % 2 ? ipv4(tcp(hello())) : ipv6(tcp(hello()));
			for (unsigned flips = random() % 6; flips > 0; flips--)
				bytes[random() % bytes.size()] = static_cast<uint8_t>(random());
			bytes.resize(random() % (bytes.size() + 1));
			Segment segment;
			Fragment fragment;
			Captured packet = captured(bytes, random() % 2 ? 0x0800 : 0x86dd);
			if (parse(packet, &segment, &fragment) != Parsed::SEGMENT)
				continue;
			HOLDS(segment.captured_bytes <= segment.bytes);
			HOLDS(segment.captured_bytes == 0 ||
			      segment.payload + segment.captured_bytes <= bytes.data() + bytes.size());
		}
	});
}

} // namespace

int main()
{
	reading();
	reading_fragments();
	refusing();
	return tap::done();
}
