/* Reads that the client answers at a device that both hold: the bytes, many at once, and answers that are not true. Root. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../fuse.h"
#include "../fuse_server.h"
#include "../wire.h"
#include "fake_link.h"
#include "fake_target.h"
#include "fuse_target.h"
#include "tap.h"

#define MIB (1u << 20)
#define CROWD 20u

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
	unsigned by_socket = fake_count(WIRE_READ), given = fake_count(WIRE_READ_FOR);
	int fd = fake_open("/given", O_RDONLY, 0, 0);

	ok(reads_like(fd, data, len, 128u << 10), "a file read by way of the page cache has its bytes");
	close(fd);
	fd = fake_open("/given", O_RDONLY | O_DIRECT, 0, 0);
	ok(reads_like(fd, data, len, MIB), "so has one read a mebibyte at a time");
	ok(fake_count(WIRE_READ_FOR) >= given + 8, "and the client has answered");
	ok(reads_like(fd, data, len, 4096) && fake_count(WIRE_READ) > by_socket, "small reads go by the socket");
	close(fd);
}

static int crowd_fd;

static void *read_one(void *at)
{
	uint8_t *buf = aligned_alloc(4096, MIB);
	ssize_t got = pread(crowd_fd, buf, MIB, (off_t)(uintptr_t)at * MIB);
	int error = got < 0 ? errno : 0;

	free(buf);
	return (void *)(intptr_t)(got < 0 ? -error : (int)(got == (ssize_t)MIB));
}

static unsigned join_all(pthread_t *threads, unsigned count, intptr_t expected)
{
	unsigned right = 0;

	for (unsigned i = 0; i < count; i++) {
		void *result;

		pthread_join(threads[i], &result);
		right += (intptr_t)result == expected;
	}
	return right;
}

/* Many at once; then the client dies under them. */
static void test_crowd(void)
{
	pthread_t threads[CROWD];

	fake_hold(WIRE_READ_FOR);
	crowd_fd = fake_open("/crowd", O_RDONLY | O_DIRECT, 0, 0);
	for (uintptr_t i = 0; i < CROWD; i++)
		pthread_create(&threads[i], NULL, read_one, (void *)i);
	ok(fake_wait_held(), "reads wait for the client");
	fake_hold(0);
	ok(join_all(threads, CROWD, 1) == CROWD, "many at once all end");
	fake_hold(WIRE_READ_FOR);
	for (uintptr_t i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, read_one, (void *)i);
	ok(fake_wait_held(), "reads wait for the client again");
	fake_die();
	ok(join_all(threads, 4, -EIO) == 4, "when it dies they fail with EIO");
	close(crowd_fd);
}

static void test_lies(void)
{
	char buf[65536];
	int fd = fake_open("/given", O_RDONLY | O_DIRECT, 0, 0);
	void *aligned = (void *)(((uintptr_t)buf + 4095) & ~(uintptr_t)4095);

	target_lie = 32769;
	ok(pread(fd, aligned, 32768, 0) == -1 && errno == EIO, "more bytes than were asked for are an error");
	target_lie = INT32_MAX;
	ok(pread(fd, aligned, 32768, 0) == -1 && errno == EIO, "however many");
	target_lie = -EACCES;
	ok(pread(fd, aligned, 32768, 0) == -1 && errno == EACCES, "an errno is the process's");
	target_lie = 0;
	ok(pread(fd, aligned, 32768, 0) == 32768, "and the next read is as if nothing had been");
	close(fd);
}

/* As main.c finds it: the client has opened it before we were started. */
static bool leave_device(void)
{
	int fd = open("/dev/fuse", O_RDWR);

	if (fd < 0 || dup2(fd, FUSE_CLIENT_FD) != FUSE_CLIENT_FD)
		return false;
	if (fd != FUSE_CLIENT_FD)
		close(fd);
	fuse_take_client_device();
	return fcntl(FUSE_CLIENT_FD, F_GETFD) == FD_CLOEXEC;
}

int main(void)
{
	size_t len = 5 * MIB + 12345;
	uint8_t *data = pattern(len), *crowd = pattern(CROWD * MIB);

	ok(leave_device(), "a device that the client left is ours alone");
	if (!ok(target_start(), "root mounts without help"))
		return tap_done();
	ok(fuse_device_is_shared && fuse_device_fd == FUSE_CLIENT_FD, "it is of our connection then");
	put_file("/given", data, len);
	put_file("/crowd", crowd, CROWD * MIB);
	test_bytes(data, len);
	test_lies();
	test_crowd();
	target_remove();
	free(data);
	free(crowd);
	return tap_done();
}
