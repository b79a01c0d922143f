/* The table of copies (copy_known.h). Inodes of memfds count upwards and are not used twice. */
#include "copy_known.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define BUCKETS 4096u

struct known {
	struct known *next, *newer;
	ino_t ino;
	struct wire_stat stat;
	size_t path_len;
	char *path;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct known *buckets[BUCKETS], *oldest, *newest;
static unsigned int count;
static dev_t device;

/* Under the lock. */
static void forget_oldest(void)
{
	struct known *one = oldest, **at = &buckets[one->ino % BUCKETS];

	while (*at != one)
		at = &(*at)->next;
	*at = one->next;
	oldest = one->newer;
	count--;
	free(one->path);
	free(one);
}

void copy_remember(int fd, const struct wire_stat *stat, const char *path, size_t path_len)
{
	struct known *one = calloc(1, sizeof(*one));
	char *own_path = calloc(1, path_len + 1);
	struct stat st;

	if (!one || !own_path || fstat(fd, &st) != 0) {
		free(own_path);
		free(one);
		return;
	}
	one->ino = st.st_ino;
	one->stat = *stat;
	one->path_len = path_len;
	one->path = memcpy(own_path, path, path_len);
	pthread_mutex_lock(&lock);
	device = st.st_dev;
	one->next = buckets[one->ino % BUCKETS];
	buckets[one->ino % BUCKETS] = one;
	*(oldest ? &newest->newer : &oldest) = one;
	newest = one;
	if (++count > COPY_KNOWN_MAX)
		forget_oldest();
	pthread_mutex_unlock(&lock);
}

/* With the lock taken when it is found. */
static const struct known *find(const char *proc_path)
{
	const struct known *one;
	struct stat st;

	if (fstatat(AT_FDCWD, proc_path, &st, 0) != 0)
		return NULL;
	pthread_mutex_lock(&lock);
	one = count && st.st_dev == device ? buckets[st.st_ino % BUCKETS] : NULL;
	while (one && one->ino != st.st_ino)
		one = one->next;
	if (!one)
		pthread_mutex_unlock(&lock);
	return one;
}

bool copy_stat(pid_t tid, int fd, struct wire_stat *stat)
{
	const struct known *one;
	char path[48];

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", tid, fd);
	one = find(path);
	if (!one)
		return false;
	*stat = one->stat;
	pthread_mutex_unlock(&lock);
	return true;
}

ssize_t copy_path_of(const char *proc_path, char *out, size_t out_len)
{
	const struct known *one = find(proc_path);
	ssize_t len;

	if (!one)
		return 0;
	len = one->path_len <= out_len ? (ssize_t)one->path_len : -ENAMETOOLONG;
	if (len > 0)
		memcpy(out, one->path, one->path_len);
	pthread_mutex_unlock(&lock);
	return len;
}

void copy_path_moved(const struct move *move)
{
	pthread_mutex_lock(&lock);
	for (struct known *one = oldest; one; one = one->newer)
		moved_path_follow(move, &one->path, &one->path_len);
	pthread_mutex_unlock(&lock);
}
