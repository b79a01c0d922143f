/* Directories behind FUSE, and descriptors that travel: exec, /proc, unlink, identity. Real kernel.
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
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fake_link.h"
#include "fuse_target.h"
#include "tap.h"

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

	mkdir(target_path("/many"), 0755);
	for (int i = 0; i < 20000; i++) {
		snprintf(path, sizeof(path), "/many/file-%d", i);
		close(open(target_path(path), O_CREAT | O_WRONLY, 0644));
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
	ok(count == 20002 && distinct == 20002,
	   "20,000 entries are listed, each once, with . and ..");
	ok(fake_count(WIRE_READDIR) - asked <= 22, "in one question per 1,000 entries");
	for (unsigned i = 0; i < count; i++)
		free(names[i]);
	seekdir(dir, middle);
	for (count = 0; readdir(dir); count++)
		;
	ok(count == 20002 - 7000, "seekdir goes back to where telldir was");
	close(open(target_path("/many/new"), O_CREAT | O_WRONLY, 0644));
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
	ok(again >= 0 && pread(again, text, 4, 0) == 4 && memcmp(text, "echo", 4) == 0,
	   "it opens again by /proc/self/fd");
	close(again);
	again = open(link, O_RDWR);
	ok(again >= 0 && pwrite(again, "ECHO", 4, 0) == 4 && pread(fd, text, 4, 0) == 4 &&
	       memcmp(text, "ECHO", 4) == 0,
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

	snprintf(copy, sizeof(copy), "cp /bin/true %s", target_path("/true"));
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
	char buf[16];
	int fd;

	put_file("/short-lived", "still here", 10);
	fd = fake_open("/short-lived", O_RDWR, 0, 0);
	unlink(target_path("/short-lived"));
	ok(pread(fd, buf, 16, 0) == 10 && memcmp(buf, "still here", 10) == 0 &&
	       pwrite(fd, "S", 1, 0) == 1,
	   "an unlinked file is read and written while it is open");
	close(fd);
}

static void test_identity(void)
{
	struct stat st, real;
	struct wire_stat shown = {0};
	int fd;

	put_file("/hello", "hello", 5);
	fd = fake_open("/hello", O_RDONLY, 0, 0);
	target_stat("/hello", &real);
	shown.dev = real.st_dev;
	shown.ino = real.st_ino;
	fuse_present(&shown);
	ok(fstat(fd, &st) == 0 && st.st_dev == shown.dev && st.st_ino == shown.ino &&
	       st.st_dev == fuse_device(),
	   "fstat and a presented stat name the same file");
	shown.dev = real.st_dev + 1;
	shown.ino = real.st_ino;
	fuse_present(&shown);
	ok(shown.dev == fuse_device() && shown.ino != st.st_ino && shown.ino < UINT64_C(1) << 53,
	   "the same inode of another device is another file");
	close(fd);
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
	test_directory();
	test_inheritance();
	test_execution();
	test_unlinked();
	test_identity();
	ok(within_5_s(all_released, NULL), "every handle is released with its last descriptor");
	target_remove();
	return tap_done();
}
