// The tracker's table: ports, room, age.
#include <algorithm>

#include "tracker_link.h"

namespace sniffer {

Tracker::Tracker(TrackerSink &sink, TrackerLimits limits, Budget budget, uint64_t secret)
    : sink_(sink), limits_(limits), budget_(budget),
      flows_(64, FlowKeyHash{{secret, secret * 0x9e3779b97f4a7c15ull | 1}})
{
}

// Somebody new may want what nobody wanted any more.
void Tracker::set_port(uint8_t protocol, uint16_t port, uint8_t wishes)
{
	uint8_t &now = (protocol == PROTOCOL_UDP ? udp_ : tcp_)[port];
	// What was captured before comes yet.
	now = wishes == 0 ? 0 : static_cast<uint8_t>(wishes | (now & PREFILTERED));
	for (auto place = lasting_.begin(); place != lasting_.end();) {
		Flow &flow = **place++;
		if (flow.is_muted && flow.key.protocol == protocol && flow.key.local_port == port)
			unmute(flow);
	}
}

bool Tracker::mute(uint32_t id, FlowKey *key, Now now)
{
	auto found = by_id_.find(id);
	if (found == by_id_.end() || found->second->state != FlowState::OPEN || found->second->key.protocol != PROTOCOL_TCP)
		return false;
	Flow &flow = *found->second;
	*key = flow.key;
	counters_.muted++;
	flow.is_muted = true;
	flow.muted_ms = now.ms;
	flow.has_peer_fin = flow.streams[0].has_ended();
	flow.has_target_fin = flow.has_target_fin || flow.streams[1].has_ended();
	for (Stream &stream : flow.streams)
		stream.abandon();
	become(flow, FlowState::IGNORED);
	return true;
}

void Tracker::unmute(Flow &flow)
{
	unmuted_.push_back(flow.key);
	remove(flow);
}

uint8_t Tracker::wishes(uint8_t protocol, uint16_t port) const
{
	return (protocol == PROTOCOL_UDP ? udp_ : tcp_)[port];
}

Flow *Tracker::find(const FlowKey &key) const
{
	auto found = flows_.find(key);
	return found == flows_.end() ? nullptr : found->second.get();
}

Flow *Tracker::add(const FlowKey &key, const Segment &segment, FlowState state, Now now)
{
	if (flows_.size() >= limits_.most_flows && !make_room(now)) {
		counters_.no_room++;
		sink_.on_no_room(key);
		return nullptr;
	}
	auto made = std::make_unique<Flow>(key, ++last_id_);
	Flow *flow = made.get();
	flows_.emplace(key, std::move(made));
	by_id_.emplace(flow->id, flow);
	flow->state = state;
	flow->interface = segment.interface;
	flow->started_ns = segment.time_ns;
	flow->active_ms = now.ms;
	flow->list = &list_of(*flow);
	flow->place = flow->list->insert(flow->list->end(), flow);
	return flow;
}

// Who is not copied goes first: a flood of SYNs must not push out those that talk.
bool Tracker::make_room(Now now)
{
	return evict(brief_, 0, now) || evict(lasting_, 0, now) || evict(ending_, limits_.protected_ms, now) ||
	       evict(datagrams_, limits_.protected_ms, now) || evict(copied_, limits_.protected_ms, now);
}

bool Tracker::evict(std::list<Flow *> &list, uint64_t silent_ms, Now now)
{
	if (list.empty() || now.ms - list.front()->active_ms < silent_ms)
		return false;
	counters_.evicted++;
	end(*list.front(), now);
	return true;
}

std::list<Flow *> &Tracker::list_of(const Flow &flow)
{
	switch (flow.state) {
	case FlowState::OPENING:
	case FlowState::CLOSED:
		return brief_;
	case FlowState::OLDER:
	case FlowState::IGNORED:
		return lasting_;
	case FlowState::OPEN:
		break;
	}
	if (flow.key.protocol == PROTOCOL_UDP)
		return datagrams_;
	bool has_ended = flow.streams[0].has_ended() || flow.streams[1].has_ended() || flow.has_target_fin;
	return has_ended ? ending_ : copied_;
}

void Tracker::become(Flow &flow, FlowState state)
{
	flow.state = state;
	std::list<Flow *> &list = list_of(flow);
	if (flow.list == &list)
		return;
	list.splice(list.end(), *flow.list, flow.place);
	flow.list = &list;
}

void Tracker::touch(Flow &flow, Now now)
{
	flow.active_ms = now.ms;
	flow.list->splice(flow.list->end(), *flow.list, flow.place);
}

// Its end was not seen, or there is no room for it.
void Tracker::end(Flow &flow, Now now)
{
	if (flow.state == FlowState::OPEN)
		close(flow, End::IDLE, now);
	else if (flow.state == FlowState::OLDER)
		sink_.on_older_close(flow);
	remove(flow);
}

void Tracker::remove(Flow &flow)
{
	flow.list->erase(flow.place);
	by_id_.erase(flow.id);
	if (flow.is_waiting)
		waiting_.erase(std::find(waiting_.begin(), waiting_.end(), &flow));
	flows_.erase(FlowKey(flow.key));
}

void Tracker::tell_older()
{
	for (Flow *flow : lasting_) {
		if (flow->state != FlowState::OLDER || flow->lost_bytes == 0)
			continue;
		sink_.on_older_bytes(*flow);
		flow->lost_bytes = 0;
	}
}

void Tracker::tick(Now now)
{
	// Closing takes no flow out of the list; what has no hole any more leaves it here.
	for (size_t at = 0; at < waiting_.size();) {
		Flow &flow = *waiting_[at];
		if (flow.state == FlowState::OPEN) {
			for (Direction direction : {Direction::TO_TARGET, Direction::FROM_TARGET}) {
				Link link(*this, flow, direction, now);
				flow.streams[static_cast<int>(direction)].check_hole(now, link);
			}
			close_when_done(flow, now);
			if (flow.state == FlowState::OPEN && flow.reset_ms != 0 && now.ms - flow.reset_ms >= RESET_MS)
				close(flow, End::PEER_RESET, now);
		}
		if (has_to_wait(flow)) {
			at++;
			continue;
		}
		flow.is_waiting = false;
		waiting_[at] = waiting_.back();
		waiting_.pop_back();
	}
	for (std::list<Flow *> *list : {&brief_, &lasting_, &datagrams_, &ending_, &copied_})
		expire(*list, now);
}

uint64_t Tracker::limit_ms(const Flow &flow) const
{
	if (flow.state == FlowState::OPENING)
		return limits_.opening_ms;
	if (flow.list == &brief_)
		return limits_.closed_ms;
	if (flow.list == &datagrams_)
		return limits_.datagrams_idle_ms;
	return flow.list == &ending_ ? limits_.half_closed_ms : limits_.idle_ms;
}

void Tracker::expire(std::list<Flow *> &list, Now now)
{
	while (!list.empty() && now.ms - list.front()->active_ms >= limit_ms(*list.front()))
		end(*list.front(), now);
}

void Tracker::forget_port(uint8_t protocol, uint16_t port, Now now)
{
	set_port(protocol, port, 0);
	std::vector<Flow *> over;
	for (const auto &entry : flows_)
		if (entry.first.protocol == protocol && entry.first.local_port == port)
			over.push_back(entry.second.get());
	for (Flow *flow : over)
		end(*flow, now);
}

} // namespace sniffer
