/* The FUSE server over time: caching, growth, load, and the ends of processes and of the client.
 * Root. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fake_link.h"
#include "fuse_target.h"
#include "tap.h"

static uint8_t *shared_data;

static void test_page_cache(void)
{
	uint8_t *data = pattern(1 << 20), *got = malloc(1 << 20);
	unsigned asked;
	int fd;

	put_file("/cached", data, 1 << 20);
	fd = fake_open("/cached", O_RDONLY, 0, 0);
	ok(read(fd, got, 1 << 20) == 1 << 20 && memcmp(data, got, 1 << 20) == 0,
	   "a file is read the first time");
	close(fd);
	asked = fake_count(WIRE_READ);
	fd = fake_open("/cached", O_RDONLY, 0, 0);
	ok(read(fd, got, 1 << 20) == 1 << 20 && fake_count(WIRE_READ) == asked,
	   "an unchanged file is not read twice");
	close(fd);
	data[4711]++;
	put_file("/cached", data, 1 << 20);
	fd = fake_open("/cached", O_RDONLY, 0, 0);
	ok(read(fd, got, 1 << 20) == 1 << 20 && memcmp(data, got, 1 << 20) == 0,
	   "a changed one is");
	close(fd);
	free(data);
	free(got);
}

static bool reads_more(void *arg)
{
	char byte;

	return read(*(int *)arg, &byte, 1) == 1 && byte == '+';
}

static void test_growth(void)
{
	static const uint64_t inlines[] = {0, 4096};
	char buf[64];

	for (int i = 0; i < 2; i++) {
		int fd;

		put_file("/growing", "begin", 5);
		fd = fake_open("/growing", O_RDONLY, 0, inlines[i]);
		ok(read(fd, buf, 64) == 5 && read(fd, buf, 64) == 0, "a file ends where it ends");
		{
			int target = open(target_path("/growing"), O_WRONLY | O_APPEND);

			ok(write(target, "+", 1) == 1 && within_5_s(reads_more, &fd),
			   i ? "and grows, even when its content came with the open"
			     : "and grows when the target's does");
			close(target);
		}
		close(fd);
	}
}

static void *reader(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;
	uint8_t buf[70000];

	for (int i = 0; i < 60; i++) {
		int fd = fake_open("/shared", O_RDONLY, 0, i % 3 ? 0 : 4 << 20);
		off_t at = rand_r(&seed) % (4 << 20);
		ssize_t len = (4 << 20) - at, got = fd < 0 ? -1 : pread(fd, buf, sizeof(buf), at);

		if (len > (ssize_t)sizeof(buf))
			len = sizeof(buf);
		if (got != len || memcmp(buf, shared_data + at, (size_t)len) != 0)
			return (void *)1;
		close(fd);
	}
	return NULL;
}

static void test_threads(void)
{
	pthread_t threads[16];
	void *bad, *any = NULL;

	shared_data = pattern(4 << 20);
	put_file("/shared", shared_data, 4 << 20);
	for (uintptr_t i = 0; i < 16; i++)
		pthread_create(&threads[i], NULL, reader, (void *)i);
	for (int i = 0; i < 16; i++) {
		pthread_join(threads[i], &bad);
		any = bad ? bad : any;
	}
	ok(!any, "16 threads open and read at once, every byte right");
	free(shared_data);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void test_throughput(void)
{
	size_t size = 64 << 20, total = 0;
	uint8_t *data = pattern(size), *buf = malloc(131072);
	bool is_same = true;
	double started;
	ssize_t got;
	int fd;

	put_file("/big", data, size);
	fd = fake_open("/big", O_RDONLY, 0, 0);
	started = now();
	while ((got = read(fd, buf, 131072)) > 0) {
		is_same = is_same && memcmp(data + total, buf, (size_t)got) == 0;
		total += (size_t)got;
	}
	printf("# 64 MiB sequential: %.0f MB/s\n", (double)total / 1e6 / (now() - started));
	ok(total == size && is_same, "64 MiB read in sequence, every byte right");
	close(fd);
	free(data);
	free(buf);
}

static void test_kill(void)
{
	int fd, status;
	pid_t pid;

	put_file("/stuck", "never", 5);
	fd = fake_open("/stuck", O_RDONLY, 0, 0);
	fake_hold(WIRE_READ);
	pid = fork();
	if (pid == 0) {
		char c;

		_exit(read(fd, &c, 1) == 1);
	}
	ok(fake_wait_held(), "a process waits for the client");
	kill(pid, SIGTERM);
	ok(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM,
	   "and dies at once of its signal");
	fake_hold(0);
	close(fd);
}

static bool all_released(void *unused)
{
	(void)unused;
	return fake_open_handles() == 0;
}

static void *read_one(void *arg)
{
	char c;

	return (void *)(intptr_t)(pread(*(int *)arg, &c, 1, 4096) == -1 ? errno : 0);
}

static void test_death(void)
{
	int fd, again;
	uint8_t *data = pattern(100000);
	struct stat st;
	pthread_t thread;
	void *error;

	put_file("/doomed", data, 100000);
	fd = fake_open("/doomed", O_RDWR, 0, 0);
	fake_hold(WIRE_READ);
	pthread_create(&thread, NULL, read_one, &fd);
	ok(fake_wait_held(), "a read is in flight");
	fake_die();
	pthread_join(thread, &error);
	ok((intptr_t)error == EIO, "when the client dies it fails with EIO");
	ok(pwrite(fd, "x", 1, 0) == -1 && errno == EIO && fsync(fd) == -1 && errno == EIO,
	   "as does all that follows");
	again = fake_open("/doomed", O_RDONLY, 0, 0);
	ok(again >= 0 && fstat(again, &st) == 0, "descriptors can still be made and closed");
	close(again);
	close(fd);
	free(data);
}

/* By its device: other mounts of this machine may have "mirrord" in their names. */
static bool is_mounted(void)
{
	char line[4096], device[40];
	FILE *file = fopen("/proc/self/mountinfo", "re");
	bool found = false;

	snprintf(device, sizeof(device), " %u:%u ", major(fuse_device()), minor(fuse_device()));
	while (fgets(line, sizeof(line), file))
		found = found || strstr(line, device);
	fclose(file);
	return found;
}

int main(void)
{
	if (!ok(target_start(), "root mounts without help"))
		return tap_done();
	ok(!is_mounted(), "nobody can see the mount");
	test_page_cache();
	test_growth();
	test_threads();
	test_throughput();
	test_kill();
	ok(within_5_s(all_released, NULL), "every handle is released with its last descriptor");
	test_death();
	target_remove();
	return tap_done();
}
