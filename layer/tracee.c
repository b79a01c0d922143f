/* Memory and identity of a waiting thread (tracee.h). */
#include "tracee.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE 4096u

ssize_t tracee_read_path(pid_t tid, uint64_t addr, char *buf)
{
	size_t got = 0;

	/* The kernel copies whole elements or none: one element a page finds the NUL before a page that is missing. */
	while (got < PATH_MAX) {
		size_t head = PAGE - ((addr + got) & (PAGE - 1)), want = PATH_MAX - got;
		struct iovec local = {buf + got, want};
		struct iovec remote[2];
		ssize_t n;
		char *end;

		if (head > want)
			head = want;
		remote[0] = (struct iovec){(void *)(uintptr_t)(addr + got), head};
		remote[1] = (struct iovec){(void *)(uintptr_t)(addr + got + head), want - head};
		if (head >= 256)
			local.iov_len = head;
		n = process_vm_readv(tid, &local, 1, remote, head >= 256 || want == head ? 1 : 2, 0);
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EFAULT;
		end = memchr(buf + got, '\0', (size_t)n);
		if (end)
			return end - buf;
		got += (size_t)n;
	}
	return -ENAMETOOLONG;
}

int tracee_read(pid_t tid, uint64_t addr, void *buf, size_t len)
{
	struct iovec local = {buf, len}, remote = {(void *)(uintptr_t)addr, len};
	ssize_t n = process_vm_readv(tid, &local, 1, &remote, 1, 0);

	return n == (ssize_t)len ? 0 : n < 0 ? -errno : -EFAULT;
}

int tracee_write(pid_t tid, uint64_t addr, const void *buf, size_t len)
{
	struct iovec local = {(void *)buf, len}, remote = {(void *)(uintptr_t)addr, len};
	ssize_t n = process_vm_writev(tid, &local, 1, &remote, 1, 0);

	return n == (ssize_t)len ? 0 : n < 0 ? -errno : -EFAULT;
}

static long status_field(pid_t tid, const char *field, int base, long otherwise)
{
	char path[64], text[2048], *at;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return otherwise;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return otherwise;
	text[n] = '\0';
	at = strstr(text, field);
	return at ? strtol(at + strlen(field), NULL, base) : otherwise;
}

mode_t tracee_umask(pid_t tid)
{
	return (mode_t)status_field(tid, "\nUmask:", 8, 022);
}

pid_t tracee_process(pid_t tid)
{
	return (pid_t)status_field(tid, "\nTgid:", 10, tid);
}
