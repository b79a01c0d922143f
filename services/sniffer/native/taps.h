// The programs at the interfaces of the target's network and the ring that they fill (bpf/taps.h): what Ring is for a packet
// socket, at less of a price for the target. Linux 6.6 and CAP_NET_ADMIN; else Ring.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "../../../bpf/capture.h"
#include "descriptor.h"
#include "packet.h"
#include "tap_ring.h"

namespace sniffer {

// Descriptors of somebody else's.
struct TapPrograms {
	int in = -1, out = -1;
	int in_bare = -1, out_bare = -1; // where packets begin with their network header
	int ring = -1; // maps: of the ring's memory, of capture_taps, of who waits to be woken
	int state = -1;
	int bell = -1;
	uint64_t ring_bytes = 0;
	uint64_t ring_secret = 0;
};

class Taps {
      public:
	Taps() = default;
	~Taps();
	Taps(const Taps &) = delete;
	Taps &operator=(const Taps &) = delete;

	// To every interface of the calling thread's network; 0 or an errno, and nothing is left at any.
	int attach(const TapPrograms &programs);
	bool is_attached() const { return state_ != nullptr; }
	// Readable when an interface has come or gone; then `follow`, in the same network.
	int news() const { return news_.get(); }
	int follow();

	// Readable once there was something for one who dozed, until it is awake.
	int fd() const { return programs_.bell; }
	// False when there is something to read.
	bool doze();
	void awake();

	// `visit(const Captured &)`. False when there was nothing. Not everything, lest somebody wait for too long.
	template <typename Visit> bool read_some(Visit visit);
	// Packets that found the ring full since the last call.
	uint32_t take_losses();
	// Read, and put into the ring by now; in a unit of its own.
	uint64_t position() const { return ring_.position(); }
	uint64_t end() const { return ring_.end(); }
	uint64_t packets() const { return packets_; }
	uint64_t truncated() const { return truncated_; }

      private:
	static constexpr uint64_t READ_BYTES = 256 * 1024;

	int map_all();
	void unmap();
	int attach_to(unsigned interface);
	// From CLOCK_MONOTONIC to the epoch; anew for each look, because clocks are set.
	uint64_t monotonic_offset() const;
	TapPrograms programs_;
	Descriptor news_;
	std::map<unsigned, std::vector<Descriptor>> links_; // by interface
	capture_taps *state_ = nullptr;	 // shared with the kernel, as these
	void *memory_ = nullptr;
	uint64_t *heard_ = nullptr;	 // of the bell
	uint64_t *rung_ = nullptr;
	TapRing ring_;
	uint64_t last_ns_ = 0; // CLOCK_MONOTONIC
	uint64_t losses_ = 0;
	uint64_t packets_ = 0;
	uint64_t truncated_ = 0;
};

template <typename Visit> bool Taps::read_some(Visit visit)
{
	uint64_t from = position();
	uint64_t offset = monotonic_offset();
	while (position() - from < READ_BYTES) {
		const capture_record *record = ring_.next();
		if (record == nullptr)
			break;
		Captured packet;
		packet.data = reinterpret_cast<const uint8_t *>(record + 1);
		packet.captured_bytes = record->flags & CAPTURE_RECORD_EMPTY ? 0 : record->captured;
		packet.bytes = record->bytes;
		packet.ethertype = static_cast<uint16_t>(__builtin_bswap16(record->ethertype));
		packet.interface = record->interface;
		packet.is_outgoing = (record->flags & CAPTURE_RECORD_OUTGOING) != 0;
		packet.left = {record->left_from, record->left_bytes, (record->flags & CAPTURE_RECORD_DOUBTFUL) != 0};
		packet.has_checksum = record->has_valid_checksum == 0;
		packet.may_be_unfinished = true;
		// Some are a tick late: time does not go back.
		if (record->monotonic_ns > last_ns_)
			last_ns_ = record->monotonic_ns;
		packet.time_ns = last_ns_ + offset;
		packets_++;
		if (packet.captured_bytes < packet.bytes)
			truncated_++;
		visit(packet);
	}
	ring_.release();
	return position() != from;
}

} // namespace sniffer
