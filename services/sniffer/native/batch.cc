// See batch.h.
#include "batch.h"

#include <cstring>

namespace sniffer {

namespace {

constexpr size_t ALIGNMENT = 8;
constexpr size_t FIRST_BYTES = 64 * 1024;
// One event fits into one frame (proto/frame.ts): a receiver need not cut it.
constexpr size_t MOST_EVENT_BYTES = 128 * 1024;
// More at once is worth an event of its own, and no second copy.
constexpr size_t GATHERED_BELOW = 4 * 1024;

} // namespace

std::vector<uint8_t> Batch::take()
{
	pass_all();
	std::vector<uint8_t> taken;
	taken.swap(bytes_);
	last_ = SIZE_MAX;
	return taken;
}

EventHead *Batch::append(EventType type, uint32_t flow, const void *payload, size_t bytes)
{
	if (bytes_.capacity() == 0)
		bytes_.reserve(FIRST_BYTES);
	size_t at = bytes_.size();
	size_t padded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
	bytes_.resize(at + sizeof(EventHead) + padded);
	auto *head = reinterpret_cast<EventHead *>(bytes_.data() + at);
	head->type = static_cast<uint8_t>(type);
	head->flow = flow;
	head->bytes = static_cast<uint32_t>(bytes);
	if (bytes > 0)
		memcpy(bytes_.data() + at + sizeof(EventHead), payload, bytes);
	last_ = at;
	end_ = at + sizeof(EventHead) + bytes;
	return head;
}

EventAddresses Batch::addresses_of(const FlowKey &key) const
{
	EventAddresses addresses{};
	memcpy(addresses.local, key.local, sizeof(addresses.local));
	memcpy(addresses.peer, key.peer, sizeof(addresses.peer));
	addresses.local_port = key.local_port;
	addresses.peer_port = key.peer_port;
	addresses.family = key.family;
	addresses.protocol = key.protocol;
	addresses.sample = sample_of(key, sample_seed_);
	return addresses;
}

void Batch::on_open(const Flow &flow)
{
	EventAddresses addresses = addresses_of(flow.key);
	addresses.is_from_middle = flow.is_from_middle;
	addresses.begins_anywhere = flow.begins_anywhere;
	addresses.interface = flow.interface;
	EventHead *head = append(EventType::OPEN, flow.id, &addresses, sizeof(addresses));
	head->number = flow.started_ns;
}

void Batch::gather(uint32_t flow, Direction direction, const uint8_t *data, size_t bytes)
{
	auto found = gathered_.find(flow);
	bool is_another = found != gathered_.end() && (found->second.direction != direction ||
						       found->second.bytes.size() + bytes > MOST_EVENT_BYTES);
	if (is_another)
		pass(flow);
	if (is_another || found == gathered_.end()) {
		found = gathered_.emplace(flow, Gathered{direction, {}}).first;
		gathered_order_.push_back(flow);
	}
	found->second.bytes.insert(found->second.bytes.end(), data, data + bytes);
	gathered_bytes_ += bytes;
}

void Batch::pass(uint32_t flow)
{
	auto found = gathered_.find(flow);
	if (found == gathered_.end())
		return;
	const Gathered &one = found->second;
	append(EventType::BYTES, flow, one.bytes.data(), one.bytes.size())->direction = static_cast<uint8_t>(one.direction);
	gathered_bytes_ -= one.bytes.size();
	gathered_.erase(found);
}

void Batch::pass_all()
{
	for (uint32_t flow : gathered_order_)
		pass(flow);
	gathered_order_.clear();
}

void Batch::on_bytes(const Flow &flow, Direction direction, const uint8_t *data, size_t bytes)
{
	if (flow.key.protocol == PROTOCOL_TCP && bytes < GATHERED_BELOW) {
		gather(flow.id, direction, data, bytes);
		return;
	}
	pass(flow.id);
	add_bytes(flow, direction, data, bytes);
}

void Batch::add_bytes(const Flow &flow, Direction direction, const uint8_t *data, size_t bytes)
{
	if (last_ != SIZE_MAX && flow.key.protocol == PROTOCOL_TCP) {
		auto *head = reinterpret_cast<EventHead *>(bytes_.data() + last_);
		bool is_same = head->type == static_cast<uint8_t>(EventType::BYTES) && head->flow == flow.id &&
			       head->direction == static_cast<uint8_t>(direction);
		if (is_same && head->bytes + bytes <= MOST_EVENT_BYTES) {
			head->bytes += static_cast<uint32_t>(bytes);
			size_t end = end_ + bytes;
			bytes_.resize((end + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
			memcpy(bytes_.data() + end_, data, bytes);
			end_ = end;
			return;
		}
	}
	for (size_t at = 0; at == 0 || at < bytes; at += MOST_EVENT_BYTES) {
		size_t part = bytes - at < MOST_EVENT_BYTES ? bytes - at : MOST_EVENT_BYTES;
		append(EventType::BYTES, flow.id, data + at, part)->direction = static_cast<uint8_t>(direction);
	}
}

void Batch::on_gap(const Flow &flow, Direction direction, uint64_t bytes, Loss reason)
{
	pass(flow.id);
	EventHead *head = append(EventType::GAP, flow.id, nullptr, 0);
	head->direction = static_cast<uint8_t>(direction);
	head->reason = static_cast<uint8_t>(reason);
	head->number = bytes;
}

void Batch::mark(uint64_t number)
{
	pass_all();
	append(EventType::MARK, 0, nullptr, 0)->number = number;
}

void Batch::on_half_close(const Flow &flow, Direction direction, uint64_t at_ns)
{
	pass(flow.id);
	EventHead *head = append(EventType::HALF_CLOSE, flow.id, nullptr, 0);
	head->direction = static_cast<uint8_t>(direction);
	head->flags = flow.is_unanswered;
	head->number = at_ns;
}

void Batch::on_close(const Flow &flow, End reason, uint64_t at_ns)
{
	pass(flow.id);
	EventHead *head = append(EventType::CLOSE, flow.id, nullptr, 0);
	head->flags = flow.is_unanswered;
	head->reason = static_cast<uint8_t>(reason);
	head->number = at_ns;
}

void Batch::on_older(const Flow &flow, Loss reason)
{
	EventAddresses addresses = addresses_of(flow.key);
	append(EventType::OLDER, flow.id, &addresses, sizeof(addresses))->reason = static_cast<uint8_t>(reason);
}

void Batch::on_older_close(const Flow &flow)
{
	add_older(EventType::OLDER_CLOSE, flow);
}

void Batch::on_older_bytes(const Flow &flow)
{
	add_older(EventType::OLDER_BYTES, flow);
}

void Batch::add_older(EventType type, const Flow &flow)
{
	EventHead *head = append(type, flow.id, nullptr, 0);
	head->number = flow.lost_bytes;
	head->reason = static_cast<uint8_t>(flow.older_reason);
}

void Batch::on_no_room(const FlowKey &key)
{
	EventAddresses addresses = addresses_of(key);
	EventHead *head = append(EventType::NO_ROOM, 0, &addresses, sizeof(addresses));
	head->reason = static_cast<uint8_t>(Loss::CONNECTION_LIMIT);
}

} // namespace sniffer
