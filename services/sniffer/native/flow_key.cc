// See flow_key.h.
#include "flow_key.h"

#include "../../../bpf/capture.h"

namespace sniffer {

FlowKey::FlowKey(const Segment &segment, Direction direction)
{
	memset(this, 0, sizeof(*this));
	bool is_to_target = direction == Direction::TO_TARGET;
	memcpy(local, is_to_target ? segment.destination : segment.source, sizeof(local));
	memcpy(peer, is_to_target ? segment.source : segment.destination, sizeof(peer));
	local_port = is_to_target ? segment.destination_port : segment.source_port;
	peer_port = is_to_target ? segment.source_port : segment.destination_port;
	protocol = segment.protocol;
	family = segment.family;
}

size_t FlowKeyHash::operator()(const FlowKey &key) const
{
	uint64_t words[sizeof(FlowKey) / 8];
	memcpy(words, &key, sizeof(words));
	uint64_t hash = secret[0];
	for (uint64_t word : words) {
		hash = (hash ^ word) * 0xff51afd7ed558ccdull;
		hash ^= hash >> 32;
		hash += secret[1];
	}
	return hash;
}

uint32_t sample_of(const FlowKey &key, uint32_t seed)
{
	uint32_t words[4];
	memcpy(words, key.peer, sizeof(words));
	uint32_t hash = seed ^ (static_cast<uint32_t>(key.peer_port) << 16 | key.local_port);
	for (uint32_t word : words) {
		hash = (hash ^ word) * 0x9e3779b1u;
		hash ^= hash >> 15;
	}
	hash *= 0x85ebca6bu;
	hash ^= hash >> 13;
	hash *= 0xc2b2ae35u;
	hash ^= hash >> 16;
	return hash % CAPTURE_PER_MILLION;
}

} // namespace sniffer
