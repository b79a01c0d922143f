#include "delivery.h"

#include "bulk.h"
#include "sockets.h"

#include <algorithm>
#include <cstring>

/* Of HTTP/2, and of a message. */
static constexpr size_t HEAD_BYTES = 9, PREFIX_BYTES = 5;
/* Of a varint: more are no number that anybody writes (2^53). */
static constexpr size_t VARINT_BYTES = 8;

/* A part of the room. */
struct span {
	const uint8_t *at, *end;
};

struct found {
	/* Of HTTP/2, head and all. */
	size_t frame_bytes;
	struct span data;
	uint64_t acknowledged;
};

enum look { LOOK_MORE, LOOK_WHOLE, LOOK_OTHER };

static uint64_t big_endian(const uint8_t *at, size_t bytes)
{
	uint64_t value = 0;

	for (size_t i = 0; i < bytes; i++)
		value = value << 8 | at[i];
	return value;
}

static bool take_byte(struct span &span, uint8_t expected)
{
	if (span.at == span.end || *span.at != expected)
		return false;
	span.at++;
	return true;
}

static bool take_varint(struct span &span, uint64_t &value)
{
	value = 0;
	for (size_t i = 0; i < VARINT_BYTES && span.at < span.end; i++) {
		uint8_t byte = *span.at++;

		value |= static_cast<uint64_t>(byte & 0x7f) << (7 * i);
		if (byte < 0x80)
			return true;
	}
	return false;
}

static bool take_number(struct span &span, uint8_t tag, uint64_t &value)
{
	return take_byte(span, tag) && take_varint(span, value);
}

/* Bytes that a length says, at the start of what is left. */
static bool take_part(struct span &span, uint8_t tag, struct span &part)
{
	uint64_t length;

	if (!take_number(span, tag, length) || length > static_cast<size_t>(span.end - span.at))
		return false;
	part = {span.at, span.at + length};
	span.at = part.end;
	return true;
}

/* A batch of one frame, of DATA of that connection, with the number that is due. */
static bool is_due(const struct delivery_order &order, uint64_t sequence, struct span batch, struct found &found)
{
	struct span frame;
	uint64_t number;

	if (!take_part(batch, 0x0a, frame))
		return false;
	if (!take_number(frame, 0x08, number) || number != order.connection)
		return false;
	if (!take_number(frame, 0x10, number) || number != BULK_KIND_DATA)
		return false;
	if (!take_part(frame, 0x22, found.data) || found.data.at == found.data.end || frame.at != frame.end)
		return false;
	if (static_cast<size_t>(found.data.end - found.data.at) > DELIVERY_MOST_DATA_BYTES)
		return false;
	if (!take_number(batch, 0x10, number) || number != sequence)
		return false;
	found.acknowledged = 0;
	if (batch.at < batch.end && !take_number(batch, 0x18, found.acknowledged))
		return false;
	return batch.at == batch.end;
}

static enum look look(const struct delivery_order &order, uint64_t sequence, const uint8_t *at, size_t bytes, struct found &found)
{
	found.frame_bytes = 0;
	if (bytes < HEAD_BYTES)
		return LOOK_MORE;

	size_t length = static_cast<size_t>(big_endian(at, 3));

	/* DATA without flags. */
	if (at[3] != 0 || at[4] != 0 || big_endian(at + 5, 4) != order.stream)
		return LOOK_OTHER;
	if (length < PREFIX_BYTES || HEAD_BYTES + length > DELIVERY_FRAME_BYTES)
		return LOOK_OTHER;
	found.frame_bytes = HEAD_BYTES + length;
	if (bytes < found.frame_bytes)
		return LOOK_MORE;
	/* The whole message, and not compressed. */
	if (at[HEAD_BYTES] != 0 || big_endian(at + HEAD_BYTES + 1, 4) != length - PREFIX_BYTES)
		return LOOK_OTHER;
	return is_due(order, sequence, {at + HEAD_BYTES + PREFIX_BYTES, at + found.frame_bytes}, found) ? LOOK_WHOLE
	                                                                                               : LOOK_OTHER;
}

/* One read behind what is there. */
static int64_t read_more(int from, uint8_t *room, size_t room_bytes, struct delivery_report &report, size_t frame_bytes)
{
	size_t have = report.end - report.start;
	size_t want = frame_bytes == 0 ? DELIVERY_FRAME_BYTES : frame_bytes - have + DELIVERY_NEXT_BYTES;

	if (report.start > 0 && (have <= DELIVERY_NEXT_BYTES || room_bytes - report.end < want)) {
		memmove(room, room + report.start, have);
		report.start = 0;
		report.end = static_cast<uint32_t>(have);
	}
	report.asked = static_cast<uint32_t>(std::min(want, room_bytes - report.end));

	int64_t got = socket_read(from, room + report.end, report.asked);

	if (got > 0)
		report.end += static_cast<uint32_t>(got);
	return got;
}

int64_t bulk_deliver(const struct delivery_order &order, uint8_t *room, size_t room_bytes, struct delivery_report &report,
                     uint64_t &acknowledged, bool (*is_wanted)(void *argument), void *argument)
{
	uint64_t left_bytes = order.most_bytes;
	int64_t got = 0;

	report.frames = report.rest_start = report.rest_end = report.error = report.asked = 0;
	acknowledged = 0;
	while (report.frames < DELIVERY_FRAMES) {
		struct found found;
		enum look seen = look(order, order.sequence + report.frames, room + report.start, report.end - report.start, found);

		/* Until there is no more: who is wanted meanwhile may be this socket, which the kernel tells of but once. */
		if (seen == LOOK_MORE) {
			got = read_more(order.from, room, room_bytes, report, found.frame_bytes);
			if (got <= 0)
				break;
			continue;
		}
		if (seen != LOOK_WHOLE)
			break;

		size_t message_bytes = found.frame_bytes - HEAD_BYTES;
		size_t bytes = static_cast<size_t>(found.data.end - found.data.at);

		if (message_bytes > left_bytes)
			break;
		left_bytes -= message_bytes;

		int64_t taken = socket_write(order.to, found.data.at, bytes);

		report.each[report.frames++] = {static_cast<uint32_t>(message_bytes), static_cast<uint32_t>(bytes)};
		report.start += static_cast<uint32_t>(found.frame_bytes);
		if (found.acknowledged > 0)
			acknowledged = found.acknowledged;
		if (taken < 0) {
			report.error = static_cast<uint32_t>(-taken);
			break;
		}
		if (static_cast<size_t>(taken) < bytes) {
			report.rest_start = static_cast<uint32_t>(found.data.at + taken - room);
			report.rest_end = static_cast<uint32_t>(found.data.end - room);
			break;
		}
		if (is_wanted(argument))
			break;
	}
	return got;
}
