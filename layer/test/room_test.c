/* Reads by way of the memory that supervisor and client share: the bytes, the rooms, and answers that are not true. Root. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../room.h"
#include "../wire.h"
#include "fake_link.h"
#include "fake_target.h"
#include "fuse_target.h"
#include "tap.h"

#define MIB (1u << 20)

static bool has_room(void *unused)
{
	int room = room_take(ROOM_BYTES);

	(void)unused;
	room_give(room);
	return room != NO_ROOM;
}

/* How many there are; all are given back. */
static unsigned count_rooms(void)
{
	int rooms[ROOMS + 1];
	unsigned count = 0, left;

	while (count <= ROOMS && (rooms[count] = room_take(ROOM_BYTES)) != NO_ROOM)
		count++;
	for (left = count; left > 0; left--)
		room_give(rooms[left - 1]);
	return count;
}

static void test_rooms(void)
{
	int a, b;

	ok(room_take(ROOM_BYTES) == NO_ROOM, "there is no room before the client has the memory");
	room_offer();
	ok(within_5_s(has_room, NULL) && count_rooms() == ROOMS, "then there are all");
	ok(room_take(ROOM_WORTH - 1) == NO_ROOM && room_take(ROOM_BYTES + 1) == NO_ROOM,
	   "none for what is not worth it, or does not fit");
	a = room_take(ROOM_WORTH);
	b = room_take(ROOM_BYTES);
	ok(a != b && room_memory(b) - room_memory(a) == (ptrdiff_t)room_place(b) - (ptrdiff_t)room_place(a) &&
		   labs(room_memory(b) - room_memory(a)) >= (long)ROOM_BYTES,
	   "two are apart, in memory as in place");
	room_give(a);
	ok(room_take(ROOM_BYTES) == a, "one that was given back is the next");
	room_give(a);
	room_give(b);
	room_give(NO_ROOM);
	ok(count_rooms() == ROOMS, "and nothing is lost");
}

/* A room is given back behind the answer that the reader has already seen. */
static bool are_all_free(void *unused)
{
	(void)unused;
	return count_rooms() == ROOMS;
}

/* The file's bytes by reads of this size; O_DIRECT hands them to us as they are. */
static bool reads_like(int fd, const uint8_t *data, size_t len, size_t step)
{
	uint8_t *got = aligned_alloc(4096, (len + 2 * step) & ~(size_t)4095);
	size_t at = 0;
	ssize_t n;

	while ((n = pread(fd, got + at, step, (off_t)at)) > 0)
		at += (size_t)n;
	n = n == 0 && at == len && memcmp(got, data, len) == 0;
	free(got);
	return n;
}

static void test_bytes(const uint8_t *data, size_t len)
{
	unsigned by_socket = fake_count(WIRE_READ), laid = fake_count(WIRE_READ_INTO);
	int fd = fake_open("/laid", O_RDONLY, 0, 0);

	ok(reads_like(fd, data, len, 128u << 10), "a file read by way of the page cache has its bytes");
	close(fd);
	fd = fake_open("/laid", O_RDONLY | O_DIRECT, 0, 0);
	ok(reads_like(fd, data, len, MIB), "so has one read a mebibyte at a time, in pieces");
	ok(fake_count(WIRE_READ_INTO) >= laid + 8, "and they were laid");
	ok(reads_like(fd, data, len, 4096) && fake_count(WIRE_READ) > by_socket, "small reads go by the socket");
	close(fd);
	ok(within_5_s(are_all_free, NULL), "every room is free again");
}

static int shared_fd;

static void *read_one(void *at)
{
	uint8_t *buf = aligned_alloc(4096, MIB);
	ssize_t got = pread(shared_fd, buf, MIB, (off_t)(uintptr_t)at * MIB);
	int error = got < 0 ? errno : 0;

	free(buf);
	return (void *)(intptr_t)(got < 0 ? -error : (int)(got == (ssize_t)MIB));
}

static bool are_all_taken(void *unused)
{
	(void)unused;
	return count_rooms() == 0;
}

/* More reads at once than rooms: the rest goes by the socket. Then the client dies under them. */
static void test_crowd(void)
{
	pthread_t threads[ROOMS + 4];
	unsigned good = 0, failed = 0;

	fake_hold(WIRE_READ_INTO);
	shared_fd = fake_open("/crowd", O_RDONLY | O_DIRECT, 0, 0);
	for (uintptr_t i = 0; i < ROOMS + 4; i++)
		pthread_create(&threads[i], NULL, read_one, (void *)i);
	ok(within_5_s(are_all_taken, NULL), "many reads at once take all rooms");
	fake_hold(0);
	for (unsigned i = 0; i < ROOMS + 4; i++) {
		void *result;

		pthread_join(threads[i], &result);
		good += (intptr_t)result == 1;
	}
	ok(good == ROOMS + 4 && within_5_s(are_all_free, NULL), "all of them end, and give their rooms back");
	fake_hold(WIRE_READ_INTO);
	for (uintptr_t i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, read_one, (void *)i);
	ok(fake_wait_held(), "reads wait for the client");
	fake_die();
	for (unsigned i = 0; i < 4; i++) {
		void *result;

		pthread_join(threads[i], &result);
		failed += (intptr_t)result == -EIO;
	}
	ok(failed == 4 && within_5_s(are_all_free, NULL), "when it dies they fail with EIO, and no room is lost");
	close(shared_fd);
}

static void test_lies(void)
{
	char buf[65536];
	int fd = fake_open("/laid", O_RDONLY | O_DIRECT, 0, 0);
	void *aligned = (void *)(((uintptr_t)buf + 4095) & ~(uintptr_t)4095);

	target_lie = 32769;
	ok(pread(fd, aligned, 32768, 0) == -1 && errno == EIO, "more bytes than were asked for are an error");
	target_lie = INT32_MAX;
	ok(pread(fd, aligned, 32768, 0) == -1 && errno == EIO, "however many");
	target_lie = -EACCES;
	ok(pread(fd, aligned, 32768, 0) == -1 && errno == EACCES, "an errno is the process's");
	target_lie = 0;
	ok(pread(fd, aligned, 32768, 0) == 32768 && within_5_s(are_all_free, NULL), "and the next read is as if nothing had been");
	close(fd);
}

int main(void)
{
	size_t len = 5 * MIB + 12345;
	uint8_t *data = pattern(len), *crowd = pattern((ROOMS + 4) * MIB);

	room_create();
	if (!ok(target_start(), "root mounts without help"))
		return tap_done();
	put_file("/laid", data, len);
	put_file("/crowd", crowd, (ROOMS + 4) * MIB);
	test_rooms();
	test_bytes(data, len);
	test_lies();
	test_crowd();
	target_remove();
	free(data);
	free(crowd);
	return tap_done();
}
