/*
 * What may pass between a client of HTTP/2 and its own connection to the target without that anybody looks at it: frames that say nothing
 * of the connection itself, and requests that no filter can want, or whose header block is, byte for byte, one that no filter wanted and
 * that leaves the header table as it is. Frames are counted and header blocks are read along, so that whoever looks again knows where both
 * are. Nothing here knows of sockets.
 */
#ifndef MIRRORD_STEALER_STREAMS_PAIR_H
#define MIRRORD_STEALER_STREAMS_PAIR_H

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "header_table.h"
#include "sieve.h"

/* Streams that the target has not ended; with more of them somebody looks. */
static constexpr size_t MAX_OPEN_STREAMS = 1024;
/* Header blocks that were judged, and the bytes of each; the eldest go. */
static constexpr size_t MAX_JUDGED_BLOCKS = 16;
static constexpr size_t MAX_JUDGED_BLOCK_BYTES = 512;
/* Heads of requests of one read, unpacked; of more of them somebody looks at all. */
static constexpr size_t MAX_READ_HEADS_BYTES = 1024 * 1024;

struct frame_head {
	uint32_t length;
	uint8_t type;
	uint8_t flags;
	uint32_t stream;
};

/* A frame of which a part is still to come. */
struct cut_frame {
	struct frame_head head;
	uint32_t left;
};

class StreamsPair
{
      public:
	/* What is known of the two, which are between frames. */
	StreamsPair(uint32_t highest, std::vector<uint32_t> open, std::vector<std::string> blocks, HeaderTable table)
	    : highest_(highest), open_(std::move(open)), blocks_(std::move(blocks)), table_(std::move(table))
	{
	}

	/* Whether all of it may pass; if not it is as if nothing had been asked. `*requests`: those that began in it. */
	bool ask(const uint8_t *bytes, size_t count, const struct sieve &sieve, uint64_t *requests);
	bool answer(const uint8_t *bytes, size_t count);

	/* The highest stream that the client has begun. */
	uint32_t highest() const { return highest_; }
	/* What the client's window of the connection has grown by, or shrunk. */
	int64_t window() const { return window_; }
	/* Streams that the target was asked on and has not ended. */
	const std::vector<uint32_t> &open_streams() const { return open_; }
	/* Of the client; whether it is another one than before. */
	const HeaderTable &table() const { return table_; }
	bool has_new_table() const { return has_new_table_; }
	const struct cut_frame &cut_request() const { return asking_; }
	const struct cut_frame &cut_answer() const { return answering_; }

      private:
	/* What one read brings. */
	struct change {
		uint32_t highest = 0;
		int64_t window = 0;
		size_t budget = 0;
		std::vector<uint32_t> begun;
		std::vector<uint32_t> ended;
	};

	/* Of one with a body, or without: it may matter to its judge. */
	struct judged_block {
		std::string block;
		bool has_body;
	};

	bool look(struct cut_frame *cut, const uint8_t *bytes, size_t count, const struct sieve *sieve);
	bool may_ask(const struct frame_head &head, const uint8_t *payload, size_t count, const struct sieve &sieve);
	bool may_begin(const struct frame_head &head, const uint8_t *block, size_t size, const struct sieve &sieve);
	bool may_answer(const struct frame_head &head, bool is_whole);
	bool is_known(const uint8_t *block, size_t size, bool has_body) const;
	void learn(const uint8_t *block, size_t size, bool has_body);
	void note_end(const struct frame_head &head);
	bool apply(const struct cut_frame &cut, struct cut_frame *kept);

	uint32_t highest_;
	int64_t window_ = 0;
	std::vector<uint32_t> open_;
	std::vector<std::string> blocks_;
	std::vector<judged_block> judged_;
	HeaderTable table_;
	bool has_new_table_ = false;
	struct cut_frame asking_ = {};
	struct cut_frame answering_ = {};
	struct change change_;
};

#endif
