/* Files behind FUSE are read, written, mapped, locked and appended to as local ones: real kernel,
 * real mount. Root. */
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
#include "fuse_target.h"
#include "tap.h"

static void test_reading(void)
{
	struct stat st, real;
	char buf[64];
	unsigned asked;
	int fd;

	put_file("/hello", "hello from the target\n", 22);
	fd = fake_open("/hello", O_RDONLY, 0, 0);
	ok(fd >= 0 && read(fd, buf, 5) == 5 && memcmp(buf, "hello", 5) == 0,
	   "read gives the target's bytes");
	ok(pread(fd, buf, 64, 6) == 16 && memcmp(buf, "from the target\n", 16) == 0,
	   "pread gives them from anywhere");
	ok(lseek(fd, -7, SEEK_END) == 15 && read(fd, buf, 64) == 7 && read(fd, buf, 64) == 0,
	   "lseek knows the end, read stops there");
	target_stat("/hello", &real);
	ok(fstat(fd, &st) == 0 && st.st_size == 22 && st.st_mode == real.st_mode &&
	       st.st_ino == real.st_ino && st.st_mtim.tv_sec == real.st_mtim.tv_sec &&
	       st.st_mtim.tv_nsec == real.st_mtim.tv_nsec && st.st_uid == real.st_uid &&
	       st.st_nlink == 1,
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
	ok(pread(fd, back, 3 << 20, 0) == 3 << 20 && memcmp(data, back, 3 << 20) == 0,
	   "and is read back");
	ok(pwrite(fd, "middle", 6, 1000000) == 6 && pread(fd, back, 6, 1000000) == 6 &&
	       memcmp(back, "middle", 6) == 0,
	   "pwrite changes the middle");
	ok(ftruncate(fd, 10) == 0 && target_has("/written", data, 10) && fstat(fd, &st) == 0 &&
	       st.st_size == 10,
	   "ftruncate shortens the target's file");
	ok(ftruncate(fd, 20) == 0 && pread(fd, back, 64, 0) == 20 && back[19] == 0,
	   "ftruncate lengthens it with zeros");
	ok(fchmod(fd, 0640) == 0 && fchown(fd, 12, 34) == 0 && futimens(fd, times) == 0,
	   "fchmod, fchown, futimens");
	target_stat("/written", &st);
	ok((st.st_mode & 07777) == 0640 && st.st_uid == 12 && st.st_gid == 34 &&
	       st.st_atim.tv_sec == 1000000000 && st.st_mtim.tv_nsec == 987654321,
	   "reach the target");
	ok(fstat(fd, &st) == 0 && (st.st_mode & 07777) == 0640 && st.st_uid == 12 &&
	       st.st_mtim.tv_sec == 1100000000,
	   "and fstat shows them");
	ok(fsync(fd) == 0 && fdatasync(fd) == 0 && fake_count(WIRE_FSYNC) == 2,
	   "fsync and fdatasync reach the target");
	ok(fallocate(fd, 0, 0, 4096) == -1 && errno == EOPNOTSUPP &&
	       posix_fallocate(fd, 0, 4096) == 0,
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
	ok(msync(map, 200000, MS_SYNC) == 0 && pread(fd, buf, 6, 100) == 6 &&
	       memcmp(buf, "mapped", 6) == 0,
	   "a shared mapping and read agree");
	memcpy(data + 100, "mapped", 6);
	ok(target_has("/data", data, 200000), "and the target has it");
	munmap(map, 200000);
	map = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	ok(map != MAP_FAILED, "a file can be mapped for execution");
	munmap(map, 4096);
	out = memfd_create("out", 0);
	ok(sendfile(out, fd, NULL, 200000) == 200000, "sendfile takes the file");
	ok(pipe(pipes) == 0 && splice(fd, &(off64_t){100}, pipes[1], NULL, 6, 0) == 6 &&
	       read(pipes[0], buf, 6) == 6 && memcmp(buf, "mapped", 6) == 0,
	   "splice takes it");
	ok(copy_file_range(fd, &(off64_t){0}, out, &(off64_t){0}, 1000, 0) == 1000 ||
	       errno == EXDEV,
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

	ok(flock(one, LOCK_EX | LOCK_NB) == 0 && flock(two, LOCK_EX | LOCK_NB) == -1 &&
	       errno == EWOULDBLOCK,
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

	ok(pread(two, buf, 6, 0) == 6 && pwrite(one, "CHANGE", 6, 0) == 6 &&
	       pread(two, buf, 6, 0) == 6 && memcmp(buf, "CHANGE", 6) == 0,
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
	int two = fake_open("/log", O_WRONLY | O_APPEND, 0, 0), counts[2] = {0, 0}, torn = 0,
	    status, fd;
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
	ok(status == 0 && torn == 0 && counts[0] == 300 && counts[1] == 300,
	   "two processes append, no line is lost or torn");
	ok(write(one, data, 1 << 20) == 1 << 20 &&
	       pread(fd, line, 33, 600 * 33 + (1 << 20) - 33) == 33 &&
	       memcmp(line, data + (1 << 20) - 33, 33) == 0,
	   "a large append keeps its order");
	ok(fstat(one, &st) == 0 && st.st_size == 600 * 33 + (1 << 20),
	   "and fstat shows the new size");
	close(fd);
	close(one);
	close(two);
	free(data);
}

static bool all_released(void *unused)
{
	(void)unused;
	return fake_open_handles() == 0;
}

int main(void)
{
	if (!ok(target_start(), "root mounts without help"))
		return tap_done();
	test_reading();
	test_writing();
	test_kernel_paths();
	test_locks();
	test_two_openers();
	test_appending();
	ok(within_5_s(all_released, NULL), "every handle is released with its last descriptor");
	target_remove();
	return tap_done();
}
