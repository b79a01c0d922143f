// The reader's side of bpf/shared-ring.h: what the programs at the interfaces have put into memory that they share with us.
// Knows neither maps nor the kernel.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../../../bpf/shared-ring.h"

namespace sniffer {

class TapRing {
      public:
	TapRing() = default;
	// Of somebody else's memory: `ring_bytes` and room for one record more.
	TapRing(const uint8_t *memory, capture_taps *state, uint64_t ring_bytes, uint64_t secret)
	    : memory_(memory), state_(state), ring_bytes_(ring_bytes), secret_(secret)
	{
	}

	static constexpr size_t memory_bytes(uint64_t ring_bytes)
	{
		return ring_bytes + CAPTURE_MOST_BYTES + sizeof(capture_record);
	}

	// The next record, or null where it is not finished yet; its packet is behind it. It stays until `release`.
	const capture_record *next()
	{
		// Asked for once for all that is there: each look takes the line from who writes.
		if (position_ == seen_end_)
			seen_end_ = end();
		if (position_ == seen_end_)
			return nullptr;
		auto *record = reinterpret_cast<const capture_record *>(memory_ + (position_ & (ring_bytes_ - 1)));
		if (__atomic_load_n(&record->seal, __ATOMIC_ACQUIRE) != ring_seal(position_, secret_))
			return nullptr;
		position_ += ring_size_of(record->captured);
		return record;
	}
	// All that was read is room again.
	void release() { __atomic_store_n(&state_->consumed, position_, __ATOMIC_RELEASE); }

	// Read, and reserved by now.
	uint64_t position() const { return position_; }
	uint64_t end() const { return __atomic_load_n(&state_->reserved, __ATOMIC_SEQ_CST); }

      private:
	const uint8_t *memory_ = nullptr;
	capture_taps *state_ = nullptr;
	uint64_t ring_bytes_ = 0;
	uint64_t secret_ = 0;
	uint64_t position_ = 0;
	uint64_t seen_end_ = 0;
};

} // namespace sniffer
