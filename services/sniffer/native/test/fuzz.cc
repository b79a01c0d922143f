// libFuzzer: bytes become packets of a ring, which go through parser, reassembly of fragments, tracker and batch. What must hold however they are:
// no byte is read that is not there, memory stays within its limits, and everything is given back at the end.
#include <cstdlib>
#include <cstring>

#include "batch.h"
#include "fragments.h"
#include "packet.h"
#include "tracker.h"

using namespace sniffer;

namespace {

void require(bool holds)
{
	if (!holds)
		abort();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static Batch batch(1);
	TrackerLimits limits;
	limits.most_flows = 16;
	Budget budget;
	budget.most_bytes = 64 * 1024;
	budget.most_bytes_of_stream = 16 * 1024;
	auto tracker = std::make_unique<Tracker>(batch, limits, budget, 1);
	for (uint16_t port = 0; port < 256; port++) {
		tracker->set_port(PROTOCOL_TCP, port, Tracker::WATCHED | (port % 2 ? Tracker::ANSWERS : 0) |
							  (port % 3 ? 0 : Tracker::FROM_ANYWHERE));
		tracker->set_port(PROTOCOL_UDP, port, Tracker::WATCHED);
	}
	FragmentLimits fragment_limits;
	fragment_limits.most_bytes = 16 * 1024;
	fragment_limits.most_bytes_of_pair = 8 * 1024;
	fragment_limits.most_datagrams = 4;
	Fragments fragments(fragment_limits, 1);
	Now now{1, 0, 0};
	// Each: two bytes of length, one of circumstances, the packet.
	for (size_t at = 0; at + 3 <= size;) {
		size_t length = (data[at] << 8 | data[at + 1]) % 2048;
		uint8_t how = data[at + 2];
		at += 3;
		if (length > size - at)
			length = size - at;
		std::vector<uint8_t> exact(data + at, data + at + length);
		at += length;
		Captured packet;
		packet.data = exact.data();
		packet.captured_bytes = static_cast<uint32_t>(length);
		packet.bytes = packet.captured_bytes + (how & 1 ? how : 0);
		packet.ethertype = how & 2 ? 0x86dd : how & 128 ? 0x8100 : 0x0800;
		packet.interface = how & 4 ? 1 : 2;
		packet.is_outgoing = (how & 8) != 0;
		packet.has_checksum = false;
		if (how & 4)
			packet.ethertype = ethertype_of(packet, true);
		now.ms += how & 16 ? 300 : 1;
		now.ring_losses += how & 32 ? 1 : 0;
		Segment segment;
		Fragment fragment;
		Parsed parsed = parse(packet, &segment, &fragment);
		if (parsed == Parsed::FRAGMENT) {
			const Fragment *whole = fragments.add(fragment, now.ms);
			require(fragments.held_bytes() <= fragment_limits.most_bytes);
			require(fragments.waiting() <= fragment_limits.most_datagrams);
			if (whole != nullptr && parse_whole(*whole, &segment) == Parsed::SEGMENT)
				tracker->segment(segment, now);
		} else if (parsed == Parsed::SEGMENT) {
			require(segment.captured_bytes <= length);
			tracker->segment(segment, now);
		}
		if (how & 64)
			tracker->tick(now);
		FlowKey key;
		if (how % 7 == 0)
			tracker->mute(how, &key, now);
		require(tracker->flows() <= limits.most_flows);
		require(tracker->held_bytes() <= budget.most_bytes + 4096);
	}
	for (unsigned port = 0; port < 256; port++) {
		tracker->forget_port(PROTOCOL_TCP, static_cast<uint16_t>(port), now);
		tracker->forget_port(PROTOCOL_UDP, static_cast<uint16_t>(port), now);
	}
	fragments.tick(UINT64_MAX);
	require(fragments.held_bytes() == 0 && fragments.waiting() == 0);
	require(tracker->flows() == 0 && tracker->held_bytes() == 0);
	batch.take();
	return 0;
}
