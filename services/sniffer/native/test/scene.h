// A tracker with a peer and a target that talk through it: what the tests say is what packets say, and what the tracker
// tells comes out as lines.
#pragma once

#include <cstring>
#include <map>
#include <string>

#include "tracker.h"

namespace scene {

using namespace sniffer;

class Lines final : public TrackerSink {
      public:
	std::string text;
	std::map<uint32_t, std::string> bytes[2];
	uint64_t lost = 0;
	bool says_owed = false;

	void on_open(const Flow &flow) override
	{
		say(flow, flow.is_from_middle ? "middle" : "open");
	}
	void on_bytes(const Flow &flow, Direction direction, const uint8_t *data, size_t count) override
	{
		std::string got(reinterpret_cast<const char *>(data), count);
		bytes[static_cast<int>(direction)][flow.id] += got;
		say(flow, arrow(direction) + got);
	}
	void on_gap(const Flow &flow, Direction direction, uint64_t count, Loss reason) override
	{
		lost += count;
		say(flow, arrow(direction) + "[" + std::to_string(count) + ":" + std::to_string(static_cast<int>(reason)) + "]");
	}
	void on_half_close(const Flow &flow, Direction direction, uint64_t) override { say(flow, arrow(direction) + "fin" + owed(flow, direction)); }
	void on_close(const Flow &flow, End reason, uint64_t) override
	{
		const char *names[] = {"?", "closed", "peer-reset", "target-reset", "idle"};
		say(flow, names[static_cast<int>(reason)] + (reason == End::PEER_RESET ? owed(flow, Direction::TO_TARGET) : ""));
	}
	void on_older(const Flow &flow, Loss reason) override
	{
		say(flow, "older:" + std::to_string(static_cast<int>(reason)));
	}
	void on_older_bytes(const Flow &flow) override { say(flow, "older-bytes:" + std::to_string(flow.lost_bytes)); }
	void on_older_close(const Flow &flow) override { say(flow, "older-closed:" + std::to_string(flow.lost_bytes)); }
	void on_no_room(const FlowKey &) override { text += "no-room "; }
	std::string take()
	{
		std::string taken;
		taken.swap(text);
		if (!taken.empty())
			taken.pop_back();
		return taken;
	}

      private:
	std::string owed(const Flow &flow, Direction direction) const
	{
		return says_owed && direction == Direction::TO_TARGET && flow.is_unanswered ? "-unanswered" : "";
	}
	static std::string arrow(Direction direction) { return direction == Direction::TO_TARGET ? ">" : "<"; }
	void say(const Flow &flow, const std::string &what) { text += std::to_string(flow.id) + what + " "; }
};

struct Scene {
	Lines lines;
	Now now{1000, 0, 0};
	Tracker tracker;
	uint32_t interface = 2;

	explicit Scene(uint8_t wishes = 0, TrackerLimits limits = {}, Budget budget = {})
	    : tracker(lines, limits, budget, 42)
	{
		tracker.set_port(PROTOCOL_TCP, 80, Tracker::WATCHED | wishes);
		tracker.set_port(PROTOCOL_UDP, 53, Tracker::WATCHED);
	}
	Segment make(Direction direction, uint8_t flags, uint32_t sequence, uint32_t acknowledged,
		     const std::string &payload, uint16_t peer_port)
	{
		bool is_to_target = direction == Direction::TO_TARGET;
		Segment segment;
		segment.family = 4;
		segment.protocol = PROTOCOL_TCP;
		const uint8_t peer[] = {10, 0, 0, 2}, target[] = {10, 0, 0, 1};
		memcpy(segment.source, is_to_target ? peer : target, 4);
		memcpy(segment.destination, is_to_target ? target : peer, 4);
		segment.source_port = is_to_target ? peer_port : 80;
		segment.destination_port = is_to_target ? 80 : peer_port;
		segment.flags = flags;
		segment.sequence = sequence;
		segment.acknowledged = acknowledged;
		segment.payload = reinterpret_cast<const uint8_t *>(payload.data());
		segment.bytes = segment.captured_bytes = static_cast<uint32_t>(payload.size());
		segment.interface = interface;
		segment.is_outgoing = !is_to_target && interface != 1;
		return segment;
	}
	void to(uint8_t flags, uint32_t sequence, const std::string &payload = "", uint16_t peer_port = 40000)
	{
		tracker.segment(make(Direction::TO_TARGET, flags, sequence, 0, payload, peer_port), now);
	}
	void from(uint8_t flags, uint32_t sequence, uint32_t acknowledged, const std::string &payload = "",
		  uint16_t peer_port = 40000)
	{
		tracker.segment(make(Direction::FROM_TARGET, flags, sequence, acknowledged, payload, peer_port), now);
	}
	// The peer's first byte has number 1001, the target's 5001.
	void shake_hands(uint16_t peer_port = 40000)
	{
		to(TCP_SYN, 1000, "", peer_port);
		from(TCP_SYN | TCP_ACK, 5000, 1001, "", peer_port);
	}
	void pass(uint64_t ms)
	{
		now.ms += ms;
		tracker.tick(now);
	}
	void datagram(const std::string &payload, uint16_t peer_port = 40000)
	{
		Segment segment = make(Direction::TO_TARGET, 0, 0, 0, payload, peer_port);
		segment.protocol = PROTOCOL_UDP;
		segment.destination_port = 53;
		tracker.segment(segment, now);
	}
};

} // namespace scene
