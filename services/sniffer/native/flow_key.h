// Who talks to whom: the target's address and port, the peer's, the protocol.
#pragma once

#include <cstdint>
#include <cstring>

#include "packet.h"

namespace sniffer {

enum class Direction : uint8_t { TO_TARGET = 0, FROM_TARGET = 1 };

struct FlowKey {
	uint8_t local[16];
	uint8_t peer[16];
	uint16_t local_port;
	uint16_t peer_port;
	uint8_t protocol;
	uint8_t family;
	uint8_t padding[2];

	FlowKey() = default;
	FlowKey(const Segment &segment, Direction direction);
	bool operator==(const FlowKey &other) const { return memcmp(this, &other, sizeof(*this)) == 0; }
};

static_assert(sizeof(FlowKey) == 40, "keys are compared and hashed as bytes");

struct FlowKeyHash {
	// Of this process: a peer that knew it could make all its flows collide.
	uint64_t secret[2];
	size_t operator()(const FlowKey &key) const;
};

// A number below a million that decides which samples a connection is part of; the filter in the kernel computes the same.
uint32_t sample_of(const FlowKey &key, uint32_t seed);

} // namespace sniffer
