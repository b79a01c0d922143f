/* Attributes, watches and nodes of mapped paths (mapped_call.h). The user is the same, so the rights are. */
#include "mapped_call.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tracee.h"

#define VALUE_MAX (64u << 10) /* XATTR_SIZE_MAX, XATTR_LIST_MAX */

static void set_result(struct pending *p, int64_t result)
{
	p->answer.value = result < 0 ? -errno : result;
}

static void get_value(struct pending *p, const char *path, const char *name, bool is_list)
{
	size_t room = is_list ? p->args[2] : p->args[3];
	uint8_t *value;
	long result;

	if (room > VALUE_MAX)
		room = VALUE_MAX;
	value = malloc(room ? room : 1);
	if (!value) {
		p->answer.value = -ENOMEM;
		return;
	}
	if (is_list)
		result = syscall(p->spec->nr, path, value, room);
	else
		result = syscall(p->spec->nr, path, name, value, room);
	set_result(p, result);
	if (result <= 0 || room == 0) {
		free(value);
		return;
	}
	p->answer.data = value;
	p->answer.len = (size_t)result;
	p->answer.addr = is_list ? p->args[1] : p->args[2];
}

static void set_value(struct pending *p, const char *path, const char *name)
{
	size_t len = p->args[3];
	uint8_t *value;

	if (len > VALUE_MAX) {
		p->answer.value = -E2BIG;
		return;
	}
	value = malloc(len ? len : 1);
	p->answer.value = value ? tracee_read(p->tid, p->args[2], value, len) : -ENOMEM;
	if (p->answer.value == 0)
		set_result(p, syscall(p->spec->nr, path, name, value, len, p->args[4]));
	free(value);
}

/* The watch goes into the process's own inotify instance. */
static void watch(struct pending *p, const char *path)
{
	int pidfd = (int)syscall(SYS_pidfd_open, tracee_process(p->tid), 0), fd = -1;

	if (pidfd >= 0)
		fd = (int)syscall(SYS_pidfd_getfd, pidfd, (int)p->args[0], 0);
	set_result(p, fd < 0 ? -1 : syscall(SYS_inotify_add_watch, fd, path, (uint32_t)p->args[2]));
	if (fd >= 0)
		close(fd);
	if (pidfd >= 0)
		close(pidfd);
}

static void make_node(struct pending *p, const char *path)
{
	uint64_t mode = p->args[p->spec->extra];

	set_result(p, mknod(path, (mode_t)mode & ~tracee_umask(p->tid), (dev_t)p->args[p->spec->extra + 1]));
}

void mapped_call(struct pending *p, struct wire_bytes mapped)
{
	char path[PATH_MAX], name[PATH_MAX] = "";
	int nr = p->spec->nr;

	if (mapped.len == 0 || mapped.len >= sizeof(path)) {
		p->answer.value = -ENAMETOOLONG;
		return;
	}
	memcpy(path, mapped.data, mapped.len);
	path[mapped.len] = '\0';
	if (nr == SYS_inotify_add_watch) {
		watch(p, path);
	} else if (p->spec->op == CALL_MKNOD) {
		make_node(p, path);
	} else if (nr == SYS_listxattr || nr == SYS_llistxattr) {
		get_value(p, path, NULL, true);
	} else if (tracee_read_path(p->tid, p->args[1], name) < 0) {
		p->answer.value = -EFAULT;
	} else if (nr == SYS_getxattr || nr == SYS_lgetxattr) {
		get_value(p, path, name, false);
	} else if (nr == SYS_setxattr || nr == SYS_lsetxattr) {
		set_value(p, path, name);
	} else {
		set_result(p, syscall(nr, path, name));
	}
}
