/* Bulk from one socket into another, under ASAN and UBSAN. TAP. */
#include "bulk.h"
#include "sockets.h"
#include "tap.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

static constexpr size_t READ_BYTES = 5000;

/* From `source` to `from`, carried to `to`, read at `sink`; rooms as large as they must be and no larger. */
struct way {
	int source, from, to, sink;
	std::vector<std::vector<uint8_t>> rooms;
	std::vector<uint8_t *> pointers;
	struct bulk_report report;
};

static struct way make_way(uint32_t rooms)
{
	int in[2] = {-1, -1}, out[2] = {-1, -1};
	struct way way = {};

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, out) == 0);
	way.source = in[0];
	way.from = in[1];
	way.to = out[0];
	way.sink = out[1];
	way.rooms.assign(rooms, std::vector<uint8_t>(2 * BULK_ROOM_BYTES + READ_BYTES, 0xee));
	for (auto &room : way.rooms)
		way.pointers.push_back(room.data());
	return way;
}

static void close_way(struct way &way)
{
	for (int fd : {way.source, way.from, way.to, way.sink})
		if (fd >= 0)
			close(fd);
}

static bool never(void *)
{
	return false;
}

static bool always(void *)
{
	return true;
}

static int64_t carry(struct way &way, uint32_t connection, uint64_t sequence, uint64_t acknowledged, bool (*is_wanted)(void *) = never)
{
	struct bulk_order order = {way.from, way.to, 1, connection, sequence, acknowledged, READ_BYTES};

	return bulk_carry(order, way.pointers.data(), static_cast<uint32_t>(way.rooms.size()), way.report, is_wanted, nullptr);
}

static void bring(const struct way &way, size_t bytes)
{
	std::vector<uint8_t> all(bytes);

	for (size_t i = 0; i < bytes; i++)
		all[i] = static_cast<uint8_t>(i * 7 + 1);
	CHECK(write(way.source, all.data(), bytes) == static_cast<ssize_t>(bytes));
}

static std::vector<uint8_t> received(const struct way &way)
{
	std::vector<uint8_t> all(1 << 20);
	int64_t count = socket_read(way.sink, all.data(), all.size());

	all.resize(count < 0 ? 0 : static_cast<size_t>(count));
	return all;
}

static void a_frame_is_written_as_each_layer_would()
{
	struct way way = make_way(2);
	const uint8_t expected[] = {0, 0, 21, 0, 0, 0, 0, 0, 1, /* DATA of call 1 */
	                            0, 0, 0, 0, 16,             /* a message */
	                            0x0a, 9, 0x08, 3, 0x10, 50, 0x22, 3, 1, 8, 15, 0x10, 0xac, 0x02, 0x18, 5};

	bring(way, 3);
	CHECK(carry(way, 3, 300, 5) == 3);
	CHECK(way.report.frames == 1 && way.report.error == 0 && way.report.taken == sizeof expected);
	CHECK(way.report.each[0].bytes == 3);

	std::vector<uint8_t> got = received(way);

	CHECK(got.size() == sizeof expected && memcmp(got.data(), expected, sizeof expected) == 0);
	/* The same lies in the room, to be sent once more. */
	CHECK(way.report.each[0].end - way.report.each[0].start == sizeof expected);
	CHECK(memcmp(way.pointers[0] + way.report.each[0].start, expected, sizeof expected) == 0);
	close_way(way);
}

static void the_largest_heads_fit()
{
	struct way way = make_way(1);

	bring(way, READ_BYTES);
	CHECK(carry(way, UINT32_MAX, (1ULL << 53) - 1, (1ULL << 53) - 1) == static_cast<int64_t>(READ_BYTES));
	CHECK(way.report.frames == 1 && way.report.each[0].start < BULK_ROOM_BYTES);
	CHECK(way.report.each[0].end <= way.rooms[0].size());
	CHECK(received(way).size() == way.report.each[0].end - way.report.each[0].start);
	close_way(way);
}

static void numbers_that_are_none_are_left_out()
{
	struct way way = make_way(1);

	bring(way, 2);
	CHECK(carry(way, 3, 0, 0) == 2);
	CHECK(received(way).size() == 9 + 5 + 2 + 6 + 2);
	close_way(way);
}

static void it_ends_where_less_came_or_others_are_there()
{
	struct way way = make_way(4);

	bring(way, 2 * READ_BYTES + 10);
	CHECK(carry(way, 3, 7, 0) == 10);
	CHECK(way.report.frames == 3 && way.report.each[1].bytes == READ_BYTES && way.report.each[2].bytes == 10);
	received(way);
	bring(way, 3 * READ_BYTES);
	CHECK(carry(way, 3, 10, 0, always) == static_cast<int64_t>(READ_BYTES));
	CHECK(way.report.frames == 1);
	CHECK(carry(way, 3, 11, 0) == -EAGAIN);
	CHECK(way.report.frames == 2);
	close_way(way);
}

static void an_end_and_a_failure_are_told()
{
	struct way way = make_way(2);

	bring(way, READ_BYTES);
	close(way.source);
	way.source = -1;
	CHECK(carry(way, 3, 1, 0) == 0);
	CHECK(way.report.frames == 1);
	CHECK(carry(way, 3, 2, 0) == 0 && way.report.frames == 0 && way.report.error == 0);
	close_way(way);

	struct way other = make_way(2);

	bring(other, 10);
	close(other.sink);
	other.sink = -1;
	CHECK(carry(other, 3, 1, 0) == 10);
	CHECK(other.report.frames == 1 && other.report.taken == 0 && other.report.error == EPIPE);
	close_way(other);
}

static void what_a_full_peer_does_not_take_is_told()
{
	struct way way = make_way(BULK_FRAMES);
	uint32_t frames = 0;

	for (int turns = 0; turns < 1000; turns++) {
		bring(way, 2 * READ_BYTES);
		CHECK(carry(way, 3, 1 + frames, 0) > 0 || way.report.frames == 2);
		frames += way.report.frames;

		const struct bulk_frame &last = way.report.each[way.report.frames - 1];

		if (way.report.taken < last.end - last.start)
			break;
	}
	CHECK(frames > 1 && frames < 2000 && way.report.error == 0);
	close_way(way);
}

int main()
{
	test("a frame is written as each layer would", a_frame_is_written_as_each_layer_would);
	test("the largest heads fit", the_largest_heads_fit);
	test("numbers that are none are left out", numbers_that_are_none_are_left_out);
	test("it ends where less came, or others are there", it_ends_where_less_came_or_others_are_there);
	test("an end and a failure are told", an_end_and_a_failure_are_told);
	test("what a full peer does not take is told", what_a_full_peer_does_not_take_is_told);
	return report();
}
