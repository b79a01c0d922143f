// Of the tracker: requests that nobody wants, which the filter in the kernel has left out (bpf/left-out.h, bpf/prefilter.h).
#include "../../../bpf/capture.h"
#include "tracker_link.h"

namespace sniffer {

// Without its payload comes what is beyond a limit, and what the prefilter has seen that nobody wants, which is never bulk.
bool Tracker::is_unwanted(const Segment &segment) const
{
	return segment.captured_bytes == 0 && segment.bytes > 0 && segment.bytes < CAPTURE_BULK_BYTES &&
	       (wishes(PROTOCOL_TCP, segment.destination_port) & PREFILTERED) != 0;
}

// In front of this segment.
void Tracker::leave_out(Flow &flow, const Segment &segment, Now now)
{
	const LeftOut &left = segment.left;
	Stream &stream = flow.streams[0];
	Link link(*this, flow, Direction::TO_TARGET, now);
	// The packet may be one that was sent again.
	bool is_behind = left.bytes > 0 && static_cast<int32_t>(left.from - segment.sequence) > 0;
	if (left.is_doubtful)
		stream.doubt(is_behind ? left.from : segment.sequence);
	if (left.bytes > 0)
		stream.segment(left.from, nullptr, 0, left.bytes, false, Loss::NOT_WANTED, now, link);
}

} // namespace sniffer
