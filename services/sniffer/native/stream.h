// One direction of a TCP connection: segments in any order in, bytes in order and marked gaps out.
//
// Positions are 64-bit offsets from the first byte, so that sequence numbers may wrap. Of bytes that come twice the first
// are kept. What is not there is waited for until it is known to be lost: the receiver has acknowledged it, memory is used
// up, or time has passed; then a gap is told, once, in its place, with its size. Memory: Budget.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "loss.h"

namespace sniffer {

class StreamSink {
      public:
	virtual void on_bytes(const uint8_t *data, size_t bytes) = 0;
	// 0 bytes: it is not known how many.
	virtual void on_gap(uint64_t bytes, Loss reason) = 0;
	virtual void on_end() = 0;

      protected:
	~StreamSink() = default;
};

// What all streams of a capture hold together, and what one may.
struct Budget {
	size_t held_bytes = 0;
	size_t most_bytes = 64 * 1024 * 1024;
	size_t most_bytes_of_stream = 8 * 1024 * 1024;
};

struct Now {
	uint64_t ms = 0; // of a clock that does not jump; never 0
	uint64_t ns = 0; // since the epoch
	// Of the last seconds: what is missing now is then the ring's loss. (What it has lost comes behind what is in it.)
	uint64_t ring_losses = 0;
};

struct StreamCounters {
	uint64_t duplicate_bytes = 0;
	uint64_t out_of_order_segments = 0;
	uint64_t unplaceable_segments = 0;
	uint64_t resyncs = 0;
};

class Stream {
      public:
	Stream() = default;
	Stream(const Stream &) = delete;
	Stream &operator=(const Stream &) = delete;
	~Stream();

	// `sequence` is that of the first byte.
	void start(uint32_t sequence, Budget *budget, StreamCounters *counters);
	bool has_started() const { return budget_ != nullptr; }
	bool has_ended() const { return has_ended_; }
	// Its last byte is known, though others may be missing.
	bool has_seen_end() const { return has_ended_ || has_fin_; }
	// A byte is missing and something behind it is known.
	bool has_hole() const { return !has_ended_ && (!pieces_.empty() || has_fin_); }
	uint64_t offset() const { return next_; }
	uint32_t sequence() const { return first_sequence_ + static_cast<uint32_t>(next_); }
	// `end` is where a segment ends.
	bool brings_new(uint32_t end) const { return !has_started() || static_cast<int32_t>(end - sequence()) > 0; }
	// Where a receiver takes a reset: behind the last byte in order, of which it may have fewer, or the last of all.
	bool ends_at(uint32_t sequence) const;
	// Behind everything that was seen: a receiver asks for another reset, and takes meanwhile what the first has overtaken.
	bool is_beyond(uint32_t sequence) const { return static_cast<int32_t>(sequence - last_sequence()) > 0; }
	// True for a segment of this stream, also for an old one.
	bool is_near(uint32_t sequence) const;

	// Of `bytes` the first `captured` are there; the others are lost for `rest`.
	void segment(uint32_t sequence, const uint8_t *data, uint32_t captured, uint32_t bytes, bool is_fin, Loss rest,
		     Now now, StreamSink &sink);
	// What is missing before `sequence` may have been left out because nobody wants it.
	void doubt(uint32_t sequence);
	// The receiver has everything before `sequence`.
	void acknowledged(uint32_t sequence, Now now, StreamSink &sink);
	// Gives up holes that are older than they may be.
	void check_hole(Now now, StreamSink &sink);
	// Nothing more will come: what is held goes out, with its gaps.
	void finish(Now now, StreamSink &sink);
	// Nobody listens any more: what is held is dropped.
	void abandon();
	// A hole that nobody has filled and nothing has told about.
	static constexpr uint64_t HOLE_MS = 10'000;
	// The same when the ring has lost packets of late, or the bytes may have been left out.
	static constexpr uint64_t HOLE_OF_RING_MS = 250;

      private:
	struct Piece {
		uint64_t end = 0;
		Loss lost = Loss::NONE; // else there are no bytes
		std::vector<uint8_t> bytes;
	};

	void place(uint64_t begin, uint64_t end, const uint8_t *data, uint64_t data_end, Loss rest);
	void add(uint64_t begin, uint64_t end, const uint8_t *data, Loss lost);
	void deliver(uint64_t begin, uint64_t end, const uint8_t *data, uint64_t data_end, Loss rest, StreamSink &sink);
	void drain(Now now, StreamSink &sink);
	void skip_to(uint64_t offset, Now now, Loss reason, StreamSink &sink);
	uint64_t first_known() const;
	uint32_t last_sequence() const;
	Loss reason_of_hole(Now now) const;
	void resync(uint32_t sequence, Now now, StreamSink &sink);
	static size_t cost_of(const Piece &piece);

	Budget *budget_ = nullptr;
	StreamCounters *counters_ = nullptr;
	uint32_t first_sequence_ = 0;
	uint32_t last_unplaceable_ = 0;
	uint8_t unplaceable_in_row_ = 0;
	bool has_fin_ = false;
	bool has_ended_ = false;
	uint64_t next_ = 0;
	uint64_t fin_ = 0;
	uint64_t hole_since_ms_ = 0;
	uint64_t doubtful_until_ = 0;
	size_t held_bytes_ = 0;
	std::map<uint64_t, Piece> pieces_;
};

} // namespace sniffer
