// What both halves of the tracker use: the way from a stream to the tracker's sink.
#pragma once

#include "tracker.h"

namespace sniffer {

// The loopback interface has this index in every network namespace.
constexpr uint32_t LOOPBACK = 1;
// A flow of datagrams may change its interface after this silence.
constexpr uint64_t DATAGRAM_MOVES_MS = 1'000;
// A peer that is asked for another reset, because the first was out of place, has been asked and has sent it.
constexpr uint64_t RESET_MS = 1'000;

inline Direction other(Direction direction)
{
	return direction == Direction::TO_TARGET ? Direction::FROM_TARGET : Direction::TO_TARGET;
}

inline Stream &stream_of(Flow &flow, Direction direction)
{
	return flow.streams[static_cast<int>(direction)];
}

struct Tracker::Link final : StreamSink {
	Link(Tracker &tracker, Flow &flow, Direction direction, Now now)
	    : tracker(tracker), flow(flow), direction(direction), now(now)
	{
	}
	void on_bytes(const uint8_t *data, size_t bytes) override
	{
		tracker.sink_.on_bytes(flow, direction, data, bytes);
	}
	void on_gap(uint64_t bytes, Loss reason) override { tracker.sink_.on_gap(flow, direction, bytes, reason); }
	void on_end() override
	{
		tracker.sink_.on_half_close(flow, direction, now.ns);
		tracker.become(flow, flow.state);
	}

	Tracker &tracker;
	Flow &flow;
	Direction direction;
	Now now;
};

} // namespace sniffer
