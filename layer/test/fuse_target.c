/* See fuse_target.h. */
#include "fuse_target.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fake_link.h"

static char root[] = "/tmp/fuse-test-XXXXXX";

bool target_start(void)
{
	char why[512] = "";

	/* A hang in the kernel ends with the device. */
	alarm(120);
	if (fuse_start(why, sizeof(why)) != FUSE_MOUNT_NAMESPACE) {
		printf("# %s\n", why);
		return false;
	}
	if (!mkdtemp(root))
		return false;
	fake_start(root);
	return true;
}

const char *target_path(const char *path)
{
	static char full[256];

	snprintf(full, sizeof(full), "%s%s", root, path);
	return full;
}

void put_file(const char *path, const void *data, size_t len)
{
	int fd;

	fd = open(target_path(path), O_WRONLY | O_CREAT | O_TRUNC, 0644);
	while (len) {
		ssize_t done = write(fd, data, len);

		data = (const char *)data + done;
		len -= (size_t)done;
	}
	close(fd);
}

bool target_has(const char *path, const void *data, size_t len)
{
	char *got = malloc(len + 1);
	bool is_same;
	int fd;

	fd = open(target_path(path), O_RDONLY);
	is_same = read(fd, got, len + 1) == (ssize_t)len && memcmp(got, data, len) == 0;
	close(fd);
	free(got);
	return is_same;
}

void target_stat(const char *path, struct stat *st)
{
	if (stat(target_path(path), st) != 0)
		memset(st, 0, sizeof(*st));
}

uint8_t *pattern(size_t len)
{
	uint8_t *data = malloc(len);

	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)(i * 31 + i / 4096);
	return data;
}

bool within_5_s(bool (*is_so)(void *arg), void *arg)
{
	for (int i = 0; i < 500; i++) {
		if (is_so(arg))
			return true;
		usleep(10000);
	}
	return false;
}

void target_remove(void)
{
	char command[300];

	snprintf(command, sizeof(command), "rm -rf %s", root);
	if (system(command) != 0)
		perror(command);
}
