/*
 * Bulk of a session on its way to one connection, the other end of bulk.h: frames as it writes them are read, looked at and written to
 * the connection's socket, several in one call. Whatever is not such a frame, or not the one that is due, stays where it
 * lies for the layers above. Nothing here knows of Node.
 */
#ifndef MIRRORD_DELIVERY_H
#define MIRRORD_DELIVERY_H

#include <cstddef>
#include <cstdint>

/* Of one call. */
static constexpr uint32_t DELIVERY_FRAMES = 8;
/* proto/frame.ts: what one frame may hold. */
static constexpr size_t DELIVERY_MOST_DATA_BYTES = 256 * 1024;
/* Of a frame of HTTP/2 all but those. */
static constexpr size_t DELIVERY_HEADS_BYTES = 128;
static constexpr size_t DELIVERY_FRAME_BYTES = DELIVERY_MOST_DATA_BYTES + DELIVERY_HEADS_BYTES;
/* Behind a frame whose length is known: the head of the next. */
static constexpr size_t DELIVERY_NEXT_BYTES = 64;
/* Of the room: a frame's beginning, and a read behind it. */
static constexpr size_t DELIVERY_ROOM_BYTES = 2 * DELIVERY_FRAME_BYTES + DELIVERY_NEXT_BYTES;

struct delivery_order {
	int from, to;
	/* The call of HTTP/2, and the connection of the session. */
	uint32_t stream, connection;
	/* Of the batch that is due; not 0. */
	uint64_t sequence;
	/* What the peer was granted, by whichever layer granted least: of messages, in bytes. */
	uint64_t most_bytes;
};

/* Bytes of the frame's message, and how many of them are the connection's. */
struct delivery_frame {
	uint32_t message_bytes, bytes;
};

struct delivery_report {
	uint32_t frames;
	/* What lies in the room and has not been delivered. */
	uint32_t start, end;
	/* What the kernel has not taken of the last frame. */
	uint32_t rest_start, rest_end;
	/* errno of the last write, or 0. */
	uint32_t error;
	/* What the last read asked for; 0 where none was made. */
	uint32_t asked;
	struct delivery_frame each[DELIVERY_FRAMES];
};

/*
 * `start` and `end` of the report say what lies in the room of `room_bytes`, at least DELIVERY_ROOM_BYTES, already. Ends when there is
 * nothing to read, at what is not to be delivered here, when a write was not taken whole, after DELIVERY_FRAMES, and
 * when `is_wanted` says that somebody else has a turn. `acknowledged` becomes what the last frame acknowledges, 0 for nothing.
 * Returns what the last read returned: bytes, and then there may be more, 0 at the peer's end, or -errno.
 */
int64_t bulk_deliver(const struct delivery_order &order, uint8_t *room, size_t room_bytes, struct delivery_report &report,
                     uint64_t &acknowledged, bool (*is_wanted)(void *argument), void *argument);

#endif
