// What the tracker tells, as bytes for JavaScript (events.ts reads them): one buffer for many events, so that a crossing
// between the threads costs little however small the packets are.
//
// An event is a head of 24 bytes in the machine's order, then `bytes` of payload, then padding to 8. Bytes of one connection
// and direction that follow each other become one event, whatever other connections say between them; datagrams never do.
#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

#include "tracker.h"

namespace sniffer {

enum class EventType : uint8_t {
	OPEN = 1,	 // payload: EventAddresses
	BYTES = 2,	 // payload: the bytes, or one datagram
	GAP = 3,	 // `number`: how many, 0 for unknown
	HALF_CLOSE = 4,	 // `number`: time; `flags`: 1 where the target owes an answer
	CLOSE = 5,	 // likewise
	OLDER = 6,	 // payload: EventAddresses
	OLDER_CLOSE = 7, // `number`: bytes it carried
	NO_ROOM = 8,	 // payload: EventAddresses
	MARK = 9,	 // `number`: of Capture::mark
	OLDER_BYTES = 10, // as OLDER_CLOSE, and it goes on
};

struct EventHead {
	uint8_t type;
	uint8_t direction;
	uint8_t reason;
	uint8_t flags;
	uint32_t flow;
	uint32_t bytes;
	uint32_t reserved;
	uint64_t number;
};

struct EventAddresses {
	uint8_t local[16];
	uint8_t peer[16];
	uint16_t local_port;
	uint16_t peer_port;
	uint8_t family; // 4 or 6
	uint8_t protocol;
	uint8_t is_from_middle;
	uint8_t begins_anywhere;
	uint32_t sample; // sample_of
	uint32_t interface;
};

static_assert(sizeof(EventHead) == 24 && sizeof(EventAddresses) == 48, "events.ts knows these sizes");

class Batch final : public TrackerSink {
      public:
	explicit Batch(uint32_t sample_seed) : sample_seed_(sample_seed) {}

	bool is_empty() const { return size() == 0; }
	size_t size() const { return bytes_.size() + gathered_bytes_; }
	// Ends the batch and begins another.
	std::vector<uint8_t> take();
	void mark(uint64_t number);

	void on_open(const Flow &flow) override;
	void on_bytes(const Flow &flow, Direction direction, const uint8_t *data, size_t bytes) override;
	void on_gap(const Flow &flow, Direction direction, uint64_t bytes, Loss reason) override;
	void on_half_close(const Flow &flow, Direction direction, uint64_t at_ns) override;
	void on_close(const Flow &flow, End reason, uint64_t at_ns) override;
	void on_older(const Flow &flow, Loss reason) override;
	void on_older_bytes(const Flow &flow) override;
	void on_older_close(const Flow &flow) override;
	void on_no_room(const FlowKey &key) override;

      private:
	struct Gathered {
		Direction direction = Direction::TO_TARGET;
		std::vector<uint8_t> bytes;
	};

	void gather(uint32_t flow, Direction direction, const uint8_t *data, size_t bytes);
	// What was gathered becomes an event: of one flow, or of all.
	void pass(uint32_t flow);
	void pass_all();
	void add_bytes(const Flow &flow, Direction direction, const uint8_t *data, size_t bytes);
	EventHead *append(EventType type, uint32_t flow, const void *payload, size_t bytes);
	void add_older(EventType type, const Flow &flow);
	EventAddresses addresses_of(const FlowKey &key) const;

	const uint32_t sample_seed_;
	std::vector<uint8_t> bytes_;
	size_t last_ = SIZE_MAX; // where the event begins that bytes may be added to
	size_t end_ = 0;	 // of its payload, without padding
	std::unordered_map<uint32_t, Gathered> gathered_;
	std::vector<uint32_t> gathered_order_; // of their first bytes; may name some that are gone
	size_t gathered_bytes_ = 0;
};

} // namespace sniffer
