/*
 * Bulk of one connection on its way into a session: read where its frame will be, with the heads written before it and the
 * numbers behind it, and sent as it lies. What each layer above would write around a read is written here at once: a DATA
 * frame of HTTP/2, a message of gRPC, a batch with one frame (proto/frame.ts, proto/grpc-message.ts). Nothing here knows of Node.
 */
#ifndef MIRRORD_BULK_H
#define MIRRORD_BULK_H

#include <cstddef>
#include <cstdint>

/* Of one call. */
static constexpr uint32_t BULK_FRAMES = 8;
/* Before and behind the bytes of a read: more than all heads, and than both numbers. */
static constexpr size_t BULK_ROOM_BYTES = 64;
/* proto/v1/frame.proto */
static constexpr uint32_t BULK_KIND_DATA = 50;

struct bulk_order {
	int from, to;
	/* The call of HTTP/2, and the connection of the session. */
	uint32_t stream, connection;
	/* Of the first batch, and of what has come from the peer; 0 stands for none. */
	uint64_t sequence, acknowledged;
	size_t read_bytes;
};

/* Where a frame lies in its room, and how many bytes of the connection are in it. */
struct bulk_frame {
	uint32_t start, end, bytes;
};

struct bulk_report {
	uint32_t frames;
	/* Of the last frame, by the kernel. */
	uint32_t taken;
	/* errno of the last write, or 0. */
	uint32_t error;
	struct bulk_frame each[BULK_FRAMES];
};

/*
 * A room is BULK_ROOM_BYTES, `read_bytes` and BULK_ROOM_BYTES. Ends where a read brought less than a whole one or a write was
 * not taken whole, when all rooms are used, and when `is_wanted` says that somebody else has a turn. Returns what the last
 * read returned: bytes, 0 at the peer's end, or -errno.
 */
int64_t bulk_carry(const struct bulk_order &order, uint8_t *const rooms[], uint32_t count, struct bulk_report &report,
                   bool (*is_wanted)(void *argument), void *argument);

#endif
