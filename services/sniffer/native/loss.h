// Why bytes of a copy are missing. The numbers are those of LossReason in proto/v1/incoming.proto.
#pragma once

#include <cstdint>

namespace sniffer {

enum class Loss : uint8_t {
	NONE = 0,
	RING_FULL = 1,
	NOT_SEEN = 3,
	REASSEMBLY_LIMIT = 4,
	CONNECTION_LIMIT = 5,
	RATE_LIMIT = 6,
	OLDER = 7,
	MALFORMED = 8,
	// No loss: the filter in the kernel has seen that nobody wants these requests.
	NOT_WANTED = 64,
};

} // namespace sniffer
