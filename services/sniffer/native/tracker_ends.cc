// How connections end, and what still comes of them: the end that both sides have said, a reset, one that others know of.
#include <algorithm>

#include "tracker_link.h"

namespace sniffer {

// The bytes before it were acknowledged as far as they are; what comes behind it is late.
void Tracker::reset(Flow &flow, const Segment &segment, Direction direction, Now now)
{
	Stream &stream = stream_of(flow, direction);
	bool is_of_peer = direction == Direction::TO_TARGET;
	bool has_all_seen = now.ring_losses == 0;
	if (is_of_peer && has_all_seen && stream.has_started() && stream.is_beyond(segment.sequence)) {
		if (flow.reset_ms == 0)
			flow.reset_ms = now.ms;
		watch(flow);
		return;
	}
	// What the receiver misses as well it will never have: no loss, unless it may be the ring's.
	if (has_all_seen) {
		stream_of(flow, other(direction)).abandon();
		if (stream.ends_at(segment.sequence))
			stream.abandon();
	}
	close(flow, is_of_peer ? End::PEER_RESET : End::TARGET_RESET, now);
}

void Tracker::close(Flow &flow, End reason, Now now)
{
	for (Direction direction : {Direction::TO_TARGET, Direction::FROM_TARGET}) {
		Link link(*this, flow, direction, now);
		stream_of(flow, direction).finish(now, link);
	}
	flow.was_reset = reason == End::PEER_RESET || reason == End::TARGET_RESET;
	sink_.on_close(flow, reason, now.ns);
	become(flow, FlowState::CLOSED);
}

void Tracker::close_when_done(Flow &flow, Now now)
{
	if (flow.state != FlowState::OPEN || !flow.streams[0].has_ended())
		return;
	if (flow.has_answers ? flow.streams[1].has_ended() : flow.has_target_fin)
		close(flow, End::CLOSED, now);
}

// Of a connection that is over: sent again, on its way while it was reset, or the first that is seen of the next one with the
// same addresses, whose SYN nothing but the ring can have lost.
void Tracker::late(Flow &flow, const FlowKey &key, const Segment &segment, Direction direction, Now now)
{
	Stream &stream = stream_of(flow, direction);
	bool is_behind = static_cast<int32_t>(segment.sequence - stream.sequence()) <= 0;
	bool may_be_behind_reset = flow.was_reset && now.ring_losses == 0;
	bool is_old = !stream.has_started() || (stream.is_near(segment.sequence) && (is_behind || may_be_behind_reset));
	if (is_old || direction == Direction::FROM_TARGET || segment.bytes == 0) {
		counters_.late_segments++;
		return;
	}
	remove(flow);
	unknown(key, segment, direction, now);
}

// For what fills a hole, or for the reset that the target takes.
bool Tracker::has_to_wait(const Flow &flow)
{
	return flow.state == FlowState::OPEN &&
	       (flow.streams[0].has_hole() || flow.streams[1].has_hole() || flow.reset_ms != 0);
}

void Tracker::watch(Flow &flow)
{
	if (!has_to_wait(flow) || flow.is_waiting)
		return;
	flow.is_waiting = true;
	waiting_.push_back(&flow);
}

bool Tracker::end_flow(uint32_t id, Now now)
{
	auto found = by_id_.find(id);
	if (found == by_id_.end() || found->second->state != FlowState::OPEN)
		return false;
	Flow &flow = *found->second;
	if (flow.streams[0].has_seen_end() && (flow.has_answers ? flow.streams[1].has_seen_end() : flow.has_target_fin)) {
		close(flow, End::CLOSED, now);
		return false;
	}
	for (Direction direction : {Direction::TO_TARGET, Direction::FROM_TARGET})
		if (direction == Direction::TO_TARGET || flow.has_answers)
			sink_.on_gap(flow, direction, 0, Loss::RING_FULL);
	end(flow, now);
	return true;
}

} // namespace sniffer
