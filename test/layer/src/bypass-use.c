/* What a test of the bypass asks of a program: bypass-use TASK [PATH...]. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CALLS 500

/* A call that traps puts its thread to sleep until it is answered. */
static void traps(char **paths)
{
	struct rusage before, after;
	struct stat st;

	for (; *paths; paths++) {
		getrusage(RUSAGE_THREAD, &before);
		for (int i = 0; i < CALLS; i++)
			(void)!stat(*paths, &st);
		getrusage(RUSAGE_THREAD, &after);
		printf("%s %s\n", *paths, after.ru_nvcsw - before.ru_nvcsw >= CALLS / 2 ? "traps" : "passes");
	}
}

static volatile int opener;

static void *open_fifo(void *path)
{
	opener = (int)syscall(SYS_gettid);
	return (void *)(long)open(path, O_RDONLY);
}

/* The thread waits in open when it is cancelled: its state in /proc says so. */
static void cancel(char **paths)
{
	pthread_t thread;
	void *result = NULL;
	char path[64], state[512];
	int fd;

	pthread_create(&thread, NULL, open_fifo, paths[0]);
	do {
		snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", opener ? opener : getpid());
		fd = open(path, O_RDONLY | O_CLOEXEC);
		memset(state, 0, sizeof(state));
		if (fd < 0 || read(fd, state, sizeof(state) - 1) < 0)
			exit(1);
		close(fd);
	} while (strtol(state, NULL, 10) != SYS_openat && strtol(state, NULL, 10) != SYS_open);
	pthread_cancel(thread);
	pthread_join(thread, &result);
	printf("%s\n", result == PTHREAD_CANCELED ? "cancelled" : "not cancelled");
}

/* Local and remote directories in turns, while others look at both by names that mean one thing in each. */
static volatile int is_over;

static void *walk(void *unused)
{
	for (int i = 0; i < 200; i++) {
		if (chdir(i % 2 ? "/remote" : "/") != 0)
			exit(1);
	}
	is_over = 1;
	return unused;
}

static void wander(void)
{
	pthread_t thread;
	struct stat st;
	int wrong = 0;

	pthread_create(&thread, NULL, walk, NULL);
	while (!is_over) {
		wrong += stat("/usr/bin", &st) != 0 || stat("/remote/plain", &st) != 0 || st.st_size != 16;
		wrong += stat("usr/bin", &st) != 0 && stat("plain", &st) != 0 && errno != ENOENT;
	}
	pthread_join(thread, NULL);
	for (int i = 0; i < 20; i++) {
		wrong += chdir("/remote") != 0 || stat("plain", &st) != 0 || stat("usr/bin", &st) == 0;
		wrong += chdir("/") != 0 || stat("usr/bin", &st) != 0 || stat("plain", &st) == 0;
	}
	printf("%d wrong\n", wrong);
}

/* Local files below a descriptor of this machine, and a remote one below one of the target's. */
static void descend(void)
{
	int here = open("/usr", O_RDONLY | O_DIRECTORY), there = open("/remote", O_RDONLY | O_DIRECTORY);
	struct stat st;
	char text[32] = "", link[64];
	int fd = openat(there, "plain", O_RDONLY);

	printf("%d %d", fstatat(here, "bin", &st, 0), fstatat(there, "bin", &st, 0));
	printf(" %zd", read(fd, text, sizeof(text) - 1));
	snprintf(link, sizeof(link), "/proc/self/fd/%d/plain", there);
	printf(" %d", access(link, R_OK));
	snprintf(link, sizeof(link), "/dev/fd/%d", fd);
	fd = open(link, O_RDONLY);
	printf(" %zd %s", pread(fd, text, sizeof(text) - 1, 0), text);
}

int main(int count, char **words)
{
	const char *task = count > 1 ? words[1] : "";

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (strcmp(task, "traps") == 0)
		traps(words + 2);
	else if (strcmp(task, "cancel") == 0)
		cancel(words + 2);
	else if (strcmp(task, "wander") == 0)
		wander();
	else if (strcmp(task, "descend") == 0)
		descend();
	return 0;
}
