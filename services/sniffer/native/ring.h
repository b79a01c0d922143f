// The ring that kernel and capture thread share (packet(7), TPACKET_V3): blocks of packets, handed over when they are full
// or some milliseconds old, so that a thread wakes up a few hundred times a second however many packets there are.
#pragma once

#include <cstdint>

#include "descriptor.h"
#include "packet.h"

struct tpacket_block_desc;

namespace sniffer {

struct RingOptions {
	uint32_t block_bytes = 256 * 1024;
	uint32_t blocks = 64;
	uint32_t retire_ms = 8;
};

class Ring {
      public:
	Ring() = default;
	~Ring();
	Ring(const Ring &) = delete;
	Ring &operator=(const Ring &) = delete;

	// In the network namespace of the calling thread; without a filter it takes nothing before `listen`.
	// 0 or an errno; `step` tells what failed.
	int make(const RingOptions &options, const char **step);
	int listen();
	int fd() const { return socket_.get(); }

	// The packets of one block, if the kernel has finished one. `visit(const Captured &)`.
	template <typename Visit> bool read_block(Visit visit);
	// Packets that found the ring full since the last call.
	uint32_t take_losses();

	// Read, and put into the ring up to the last `take_losses`.
	uint64_t packets() const { return packets_; }
	uint64_t accepted() const { return accepted_; }
	uint64_t truncated() const { return truncated_; }

      private:
	tpacket_block_desc *ready_block() const;
	const uint8_t *first_packet(const tpacket_block_desc *block, uint32_t *count) const;
	// Reads the packet at `at`, returns the next one.
	const uint8_t *read_packet(const uint8_t *at, Captured *packet);
	void release(tpacket_block_desc *block);

	Descriptor socket_;
	RingOptions options_;
	uint8_t *memory_ = nullptr;
	uint32_t next_ = 0;
	uint64_t packets_ = 0;
	uint64_t accepted_ = 0;
	uint64_t truncated_ = 0;
};

template <typename Visit> bool Ring::read_block(Visit visit)
{
	tpacket_block_desc *block = ready_block();
	if (block == nullptr)
		return false;
	uint32_t count = 0;
	const uint8_t *at = first_packet(block, &count);
	for (uint32_t index = 0; index < count; index++) {
		Captured packet;
		at = read_packet(at, &packet);
		visit(packet);
	}
	release(block);
	return true;
}

} // namespace sniffer
