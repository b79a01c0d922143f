// One connection, or one peer's datagrams, as the tracker remembers it.
#pragma once

#include <cstdint>
#include <list>

#include "flow_key.h"
#include "stream.h"

namespace sniffer {

enum class FlowState : uint8_t {
	OPENING, // a SYN was seen, its answer not yet
	OPEN,
	OLDER,	 // began before us, or its beginning was lost; not copied
	IGNORED, // the target's own connection, or ciphertext before a redirect
	CLOSED,	 // remembered for a while, so that what comes late is not taken for something new
};

// Why a copy is over. The numbers are those of EndReason in proto/v1/incoming.proto.
enum class End : uint8_t { CLOSED = 1, PEER_RESET = 2, TARGET_RESET = 3, IDLE = 4 };

struct Flow {
	Flow(const FlowKey &key, uint32_t id) : key(key), id(id) {}

	// Of what the peer sends: what it had of the target's answers when it asked last tells at its end whether there was one.
	// `is_new`: it brings bytes that were not there before.
	void note_answers(const Segment &segment, bool is_new)
	{
		if (is_new) {
			has_asked = true;
			acknowledged_when_asking = segment.acknowledged;
		}
		if (segment.flags & TCP_ACK && segment.flags & (TCP_FIN | TCP_RST))
			is_unanswered = has_asked && segment.acknowledged == acknowledged_when_asking;
	}

	const FlowKey key;
	const uint32_t id;
	FlowState state = FlowState::OPENING;
	bool has_answers = false;      // what the target sends is copied too
	bool is_from_middle = false;
	bool begins_anywhere = false;  // not even with a request
	bool has_syn[2] = {false, false};
	bool has_target_fin = false;
	bool is_muted = false;	       // an IGNORED one whose copies are over
	bool has_peer_fin = false;     // of a muted one
	bool was_reset = false;	       // a CLOSED one: what was on its way comes all the same
	uint64_t muted_ms = 0;
	bool has_asked = false;
	bool is_unanswered = false;    // the peer has ended behind a request that the target has not answered
	uint32_t acknowledged_when_asking = 0;
	bool is_waiting = false;       // in the tracker's list of flows with a hole, or with a reset out of place
	uint64_t reset_ms = 0;	       // when that came
	uint32_t first_sequence[2] = {0, 0}; // of the SYNs
	uint32_t interface = 0;
	uint64_t started_ns = 0;
	uint64_t active_ms = 0;
	uint64_t lost_bytes = 0;       // of an OLDER one
	Loss older_reason = Loss::OLDER;
	Stream streams[2];
	std::list<Flow *>::iterator place; // in the list of its age
	std::list<Flow *> *list = nullptr;
};

} // namespace sniffer
