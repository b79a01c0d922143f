// Packets for the tests, byte by byte.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "packet.h"

namespace packets {

using Bytes = std::vector<uint8_t>;

inline void put16(Bytes *to, size_t value)
{
	to->push_back(static_cast<uint8_t>(value >> 8));
	to->push_back(static_cast<uint8_t>(value));
}

inline void put32(Bytes *to, uint32_t value)
{
	put16(to, value >> 16);
	put16(to, value & 0xffff);
}

inline Bytes operator+(Bytes left, const Bytes &right)
{
	left.insert(left.end(), right.begin(), right.end());
	return left;
}

struct Tcp {
	uint16_t from = 40000;
	uint16_t to = 80;
	uint32_t sequence = 1000;
	uint32_t acknowledged = 0;
	uint8_t flags = sniffer::TCP_ACK;
	std::string payload;
	size_t option_bytes = 0;
};

inline Bytes tcp(const Tcp &of)
{
	Bytes bytes;
	put16(&bytes, of.from);
	put16(&bytes, of.to);
	put32(&bytes, of.sequence);
	put32(&bytes, of.acknowledged);
	bytes.push_back(static_cast<uint8_t>((20 + of.option_bytes) / 4 << 4));
	bytes.push_back(of.flags);
	put16(&bytes, 65535);
	put32(&bytes, 0);
	bytes.resize(20 + of.option_bytes, 1);
	bytes.insert(bytes.end(), of.payload.begin(), of.payload.end());
	return bytes;
}

inline Bytes udp(uint16_t from, uint16_t to, const std::string &payload)
{
	Bytes bytes;
	put16(&bytes, from);
	put16(&bytes, to);
	put16(&bytes, 8 + payload.size());
	put16(&bytes, 0);
	bytes.insert(bytes.end(), payload.begin(), payload.end());
	return bytes;
}

inline Bytes ipv4(const Bytes &transport, uint8_t protocol = sniffer::PROTOCOL_TCP, uint16_t fragment = 0,
		  size_t option_bytes = 0)
{
	Bytes bytes = {static_cast<uint8_t>(0x40 | (20 + option_bytes) / 4), 0};
	put16(&bytes, 20 + option_bytes + transport.size());
	put16(&bytes, 7);
	put16(&bytes, fragment);
	bytes.push_back(64);
	bytes.push_back(protocol);
	put16(&bytes, 0);
	put32(&bytes, 0x0a000002); // 10.0.0.2
	put32(&bytes, 0x0a000001);
	bytes.resize(20 + option_bytes, 1);
	return bytes + transport;
}

// `extensions` begins with the type of the first and each ends where the next begins.
inline Bytes ipv6(const Bytes &transport, uint8_t next = sniffer::PROTOCOL_TCP, const Bytes &extensions = {})
{
	Bytes bytes = {0x60, 0, 0, 0};
	put16(&bytes, extensions.size() + transport.size());
	bytes.push_back(next);
	bytes.push_back(64);
	for (uint8_t host : {2, 1}) {
		Bytes address(16, 0);
		address[0] = 0xfd;
		address[15] = host;
		bytes = bytes + address;
	}
	return bytes + extensions + transport;
}

inline sniffer::Captured captured(const Bytes &bytes, uint16_t ethertype = 0x0800)
{
	sniffer::Captured packet;
	packet.data = bytes.data();
	packet.captured_bytes = static_cast<uint32_t>(bytes.size());
	packet.bytes = packet.captured_bytes;
	packet.ethertype = ethertype;
	packet.interface = 2;
	packet.has_checksum = false;
	return packet;
}

} // namespace packets
