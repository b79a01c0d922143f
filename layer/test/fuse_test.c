/* Descriptors backed by FUSE behave as those of local files do: real kernel, real mount, a folder as the target. Root. */
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
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fake_link.h"
#include "tap.h"

static char root[] = "/tmp/fuse-test-XXXXXX";

static void put_file(const char *path, const void *data, size_t len)
{
	char full[256];
	int fd;

	snprintf(full, sizeof(full), "%s%s", root, path);
	fd = open(full, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	while (len) {
		ssize_t done = write(fd, data, len);

		data = (const char *)data + done;
		len -= (size_t)done;
	}
	close(fd);
}

static bool target_has(const char *path, const void *data, size_t len)
{
	char full[256], *got = malloc(len + 1);
	bool is_same;
	int fd;

	snprintf(full, sizeof(full), "%s%s", root, path);
	fd = open(full, O_RDONLY);
	is_same = read(fd, got, len + 1) == (ssize_t)len && memcmp(got, data, len) == 0;
	close(fd);
	free(got);
	return is_same;
}

static void target_stat(const char *path, struct stat *st)
{
	char full[256];

	snprintf(full, sizeof(full), "%s%s", root, path);
	if (stat(full, st) != 0)
		memset(st, 0, sizeof(*st));
}

static uint8_t *pattern(size_t len)
{
	uint8_t *data = malloc(len);

	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)(i * 31 + i / 4096);
	return data;
}

/* Polls what has no event of its own: the attribute timeout of one second. */
static bool within_5_s(bool (*is_so)(void *arg), void *arg)
{
	for (int i = 0; i < 500; i++) {
		if (is_so(arg))
			return true;
		usleep(10000);
	}
	return false;
}

static void test_reading(void)
{
	struct stat st, real;
	char buf[64];
	unsigned asked;
	int fd;

	put_file("/hello", "hello from the target\n", 22);
	fd = fake_open("/hello", O_RDONLY, 0, 0);
	ok(fd >= 0 && read(fd, buf, 5) == 5 && memcmp(buf, "hello", 5) == 0, "read gives the target's bytes");
	ok(pread(fd, buf, 64, 6) == 16 && memcmp(buf, "from the target\n", 16) == 0, "pread gives them from anywhere");
	ok(lseek(fd, -7, SEEK_END) == 15 && read(fd, buf, 64) == 7 && read(fd, buf, 64) == 0,
	   "lseek knows the end, read stops there");
	target_stat("/hello", &real);
	ok(fstat(fd, &st) == 0 && st.st_size == 22 && st.st_mode == real.st_mode && st.st_ino == real.st_ino &&
		   st.st_mtim.tv_sec == real.st_mtim.tv_sec && st.st_mtim.tv_nsec == real.st_mtim.tv_nsec &&
		   st.st_uid == real.st_uid && st.st_nlink == 1,
	   "fstat shows size, mode, inode, owner and times of the target");
	ok(fcntl(fd, F_GETFD) == FD_CLOEXEC, "the descriptor is close-on-exec");
	ok(write(fd, "x", 1) == -1 && errno == EBADF, "a read-only descriptor cannot be written");
	close(fd);

	asked = fake_count(WIRE_READ) + fake_count(WIRE_FSTAT) + fake_count(WIRE_STAT);
	fd = fake_open("/hello", O_RDONLY, 0, 4096);
	ok(read(fd, buf, 64) == 22 && fstat(fd, &st) == 0 && st.st_size == 22 &&
		   asked == fake_count(WIRE_READ) + fake_count(WIRE_FSTAT) + fake_count(WIRE_STAT),
	   "content that came with the open is read without another question");
	close(fd);
}

static void test_writing(void)
{
	struct timespec times[2] = {{1000000000, 123456789}, {1100000000, 987654321}};
	struct stat st;
	uint8_t *data = pattern(3 << 20), *back = malloc(3 << 20);
	int fd = fake_open("/written", O_RDWR | O_CREAT, 0600, 0);

	ok(write(fd, data, 3 << 20) == 3 << 20 && target_has("/written", data, 3 << 20),
	   "a large write arrives whole");
	ok(pread(fd, back, 3 << 20, 0) == 3 << 20 && memcmp(data, back, 3 << 20) == 0, "and is read back");
	ok(pwrite(fd, "middle", 6, 1000000) == 6 && pread(fd, back, 6, 1000000) == 6 &&
		   memcmp(back, "middle", 6) == 0,
	   "pwrite changes the middle");
	ok(ftruncate(fd, 10) == 0 && target_has("/written", data, 10) && fstat(fd, &st) == 0 && st.st_size == 10,
	   "ftruncate shortens the target's file");
	ok(ftruncate(fd, 20) == 0 && pread(fd, back, 64, 0) == 20 && back[19] == 0, "ftruncate lengthens it with zeros");
	ok(fchmod(fd, 0640) == 0 && fchown(fd, 12, 34) == 0 && futimens(fd, times) == 0, "fchmod, fchown, futimens");
	target_stat("/written", &st);
	ok((st.st_mode & 07777) == 0640 && st.st_uid == 12 && st.st_gid == 34 && st.st_atim.tv_sec == 1000000000 &&
		   st.st_mtim.tv_nsec == 987654321,
	   "reach the target");
	ok(fstat(fd, &st) == 0 && (st.st_mode & 07777) == 0640 && st.st_uid == 12 && st.st_mtim.tv_sec == 1100000000,
	   "and fstat shows them");
	ok(fsync(fd) == 0 && fdatasync(fd) == 0 && fake_count(WIRE_FSYNC) == 2, "fsync and fdatasync reach the target");
	ok(fallocate(fd, 0, 0, 4096) == -1 && errno == EOPNOTSUPP && posix_fallocate(fd, 0, 4096) == 0,
	   "fallocate says EOPNOTSUPP, posix_fallocate finds its way");
	close(fd);
	free(data);
	free(back);
}

static void test_kernel_paths(void)
{
	uint8_t *data = pattern(200000), *map;
	char buf[64];
	int fd, out, pipes[2];
	struct statvfs fs;

	put_file("/data", data, 200000);
	fd = fake_open("/data", O_RDWR, 0, 0);
	map = mmap(NULL, 200000, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	ok(map != MAP_FAILED && memcmp(map, data, 200000) == 0, "a private mapping shows the file");
	munmap(map, 200000);
	map = mmap(NULL, 200000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	memcpy(map + 100, "mapped", 6);
	ok(msync(map, 200000, MS_SYNC) == 0 && pread(fd, buf, 6, 100) == 6 && memcmp(buf, "mapped", 6) == 0,
	   "a shared mapping and read agree");
	memcpy(data + 100, "mapped", 6);
	ok(target_has("/data", data, 200000), "and the target has it");
	munmap(map, 200000);
	map = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	ok(map != MAP_FAILED, "a file can be mapped for execution");
	munmap(map, 4096);
	out = memfd_create("out", 0);
	ok(sendfile(out, fd, NULL, 200000) == 200000, "sendfile takes the file");
	ok(pipe(pipes) == 0 && splice(fd, &(off64_t){100}, pipes[1], NULL, 6, 0) == 6 && read(pipes[0], buf, 6) == 6 &&
		   memcmp(buf, "mapped", 6) == 0,
	   "splice takes it");
	ok(copy_file_range(fd, &(off64_t){0}, out, &(off64_t){0}, 1000, 0) == 1000 || errno == EXDEV,
	   "copy_file_range copies, or says that it cannot between file systems");
	ok(fstatvfs(fd, &fs) == 0 && fs.f_blocks > 0, "fstatvfs shows the target's file system");
	close(fd);
	close(out);
	close(pipes[0]);
	close(pipes[1]);
	free(data);
}

static void test_locks(void)
{
	int one = fake_open("/data", O_RDWR, 0, 0), two = fake_open("/data", O_RDWR, 0, 0);
	struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 10};
	pid_t pid;
	int status;

	ok(flock(one, LOCK_EX | LOCK_NB) == 0 && flock(two, LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK,
	   "flock excludes the other descriptor");
	ok(flock(one, LOCK_UN) == 0 && flock(two, LOCK_EX | LOCK_NB) == 0, "until it is unlocked");
	fcntl(one, F_SETLK, &range);
	pid = fork();
	if (pid == 0)
		_exit(fcntl(two, F_SETLK, &range) == -1 ? 0 : 1);
	waitpid(pid, &status, 0);
	ok(status == 0, "a record lock excludes another process");
	close(one);
	close(two);
}

static void test_two_openers(void)
{
	int one = fake_open("/data", O_RDWR, 0, 0), two = fake_open("/data", O_RDONLY, 0, 0);
	char buf[8];

	ok(pread(two, buf, 6, 0) == 6 && pwrite(one, "CHANGE", 6, 0) == 6 && pread(two, buf, 6, 0) == 6 &&
		   memcmp(buf, "CHANGE", 6) == 0,
	   "what one descriptor writes the other reads at once");
	close(one);
	close(two);
	one = fake_open("/data", O_RDWR, 0, 0);
	two = fake_open("/data", O_RDONLY, 0, 1 << 20);
	ok(pread(two, buf, 6, 100000) == 6 && pwrite(one, "AFTER", 5, 150000) == 5 &&
		   pread(two, buf, 5, 150000) == 5 && memcmp(buf, "AFTER", 5) == 0,
	   "also when the other one came with its content");
	close(one);
	close(two);
}

static void append_lines(int fd, char letter, int count)
{
	char line[33];

	memset(line, letter, 32);
	line[32] = '\n';
	for (int i = 0; i < count; i++) {
		if (write(fd, line, 33) != 33)
			_exit(1);
	}
}

static void test_appending(void)
{
	int one = fake_open("/log", O_WRONLY | O_APPEND | O_CREAT, 0644, 0);
	int two = fake_open("/log", O_WRONLY | O_APPEND, 0, 0), counts[2] = {0, 0}, torn = 0, status, fd;
	uint8_t *data = pattern(1 << 20);
	char line[33];
	struct stat st;
	pid_t pid = fork();

	if (pid == 0) {
		append_lines(one, 'a', 300);
		_exit(0);
	}
	append_lines(two, 'b', 300);
	waitpid(pid, &status, 0);
	fd = fake_open("/log", O_RDONLY, 0, 0);
	while (read(fd, line, 33) == 33) {
		counts[line[0] == 'b']++;
		for (int i = 0; i < 32; i++)
			torn += line[i] != line[0];
	}
	ok(status == 0 && torn == 0 && counts[0] == 300 && counts[1] == 300, "two processes append, no line is lost or torn");
	ok(write(one, data, 1 << 20) == 1 << 20 && pread(fd, line, 33, 600 * 33 + (1 << 20) - 33) == 33 &&
		   memcmp(line, data + (1 << 20) - 33, 33) == 0,
	   "a large append keeps its order");
	ok(fstat(one, &st) == 0 && st.st_size == 600 * 33 + (1 << 20), "and fstat shows the new size");
	close(fd);
	close(one);
	close(two);
	free(data);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void test_directory(void)
{
	char path[256], *names[20100];
	unsigned count = 0, asked, distinct = 1;
	struct dirent *entry;
	struct stat st;
	long middle = 0;
	DIR *dir;
	int fd;

	snprintf(path, sizeof(path), "%s/many", root);
	mkdir(path, 0755);
	for (int i = 0; i < 20000; i++) {
		snprintf(path, sizeof(path), "%s/many/file-%d", root, i);
		close(open(path, O_CREAT | O_WRONLY, 0644));
	}
	asked = fake_count(WIRE_READDIR);
	fd = fake_open("/many", O_RDONLY | O_DIRECTORY, 0, 0);
	ok(fstat(fd, &st) == 0 && S_ISDIR(st.st_mode), "a directory opens as a directory");
	dir = fdopendir(fd);
	while ((entry = readdir(dir)) != NULL && count < 20100) {
		names[count++] = strdup(entry->d_name);
		if (count == 7000)
			middle = telldir(dir);
	}
	qsort(names, count, sizeof(names[0]), by_name);
	for (unsigned i = 1; i < count; i++)
		distinct += strcmp(names[i], names[i - 1]) != 0;
	ok(count == 20002 && distinct == 20002, "20,000 entries are listed, each once, with . and ..");
	ok(fake_count(WIRE_READDIR) - asked <= 22, "in one question per 1,000 entries");
	for (unsigned i = 0; i < count; i++)
		free(names[i]);
	seekdir(dir, middle);
	for (count = 0; readdir(dir); count++)
		;
	ok(count == 20002 - 7000, "seekdir goes back to where telldir was");
	snprintf(path, sizeof(path), "%s/many/new", root);
	close(open(path, O_CREAT | O_WRONLY, 0644));
	rewinddir(dir);
	for (count = 0; readdir(dir); count++)
		;
	ok(count == 20003, "rewinddir reads again and sees the new file");
	closedir(dir);
}

static void test_inheritance(void)
{
	char link[64], text[64] = "", path[256];
	int fd, again, status, pipes[2];
	pid_t pid;

	put_file("/script", "echo out of the target\n", 23);
	fd = fake_open("/script", O_RDONLY, 0, 0);
	if (pipe(pipes) != 0)
		abort();
	pid = fork();
	if (pid == 0) {
		dup2(fd, 0);
		dup2(pipes[1], 1);
		execl("/bin/sh", "sh", NULL);
		_exit(1);
	}
	waitpid(pid, &status, 0);
	ok(read(pipes[0], text, sizeof(text)) == 18 && memcmp(text, "out of the target\n", 18) == 0,
	   "a shell reads its script from an inherited descriptor");
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	again = open(link, O_RDONLY);
	ok(again >= 0 && pread(again, text, 4, 0) == 4 && memcmp(text, "echo", 4) == 0, "it opens again by /proc/self/fd");
	close(again);
	again = open(link, O_RDWR);
	ok(again >= 0 && pwrite(again, "ECHO", 4, 0) == 4 && pread(fd, text, 4, 0) == 4 && memcmp(text, "ECHO", 4) == 0,
	   "also for writing, which asks the target");
	ok(fuse_path_of(link, path, sizeof(path)) == 7 && memcmp(path, "/script", 7) == 0,
	   "its path in the target is known");
	snprintf(link, sizeof(link), "/proc/self/fd/%d", again);
	close(fd);
	ok(fuse_path_of(link, path, sizeof(path)) == 7, "also of the one that was opened again");
	close(again);
	ok(fuse_path_of("/proc/self/cwd", path, sizeof(path)) == 0, "other files are not ours");
	close(pipes[0]);
	close(pipes[1]);
}

static void test_execution(void)
{
	char *argv[] = {"true", NULL};
	char copy[300];
	int fd, status;
	pid_t pid;

	snprintf(copy, sizeof(copy), "cp /bin/true %s/true", root);
	if (system(copy) != 0)
		abort();
	fd = fake_open("/true", O_RDONLY, 0, 0);
	pid = fork();
	if (pid == 0) {
		fexecve(fd, argv, argv + 1);
		_exit(99);
	}
	waitpid(pid, &status, 0);
	ok(status == 0, "fexecve runs a program of the target");
	close(fd);
}

static void test_unlinked(void)
{
	char full[256], buf[16];
	int fd;

	put_file("/short-lived", "still here", 10);
	fd = fake_open("/short-lived", O_RDWR, 0, 0);
	snprintf(full, sizeof(full), "%s/short-lived", root);
	unlink(full);
	ok(pread(fd, buf, 16, 0) == 10 && memcmp(buf, "still here", 10) == 0 && pwrite(fd, "S", 1, 0) == 1,
	   "an unlinked file is read and written while it is open");
	close(fd);
}

static void test_identity(void)
{
	struct stat st, real;
	struct wire_stat shown = {0};
	int fd = fake_open("/hello", O_RDONLY, 0, 0);

	target_stat("/hello", &real);
	shown.dev = real.st_dev;
	shown.ino = real.st_ino;
	fuse_present(&shown);
	ok(fstat(fd, &st) == 0 && st.st_dev == shown.dev && st.st_ino == shown.ino && st.st_dev == fuse_device(),
	   "fstat and a presented stat name the same file");
	shown.dev = real.st_dev + 1;
	shown.ino = real.st_ino;
	fuse_present(&shown);
	ok(shown.dev == fuse_device() && shown.ino != st.st_ino && shown.ino < UINT64_C(1) << 53,
	   "the same inode of another device is another file");
	close(fd);
}

static void test_page_cache(void)
{
	uint8_t *data = pattern(1 << 20), *got = malloc(1 << 20);
	unsigned asked;
	int fd;

	put_file("/cached", data, 1 << 20);
	fd = fake_open("/cached", O_RDONLY, 0, 0);
	ok(read(fd, got, 1 << 20) == 1 << 20 && memcmp(data, got, 1 << 20) == 0, "a file is read the first time");
	close(fd);
	asked = fake_count(WIRE_READ);
	fd = fake_open("/cached", O_RDONLY, 0, 0);
	ok(read(fd, got, 1 << 20) == 1 << 20 && fake_count(WIRE_READ) == asked, "an unchanged file is not read twice");
	close(fd);
	data[4711]++;
	put_file("/cached", data, 1 << 20);
	fd = fake_open("/cached", O_RDONLY, 0, 0);
	ok(read(fd, got, 1 << 20) == 1 << 20 && memcmp(data, got, 1 << 20) == 0, "a changed one is");
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
			char full[256];
			int target;

			snprintf(full, sizeof(full), "%s/growing", root);
			target = open(full, O_WRONLY | O_APPEND);
			ok(write(target, "+", 1) == 1 && within_5_s(reads_more, &fd),
			   i ? "and grows, even when its content came with the open" : "and grows when the target's does");
			close(target);
		}
		close(fd);
	}
}

static uint8_t *shared_data;

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
	ok(pwrite(fd, "x", 1, 0) == -1 && errno == EIO && fsync(fd) == -1 && errno == EIO, "as does all that follows");
	again = fake_open("/doomed", O_RDONLY, 0, 0);
	ok(again >= 0 && fstat(again, &st) == 0, "descriptors can still be made and closed");
	close(again);
	close(fd);
	free(data);
}

static bool is_mounted(void)
{
	char line[4096];
	FILE *file = fopen("/proc/self/mountinfo", "re");
	bool found = false;

	while (fgets(line, sizeof(line), file))
		found = found || strstr(line, "mirrord");
	fclose(file);
	return found;
}

static void remove_root(void)
{
	char command[300];

	snprintf(command, sizeof(command), "rm -rf %s", root);
	if (system(command) != 0)
		perror(command);
}

int main(void)
{
	char why[512] = "";
	enum fuse_way way;

	/* A hang in the kernel ends with the device. */
	alarm(120);
	way = fuse_start(why, sizeof(why));
	if (!ok(way == FUSE_MOUNT_NAMESPACE, "root mounts without help")) {
		printf("# %s\n", why);
		return tap_done();
	}
	ok(!is_mounted(), "nobody can see the mount");
	if (!mkdtemp(root))
		return 1;
	fake_start(root);
	test_reading();
	test_writing();
	test_kernel_paths();
	test_locks();
	test_two_openers();
	test_appending();
	test_directory();
	test_inheritance();
	test_execution();
	test_unlinked();
	test_identity();
	test_page_cache();
	test_growth();
	test_threads();
	test_throughput();
	test_kill();
	ok(within_5_s(all_released, NULL), "every handle is released with its last descriptor");
	test_death();
	remove_root();
	return tap_done();
}
