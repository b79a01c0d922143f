/* Bulk out of a session into a connection, under ASAN and UBSAN: what bulk.cc writes is read again, and whatever else comes is left alone. TAP. */
#include "delivery.h"

#include "bulk.h"
#include "sockets.h"
#include "tap.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <random>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

typedef std::vector<uint8_t> bytes_t;

/* All that a test writes at once, whatever the machine's own limit is. */
static const int SOCKET_BYTES = 4 << 20;

/* What is written to `source` lies in `from`; what is delivered to `to` is read at `sink`. The room has not a byte too many. */
struct way {
	int source, from, to, sink;
	bytes_t room;
	uint32_t start, end;
	struct delivery_report report;
	uint64_t acknowledged;
};

static struct way make_way()
{
	int in[2] = {-1, -1}, out[2] = {-1, -1};
	struct way way = {};

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, out) == 0);
	for (int fd : {in[0], out[0]})
		CHECK(setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &SOCKET_BYTES, sizeof SOCKET_BYTES) == 0);
	way.source = in[0];
	way.from = in[1];
	way.to = out[0];
	way.sink = out[1];
	way.room.assign(DELIVERY_ROOM_BYTES, 0xee);
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

static int64_t deliver(struct way &way, uint64_t sequence, uint64_t most = UINT64_MAX, bool (*is_wanted)(void *) = never)
{
	struct delivery_order order = {way.from, way.to, 1, 3, sequence, most};

	way.report = {};
	way.report.start = way.start;
	way.report.end = way.end;

	int64_t got = bulk_deliver(order, way.room.data(), way.room.size(), way.report, way.acknowledged, is_wanted, nullptr);

	way.start = way.report.start;
	way.end = way.report.end;
	CHECK(way.start <= way.end && way.end <= way.room.size());
	return got;
}

/* A frame as the other end writes it. */
static bytes_t frame_of(const bytes_t &data, uint64_t sequence, uint64_t acknowledged = 0, uint32_t connection = 3)
{
	int in[2] = {-1, -1}, out[2] = {-1, -1};
	bytes_t room(2 * BULK_ROOM_BYTES + data.size());
	uint8_t *rooms[] = {room.data()};
	struct bulk_report report = {};

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, out) == 0);
	for (int fd : {in[0], out[0]})
		CHECK(setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &SOCKET_BYTES, sizeof SOCKET_BYTES) == 0);
	CHECK(write(in[0], data.data(), data.size()) == static_cast<ssize_t>(data.size()));

	struct bulk_order order = {in[1], out[0], 1, connection, sequence, acknowledged, data.size()};

	CHECK(bulk_carry(order, rooms, 1, report, never, nullptr) == static_cast<int64_t>(data.size()));
	for (int fd : {in[0], in[1], out[0], out[1]})
		close(fd);
	return bytes_t(room.begin() + report.each[0].start, room.begin() + report.each[0].end);
}

static bytes_t data_of(size_t bytes, uint8_t first = 1)
{
	bytes_t data(bytes);

	for (size_t i = 0; i < bytes; i++)
		data[i] = static_cast<uint8_t>(first + i * 7);
	return data;
}

static void bring(const struct way &way, const bytes_t &bytes)
{
	CHECK(write(way.source, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
}

static bytes_t received(const struct way &way)
{
	bytes_t all, piece(64 << 10);

	for (int64_t got; (got = socket_read(way.sink, piece.data(), piece.size())) > 0;)
		all.insert(all.end(), piece.begin(), piece.begin() + got);
	return all;
}

static bytes_t joined(std::initializer_list<bytes_t> parts)
{
	bytes_t all;

	for (const bytes_t &part : parts)
		all.insert(all.end(), part.begin(), part.end());
	return all;
}

static void frames_of_the_connection_reach_it()
{
	struct way way = make_way();
	bytes_t one = data_of(1000), two = data_of(70000, 9), three = data_of(1);

	bring(way, joined({frame_of(one, 300, 5), frame_of(two, 301), frame_of(three, 302, 8)}));
	CHECK(deliver(way, 300) == -EAGAIN);
	CHECK(way.report.frames == 3 && way.report.error == 0 && way.acknowledged == 8 && way.start == way.end);
	CHECK(way.report.each[1].bytes == 70000 && way.report.each[1].message_bytes > 70000);
	CHECK(way.report.rest_start == way.report.rest_end);
	CHECK(received(way) == joined({one, two, three}));
	CHECK(deliver(way, 303) == -EAGAIN);
	CHECK(way.report.frames == 0 && way.report.asked > 0 && way.acknowledged == 0);
	close_way(way);
}

static void a_frame_may_come_in_any_pieces()
{
	struct way way = make_way();
	bytes_t data = data_of(DELIVERY_MOST_DATA_BYTES), all = joined({frame_of(data, 1), frame_of(data, 2), frame_of(data, 3)});
	std::mt19937 random(5);
	uint32_t frames = 0;
	bytes_t got;

	for (size_t at = 0; at < all.size();) {
		size_t piece = std::min<size_t>(all.size() - at, random() % 3 == 0 ? random() % 20 : random() % 150000);

		bring(way, bytes_t(all.begin() + static_cast<ptrdiff_t>(at), all.begin() + static_cast<ptrdiff_t>(at + piece)));
		at += piece;
		for (;;) {
			(void)deliver(way, 1 + frames);
			frames += way.report.frames;
			if (way.report.frames == 0)
				break;
		}
		got = joined({got, received(way)});
	}
	CHECK(frames == 3 && way.start == way.end);
	CHECK(got == joined({data, data, data}));
	close_way(way);
}

/* Whole, at the start of what came, and nothing of it delivered. */
static void is_left(const char *what, const bytes_t &frame, uint64_t sequence = 7, uint64_t most = UINT64_MAX)
{
	struct way way = make_way();

	bring(way, frame);
	(void)deliver(way, sequence, most);
	if (way.report.frames != 0 || way.end - way.start != frame.size() ||
	    memcmp(way.room.data() + way.start, frame.data(), frame.size()) != 0 || !received(way).empty()) {
		printf("# %s\n", what);
		CHECK(false);
	}
	/* Nor is anything read on its account once it is there: whose it is reads it. */
	(void)deliver(way, sequence, most);
	CHECK(way.report.frames == 0 && way.report.asked == 0);
	close_way(way);
}

static bytes_t changed(bytes_t frame, size_t at, uint8_t value)
{
	frame[at] = value;
	return frame;
}

static void what_is_another_layers_is_left()
{
	bytes_t data = data_of(100), frame = frame_of(data, 7, 2);

	is_left("another number", frame, 8);
	is_left("another connection", frame_of(data, 7, 2, 5));
	is_left("more than was granted", frame, 7, 99);
	is_left("another kind of HTTP/2", changed(frame, 3, 8));
	is_left("a flag", changed(frame, 4, 1));
	is_left("another call", changed(frame, 8, 3));
	is_left("compressed", changed(frame, 9, 1));
	is_left("another length of the message", changed(frame, 13, static_cast<uint8_t>(frame[13] - 1)));
	is_left("another kind of frame", changed(frame, 19, 51));
	is_left("a head before the data", changed(frame, 20, 0x1a));
	is_left("a longer frame than its batch", changed(frame, 15, static_cast<uint8_t>(frame[15] + 20)));
	is_left("longer data than its frame", changed(frame, 21, static_cast<uint8_t>(frame[21] + 1)));
	is_left("shorter data than its frame", changed(frame, 21, static_cast<uint8_t>(frame[21] - 1)));
	is_left("a field behind the numbers", changed(frame, frame.size() - 2, 0x20));
	is_left("no number", frame_of(data, 0), 7);
}

static void a_reader_that_is_full_is_told_of()
{
	struct way way = make_way();
	int size = 4096;
	bytes_t data = data_of(200000);

	(void)setsockopt(way.to, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	bring(way, joined({frame_of(data, 1), frame_of(data, 2)}));
	(void)deliver(way, 1);
	CHECK(way.report.frames == 1 && way.report.error == 0 && way.report.rest_end > way.report.rest_start);

	bytes_t rest(way.room.begin() + way.report.rest_start, way.room.begin() + way.report.rest_end);

	CHECK(joined({received(way), rest}) == data);
	close_way(way);
}

static void an_end_and_a_failure_are_told()
{
	struct way way = make_way();

	bring(way, joined({frame_of(data_of(50), 1), frame_of(data_of(50), 2)}));
	close(way.sink);
	way.sink = -1;
	(void)deliver(way, 1);
	CHECK(way.report.frames == 1 && way.report.error == EPIPE);
	close(way.source);
	way.source = -1;
	(void)deliver(way, 2);
	CHECK(deliver(way, 3) == 0 && way.report.asked > 0);
	close_way(way);
}

static void it_ends_for_others_and_after_some()
{
	struct way way = make_way();
	bytes_t all;

	for (uint64_t i = 1; i <= DELIVERY_FRAMES + 2; i++)
		all = joined({all, frame_of(data_of(10), i)});
	bring(way, all);
	(void)deliver(way, 1, UINT64_MAX, always);
	CHECK(way.report.frames == 1);
	(void)deliver(way, 2);
	CHECK(way.report.frames == DELIVERY_FRAMES);
	/* What lies here is not read again. */
	CHECK(deliver(way, 2 + DELIVERY_FRAMES) == -EAGAIN);
	CHECK(way.report.frames == 1);
	close_way(way);
}

static const struct way *later;
static bytes_t later_bytes;

static bool brings_more(void *)
{
	if (!later_bytes.empty())
		bring(*later, later_bytes);
	later_bytes.clear();
	return false;
}

/* The kernel tells of it while others are looked for, and not again. */
static void what_comes_meanwhile_is_read()
{
	struct way way = make_way();

	bring(way, frame_of(data_of(50), 1));
	later = &way;
	later_bytes = frame_of(data_of(60), 2);
	CHECK(deliver(way, 1, UINT64_MAX, brings_more) == -EAGAIN);
	CHECK(way.report.frames == 2 && received(way).size() == 110);
	close_way(way);
}

/* Bytes that nobody would write: whatever is delivered was in them, and nothing is read or written beyond. */
static void damaged_frames_harm_nobody()
{
	std::mt19937 random(11);

	for (int round = 0; round < 500; round++) {
		struct way way = make_way();
		bytes_t all;
		uint32_t frames = 0;

		for (uint64_t i = 1; i <= 3; i++)
			all = joined({all, frame_of(data_of(random() % 300 + 1, static_cast<uint8_t>(random())), i, random() % 3)});
		for (uint32_t i = random() % 4; i > 0; i--)
			all[random() % all.size()] = static_cast<uint8_t>(random());
		all.resize(all.size() - random() % 3);
		bring(way, all);
		do {
			(void)deliver(way, 1 + frames, random() % 8 == 0 ? random() % 700 : UINT64_MAX);
			frames += way.report.frames;
		} while (way.report.frames > 0);
		CHECK(received(way).size() <= all.size() && frames <= 3);
		close_way(way);
	}
}

int main()
{
	test("frames of the connection reach it", frames_of_the_connection_reach_it);
	test("a frame may come in any pieces", a_frame_may_come_in_any_pieces);
	test("what is another layer's is left", what_is_another_layers_is_left);
	test("a reader that is full is told of", a_reader_that_is_full_is_told_of);
	test("an end and a failure are told", an_end_and_a_failure_are_told);
	test("it ends for others, and after some", it_ends_for_others_and_after_some);
	test("what comes meanwhile is read", what_comes_meanwhile_is_read);
	test("damaged frames harm nobody", damaged_frames_harm_nobody);
	return report();
}
