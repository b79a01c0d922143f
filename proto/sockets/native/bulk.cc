#include "bulk.h"

#include "sockets.h"

#include <cstring>

static size_t varint_bytes(uint64_t value)
{
	size_t bytes = 1;

	for (; value >= 0x80; value >>= 7)
		bytes++;
	return bytes;
}

static uint8_t *put_varint(uint8_t *at, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		*at++ = static_cast<uint8_t>(value | 0x80);
	*at++ = static_cast<uint8_t>(value);
	return at;
}

/* A field of which 0 says that it is not there. */
static uint8_t *put_number(uint8_t *at, uint8_t tag, uint64_t value)
{
	if (value == 0)
		return at;
	*at++ = tag;
	return put_varint(at, value);
}

static uint8_t *put_big_endian(uint8_t *at, uint64_t value, size_t bytes)
{
	for (size_t i = bytes; i > 0; i--)
		*at++ = static_cast<uint8_t>(value >> (8 * (i - 1)));
	return at;
}

/* Around `bytes` that lie at BULK_ROOM_BYTES of the room. */
static struct bulk_frame put_heads(const struct bulk_order &order, uint64_t sequence, uint8_t *room, size_t bytes)
{
	uint8_t *data = room + BULK_ROOM_BYTES;
	uint8_t *end = put_number(put_number(data + bytes, 0x10, sequence), 0x18, order.acknowledged);
	size_t tail_bytes = static_cast<size_t>(end - data) - bytes;
	uint8_t body[BULK_ROOM_BYTES / 2];
	uint8_t *body_end = put_number(put_number(body, 0x08, order.connection), 0x10, BULK_KIND_DATA);

	*body_end++ = 0x22;
	body_end = put_varint(body_end, bytes);

	size_t head_bytes = static_cast<size_t>(body_end - body);
	size_t batch_bytes = 1 + varint_bytes(head_bytes + bytes) + head_bytes + bytes + tail_bytes;
	uint8_t head[BULK_ROOM_BYTES];
	uint8_t *at = put_big_endian(head, 5 + batch_bytes, 3);

	/* DATA without flags; not compressed; the batch's only frame. */
	*at++ = 0;
	*at++ = 0;
	at = put_big_endian(at, order.stream, 4);
	*at++ = 0;
	at = put_big_endian(at, batch_bytes, 4);
	*at++ = 0x0a;
	at = put_varint(at, head_bytes + bytes);
	memcpy(at, body, head_bytes);
	at += head_bytes;

	size_t all_bytes = static_cast<size_t>(at - head);

	memcpy(data - all_bytes, head, all_bytes);
	return {static_cast<uint32_t>(BULK_ROOM_BYTES - all_bytes), static_cast<uint32_t>(end - room),
	        static_cast<uint32_t>(bytes)};
}

int64_t bulk_carry(const struct bulk_order &order, uint8_t *const rooms[], uint32_t count, struct bulk_report &report,
                   bool (*is_wanted)(void *argument), void *argument)
{
	int64_t got = 0;

	report.frames = report.taken = report.error = 0;
	while (report.frames < count && report.frames < BULK_FRAMES) {
		uint8_t *room = rooms[report.frames];

		got = socket_read(order.from, room + BULK_ROOM_BYTES, order.read_bytes);
		if (got <= 0)
			break;

		uint64_t sequence = order.sequence == 0 ? 0 : order.sequence + report.frames;
		struct bulk_frame frame = put_heads(order, sequence, room, static_cast<size_t>(got));
		int64_t taken = socket_write(order.to, room + frame.start, frame.end - frame.start);

		report.each[report.frames++] = frame;
		report.taken = taken < 0 ? 0 : static_cast<uint32_t>(taken);
		report.error = taken < 0 ? static_cast<uint32_t>(-taken) : 0;
		if (report.taken < frame.end - frame.start || static_cast<size_t>(got) < order.read_bytes || is_wanted(argument))
			break;
	}
	return got;
}
