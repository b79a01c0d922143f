/*
 * Every function that the bypass stands in front of, on names of every kind, in the current folder: prints what each said. The
 * same must come out natively, with the bypass and no supervisor, and with both.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define BASIC_STATS 0x7ffu

static char too_long[PATH_MAX + 10], long_name[300], absolute[PATH_MAX];
static volatile int unknown_flags = O_RDONLY;

/* Said in place of a path that cannot be printed. */
static const char *label;

/* errno only of what failed. */
static void say(const char *what, const char *path, long result)
{
	int error = errno;

	printf("%s(%.40s) %ld %s\n", what, label ? label : path, result < 0 ? -1 : result, result < 0 ? strerror(error) : "");
}

static void say_stat(const char *what, const char *path, int result, const struct stat *st)
{
	say(what, path, result);
	if (result == 0)
		printf("  %lu %o %ld %ld\n", (unsigned long)st->st_ino, st->st_mode, (long)st->st_size, (long)st->st_mtime);
}

static void say_opened(const char *what, const char *path, int fd)
{
	char byte = 0;

	say(what, path, fd < 0 ? -1 : 0);
	if (fd < 0)
		return;
	printf("  flags %x, cloexec %d, reads %zd %c\n", fcntl(fd, F_GETFL), fcntl(fd, F_GETFD), read(fd, &byte, 1), byte ? byte : '-');
	close(fd);
}

static void look(const char *path, int dir)
{
	struct stat st;
	char stx[1024];

	say_stat("stat", path, stat(path, &st), &st);
	say_stat("lstat", path, lstat(path, &st), &st);
	say_stat("fstatat", path, fstatat(dir, path, &st, 0), &st);
	say_stat("fstatat of a link", path, fstatat(dir, path, &st, AT_SYMLINK_NOFOLLOW), &st);
#ifdef __GLIBC__
	say("statx", path, statx(dir, path, 0, STATX_BASIC_STATS, (struct statx *)stx));
#endif
	say("syscall statx", path, syscall(SYS_statx, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, BASIC_STATS, stx));
	say("syscall stat", path, syscall(SYS_stat, path, &st));
	say("access", path, access(path, R_OK));
	say("access for writing", path, access(path, W_OK));
	say("faccessat", path, faccessat(dir, path, X_OK, 0));
	say("faccessat effective", path, faccessat(dir, path, F_OK, AT_EACCESS));
	say("syscall access", path, syscall(SYS_access, path, F_OK));
}

static void open_all(const char *path, int dir)
{
	say_opened("open", path, open(path, O_RDONLY));
	say_opened("open unknown", path, open(path, unknown_flags | O_CLOEXEC));
	say_opened("open directory", path, open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	say_opened("open path", path, open(path, O_PATH | O_NOFOLLOW));
	say_opened("open to append", path, open(path, O_RDWR | O_APPEND | O_NONBLOCK));
	say_opened("openat", path, openat(dir, path, O_RDONLY));
	say_opened("openat unknown", path, openat(dir, path, unknown_flags));
	say_opened("syscall open", path, (int)syscall(SYS_open, path, O_RDONLY));
	say_opened("syscall openat", path, (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC));
}

static void read_link(const char *path, int dir, volatile size_t room)
{
	char text[PATH_MAX] = "";

	say("readlink", path, readlink(path, text, room));
	say("readlinkat", path, readlinkat(dir, path, text, room));
	printf("  %s\n", text);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void list(const char *path)
{
	DIR *directory = opendir(path);
	struct dirent **names, *one;
	int count = 0;

	say("opendir", path, directory ? 0 : -1);
	if (!directory)
		return;
	printf("  cloexec %d\n", fcntl(dirfd(directory), F_GETFD));
	while ((one = readdir(directory)))
		count++;
	closedir(directory);
	printf("  %d names\n", count);
	count = scandir(path, &names, NULL, by_name);
	for (int i = 0; i < count; i++)
		printf("  %s\n", names[i]->d_name);
}

static void resolve(const char *path)
{
	char here[PATH_MAX] = "untouched", *found = realpath(path, NULL);

	say("realpath", path, found ? 0 : -1);
	printf("  %s\n", found ? found : "none");
	free(found);
	say("realpath here", path, realpath(path, here) == here ? 0 : -1);
	printf("  %s\n", here);
#ifdef __GLIBC__
	found = canonicalize_file_name(path);
	printf("  %s\n", found ? found : "none");
	free(found);
#endif
}

static void make(void)
{
	struct stat st;

	umask(027);
	say_opened("open new", "made", open("made", O_CREAT | O_EXCL | O_WRONLY, 0666));
	say_opened("open again", "made", open("made", O_CREAT | O_EXCL | O_WRONLY, 0666));
	if (stat("made", &st) == 0)
		printf("  mode %o\n", st.st_mode);
	say_opened("open nameless", ".", open(".", O_TMPFILE | O_RDWR, 0600));
	unlink("made");
}

static void name_cwd(volatile size_t small)
{
	char here[PATH_MAX], *found = getcwd(NULL, 0);

	printf("getcwd %s\n", found ? found : "none");
	free(found);
	found = getcwd(NULL, PATH_MAX);
	printf("getcwd %s\n", found ? found : "none");
	free(found);
	found = getcwd(here, sizeof(here));
	printf("getcwd %s %d\n", found ? found : "none", found == here);
	errno = 0;
	found = getcwd(here, small);
	printf("getcwd %s %s\n", found ? found : "none", strerror(errno));
	errno = 0;
	found = getcwd(here, small - small);
	printf("getcwd %s %s\n", found ? found : "none", strerror(errno));
}

/* Pages: one with text up to its last byte, and nothing behind it. */
static void bad_pointers(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *end = pages + page, *volatile low = (char *)16;
	struct stat st;

	memset(pages, 'x', page);
	munmap(end, page);
	memcpy(end - 5, "file", 5);
	say("stat at the end of a page", "file", stat(end - 5, &st));
	end[-1] = 'x';
	label = "not terminated";
	look(end - 5, AT_FDCWD);
	say("open", "", open(end - 5, O_RDONLY));
	label = "low";
	look(low, AT_FDCWD);
	say("open", "", open(low, O_RDONLY));
	label = NULL;
#ifdef __GLIBC__
	say("stat", "bad buffer", stat("file", (struct stat *)low));
	say("readlink", "bad buffer", readlink("link", low, 10));
#endif
	mprotect(pages, page, PROT_NONE);
	say("stat", "not readable", stat(pages, &st));
	munmap(pages, page);
}

static void other_calls(void)
{
	pid_t child;
	int status = 0;

	say("syscall getpid", "", syscall(SYS_getpid) == getpid() ? 0 : -1);
	say("syscall close", "", syscall(SYS_close, -1));
	say("syscall six", "", syscall(SYS_mmap, 0L, 4096L, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1L, 0L) > 0 ? 0 : -1);
	say("syscall unknown", "", syscall(100000L, 1L));
	child = vfork();
	if (child == 0) {
		int fd = open("file", O_RDONLY);

		_exit(fd >= 0 && realpath("link", too_long) ? 7 : 8);
	}
	waitpid(child, &status, 0);
	printf("child of vfork %d\n", WEXITSTATUS(status));
}

int main(void)
{
	static char absolute_link[PATH_MAX + 8];
	const char *paths[] = {"file", "dir", "missing", "link", "loop", "away", "dangling", "dir/", "file/", "dir/..", "./dir/../file",
			       "dir/in", "dir/up", "/", "//", "/..", "", ".", "..", "missing/..", "file/..", "file/.", "link/",
			       "link/..", "dir/up/dir/up/dir/in", "/usr/bin/ldd", "/proc/self/cwd/file", "/dev/null", too_long,
			       long_name, absolute, absolute_link, "many/../many/./../dir//in"};
	int dir = open("dir", O_RDONLY | O_DIRECTORY);

	memset(too_long, 'a', sizeof(too_long) - 1);
	memset(long_name, 'a', sizeof(long_name) - 1);
	if (!getcwd(absolute, sizeof(absolute) - 10))
		return 1;
	snprintf(absolute_link, sizeof(absolute_link), "%s/link", absolute);
	strcat(absolute, "/dir/in");
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		look(paths[i], AT_FDCWD);
		look(paths[i], dir);
		open_all(paths[i], AT_FDCWD);
		open_all(paths[i], dir);
		read_link(paths[i], AT_FDCWD, PATH_MAX);
		read_link(paths[i], dir, 2);
		list(strcmp(paths[i], "/") == 0 || strstr(paths[i], "..") || paths[i][0] == '/' ? "dir" : paths[i]);
		resolve(paths[i]);
	}
	make();
	name_cwd(1);
	bad_pointers();
	other_calls();
	return 0;
}
