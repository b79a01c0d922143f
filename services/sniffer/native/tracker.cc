// The life of a connection as packets show it (RFC 9293 section 3.3.2, seen from the middle). How one ends is in
// tracker_ends.cc; room, age and ports are in tracker_table.cc.
#include <algorithm>

#include "tracker_link.h"

namespace sniffer {

namespace {

// The filter in the kernel has their beginnings (bpf/prefilter.h).
constexpr const char *METHODS[] = {"GET ",    "POST ",	"PUT ",	    "HEAD ",	"DELETE ",	 "PATCH ",
				   "OPTIONS ", "TRACE ", "CONNECT ", "PRI * HTTP/2.0"};

// The one place in the middle of a connection where something whole begins that can be recognised.
bool begins_request(const Segment &segment)
{
	for (const char *method : METHODS) {
		size_t bytes = strlen(method);
		if (segment.captured_bytes >= bytes && memcmp(segment.payload, method, bytes) == 0)
			return true;
	}
	return false;
}

// A SYN takes a number of its own, before the first byte (RFC 9293 section 3.4).
uint32_t first_byte(const Segment &segment)
{
	return segment.sequence + ((segment.flags & TCP_SYN) != 0 ? 1 : 0);
}

} // namespace

void Tracker::segment(const Segment &segment, Now now)
{
	Direction direction;
	if (!direct(segment, &direction))
		return;
	counters_.segments++;
	if (segment.protocol == PROTOCOL_UDP) {
		if (direction == Direction::TO_TARGET)
			datagram(segment, now);
		return;
	}
	tcp(segment, direction, now);
}

// Which way it goes: to a watched port of the target, or from it. On loopback both may be; then what is known decides.
bool Tracker::direct(const Segment &segment, Direction *direction) const
{
	bool is_loopback = segment.interface == LOOPBACK;
	if (is_loopback && segment.is_outgoing)
		return false;
	bool may_be_to = (is_loopback || !segment.is_outgoing) && wishes(segment.protocol, segment.destination_port);
	bool may_be_from = (is_loopback || segment.is_outgoing) && wishes(segment.protocol, segment.source_port);
	if (!may_be_to && !may_be_from)
		return false;
	*direction = may_be_to ? Direction::TO_TARGET : Direction::FROM_TARGET;
	if (!may_be_to || !may_be_from || segment.protocol == PROTOCOL_UDP)
		return true;
	uint8_t syn = segment.flags & (TCP_SYN | TCP_ACK);
	if (syn == (TCP_SYN | TCP_ACK))
		*direction = Direction::FROM_TARGET;
	else if (syn != TCP_SYN && find(FlowKey(segment, Direction::TO_TARGET)) == nullptr &&
		 find(FlowKey(segment, Direction::FROM_TARGET)) != nullptr)
		*direction = Direction::FROM_TARGET;
	return true;
}

void Tracker::tcp(const Segment &segment, Direction direction, Now now)
{
	FlowKey key(segment, direction);
	Flow *flow = find(key);
	// What still comes for one that was reset does not prolong how long it is remembered.
	if (flow != nullptr && !flow->was_reset)
		touch(*flow, now);
	if (segment.flags & TCP_SYN) {
		if (segment.flags & TCP_RST)
			return;
		if (segment.flags & TCP_ACK)
			syn_answer(flow, key, segment, direction, now);
		else
			syn(flow, key, segment, direction, now);
		return;
	}
	if (flow == nullptr) {
		unknown(key, segment, direction, now);
		return;
	}
	switch (flow->state) {
	case FlowState::OPENING:
		if (segment.flags & TCP_RST) {
			counters_.refused++;
			remove(*flow);
			return;
		}
		// The target's own SYN, answered by a peer whose SYN-ACK was not seen.
		if (!flow->has_syn[0]) {
			become(*flow, FlowState::IGNORED);
			return;
		}
		begin_copy(*flow, now);
		if (flow->state == FlowState::OPEN)
			carry(*flow, segment, direction, now);
		return;
	case FlowState::OPEN:
		carry(*flow, segment, direction, now);
		return;
	case FlowState::OLDER:
		join_or_count(*flow, segment, direction, now);
		return;
	case FlowState::IGNORED:
		ignored(*flow, key, segment, direction, now);
		return;
	case FlowState::CLOSED:
		late(*flow, key, segment, direction, now);
		return;
	}
}

void Tracker::ignored(Flow &flow, const FlowKey &key, const Segment &segment, Direction direction, Now now)
{
	bool is_peer = direction == Direction::TO_TARGET;
	if (segment.flags & TCP_RST) {
		remove(flow);
		return;
	}
	if (!flow.is_muted)
		return;
	if (is_peer && begins_request(segment)) {
		// A request that was copied before, and that the target did not get or does not acknowledge in time.
		bool is_again = now.ms - flow.muted_ms < limits_.closed_ms && flow.streams[0].is_near(segment.sequence) &&
				!flow.streams[0].brings_new(segment.sequence + segment.bytes);
		if (is_again) {
			counters_.late_segments++;
			return;
		}
		unmute(flow);
		unknown(key, segment, direction, now);
		return;
	}
	if (segment.flags & TCP_FIN)
		(is_peer ? flow.has_peer_fin : flow.has_target_fin) = true;
	// What comes late the kernel leaves out.
	if (flow.has_peer_fin && flow.has_target_fin)
		remove(flow);
}

void Tracker::syn(Flow *flow, const FlowKey &key, const Segment &segment, Direction direction, Now now)
{
	int own = static_cast<int>(direction);
	bool is_known = flow != nullptr && flow->state != FlowState::CLOSED && flow->state != FlowState::OLDER;
	if (is_known && flow->has_syn[own] && flow->first_sequence[own] == segment.sequence)
		return; // sent again
	bool is_crossing = is_known && flow->state == FlowState::OPENING && !flow->has_syn[own];
	if (flow != nullptr && !is_crossing) {
		end(*flow, now);
		flow = nullptr;
	}
	if (flow == nullptr)
		flow = add(key, segment, FlowState::OPENING, now);
	if (flow == nullptr)
		return;
	flow->has_syn[own] = true;
	flow->first_sequence[own] = segment.sequence;
	Stream &stream = stream_of(*flow, direction);
	stream.start(segment.sequence + 1, &budget_, &counters_.streams);
	// Both sides have said SYN (RFC 9293 section 3.5): nobody will answer with another.
	if (is_crossing)
		begin_copy(*flow, now);
	// TCP Fast Open: bytes with the SYN count once the target has taken them; until then they may come again.
	if (flow->state == FlowState::OPEN && segment.bytes > 0)
		carry(*flow, segment, direction, now);
}

void Tracker::syn_answer(Flow *flow, const FlowKey &key, const Segment &segment, Direction direction, Now now)
{
	int own = static_cast<int>(direction);
	if (direction == Direction::TO_TARGET) {
		// A peer answers the target's own SYN.
		if (flow == nullptr)
			flow = add(key, segment, FlowState::IGNORED, now);
		else if (flow->state == FlowState::OPENING && !flow->has_syn[own])
			become(*flow, FlowState::IGNORED);
		return;
	}
	bool is_again = flow != nullptr && flow->has_syn[own] && flow->first_sequence[own] == segment.sequence;
	if (is_again && flow->state != FlowState::OLDER)
		return;
	if (flow != nullptr && flow->state != FlowState::OPENING) {
		// The SYN that it answers was lost in our ring.
		end(*flow, now);
		flow = nullptr;
	}
	if (flow == nullptr)
		flow = add(key, segment, FlowState::OPENING, now);
	if (flow == nullptr)
		return;
	Stream &requests = flow->streams[0];
	if (!requests.has_started()) {
		flow->has_syn[0] = true;
		flow->first_sequence[0] = segment.acknowledged - 1;
		requests.start(segment.acknowledged, &budget_, &counters_.streams);
	}
	flow->has_syn[own] = true;
	flow->first_sequence[own] = segment.sequence;
	flow->streams[own].start(segment.sequence + 1, &budget_, &counters_.streams);
	begin_copy(*flow, now);
	if (segment.bytes > 0 && flow->state == FlowState::OPEN)
		carry(*flow, segment, direction, now);
}

// In the middle of something whose beginning was not seen.
void Tracker::unknown(const FlowKey &key, const Segment &segment, Direction direction, Now now)
{
	bool is_end = (segment.flags & (TCP_FIN | TCP_RST)) != 0;
	if (segment.bytes == 0 || is_end || direction == Direction::FROM_TARGET || is_unwanted(segment)) {
		counters_.stray_segments++;
		return;
	}
	// Keep-alive probes carry one byte that is old (RFC 9293 section 3.8.4).
	if (segment.bytes == 1)
		return;
	Flow *flow = add(key, segment, FlowState::OLDER, now);
	if (flow == nullptr || is_ciphertext(*flow, now))
		return;
	flow->older_reason = now.ring_losses > 0 ? Loss::RING_FULL : Loss::OLDER;
	bool is_joinable = begins_request(segment) || (wishes(PROTOCOL_TCP, key.local_port) & FROM_ANYWHERE);
	if (!is_joinable) {
		counters_.older++;
		sink_.on_older(*flow, flow->older_reason);
	}
	join_or_count(*flow, segment, direction, now);
}

void Tracker::join_or_count(Flow &flow, const Segment &segment, Direction direction, Now now)
{
	if (segment.flags & TCP_RST || (segment.flags & TCP_FIN && segment.bytes == 0)) {
		sink_.on_older_close(flow);
		become(flow, FlowState::CLOSED);
		return;
	}
	if (direction == Direction::FROM_TARGET || segment.bytes == 0 || is_unwanted(segment))
		return;
	bool is_anywhere = (wishes(PROTOCOL_TCP, flow.key.local_port) & FROM_ANYWHERE) != 0;
	if (!begins_request(segment) && !is_anywhere) {
		flow.lost_bytes += segment.bytes;
		return;
	}
	if (flow.lost_bytes > 0)
		sink_.on_older_bytes(flow);
	counters_.from_middle++;
	flow.is_from_middle = true;
	flow.begins_anywhere = !begins_request(segment);
	flow.streams[0].start(segment.sequence, &budget_, &counters_.streams);
	flow.started_ns = segment.time_ns;
	begin_copy(flow, now);
	if (flow.begins_anywhere)
		sink_.on_gap(flow, Direction::TO_TARGET, 0, flow.older_reason);
	carry(flow, segment, direction, now);
}

void Tracker::carry(Flow &flow, const Segment &segment, Direction direction, Now now)
{
	Stream &stream = stream_of(flow, direction);
	Stream &opposite = stream_of(flow, other(direction));
	if (direction == Direction::TO_TARGET)
		flow.note_answers(segment, segment.bytes > 0 && stream.brings_new(segment.sequence + segment.bytes));
	bool is_reset = (segment.flags & TCP_RST) != 0;
	// One out of place is answered by the receiver and ends nothing (RFC 5961 section 3).
	if (is_reset && stream.has_started() && !stream.is_near(segment.sequence))
		return;
	if (direction == Direction::TO_TARGET && stream.has_started())
		leave_out(flow, segment, now);
	if (segment.flags & TCP_ACK && opposite.has_started()) {
		Link link(*this, flow, other(direction), now);
		opposite.acknowledged(segment.acknowledged, now, link);
	}
	if (is_reset) {
		reset(flow, segment, direction, now);
		return;
	}
	bytes(flow, segment, direction, first_byte(segment), now);
	watch(flow);
	close_when_done(flow, now);
}

void Tracker::bytes(Flow &flow, const Segment &segment, Direction direction, uint32_t sequence, Now now)
{
	bool is_fin = (segment.flags & TCP_FIN) != 0;
	if (direction == Direction::FROM_TARGET && !flow.has_answers) {
		if (is_fin && !flow.has_target_fin) {
			flow.has_target_fin = true;
			sink_.on_half_close(flow, direction, now.ns);
			become(flow, flow.state);
		}
		return;
	}
	Stream &stream = stream_of(flow, direction);
	if (segment.bytes == 0 && !is_fin)
		return;
	if (!stream.has_started())
		stream.start(sequence, &budget_, &counters_.streams);
	Loss rest = is_unwanted(segment) ? Loss::NOT_WANTED : Loss::RATE_LIMIT;
	Link link(*this, flow, direction, now);
	stream.segment(sequence, segment.payload, segment.captured_bytes, segment.bytes, is_fin, rest, now, link);
}

void Tracker::datagram(const Segment &segment, Now now)
{
	FlowKey key(segment, Direction::TO_TARGET);
	Flow *flow = find(key);
	if (flow != nullptr && flow->interface != segment.interface && now.ms - flow->active_ms < DATAGRAM_MOVES_MS) {
		// The same one again, as a bridge or a bond shows it.
		counters_.second_interface++;
		return;
	}
	if (flow == nullptr) {
		flow = add(key, segment, FlowState::OPENING, now);
		if (flow == nullptr)
			return;
		begin_copy(*flow, now);
	}
	flow->interface = segment.interface;
	touch(*flow, now);
	if (segment.captured_bytes < segment.bytes)
		sink_.on_gap(*flow, Direction::TO_TARGET, segment.bytes, Loss::MALFORMED);
	else
		sink_.on_bytes(*flow, Direction::TO_TARGET, segment.payload, segment.bytes);
}

// What a proxy in the target's namespace will decipher comes again over loopback, and that is what counts.
bool Tracker::is_ciphertext(Flow &flow, Now now)
{
	if (flow.interface == LOOPBACK || flow.key.protocol != PROTOCOL_TCP || redirects_ == nullptr ||
	    !redirects_->is_redirected(flow.key, now.ms))
		return false;
	counters_.redirected++;
	become(flow, FlowState::IGNORED);
	return true;
}

void Tracker::begin_copy(Flow &flow, Now now)
{
	// An older one was asked about when it was first seen.
	if (flow.state == FlowState::OPENING && is_ciphertext(flow, now))
		return;
	flow.has_answers = (wishes(flow.key.protocol, flow.key.local_port) & ANSWERS) != 0;
	counters_.connections++;
	become(flow, FlowState::OPEN);
	touch(flow, now);
	sink_.on_open(flow);
}

} // namespace sniffer
