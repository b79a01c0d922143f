/* chdir and execve of descriptors (inject.h). */
#include "inject.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "link.h"
#include "rewrite.h"
#include "script.h"
#include "tracee.h"

/* As many as a program can reasonably be given; the kernel's own limit is on bytes. */
#define ARGUMENTS_MAX 65536u

/* argv of an interpreter, for the thread's memory: pointers, then strings. */
struct image {
	uint8_t *data;
	size_t len;
	uint64_t base, interpreter; /* addresses there */
};

static int64_t call(struct rewrite *rewrite, uint64_t nr, uint64_t a, uint64_t b, int *has_execed)
{
	struct rewrite_call one = {nr, {a, b}};

	return rewrite_do(rewrite, &one, has_execed);
}

/* Number of the argument pointers, without the NULL. */
static int64_t count_arguments(pid_t tid, uint64_t argv)
{
	uint64_t pointer;

	for (unsigned int i = 0; argv && i < ARGUMENTS_MAX; i++) {
		int failed = tracee_read(tid, argv + i * 8u, &pointer, sizeof(pointer));

		if (failed || pointer == 0)
			return failed ? failed : (int64_t)i;
	}
	return argv ? -E2BIG : 0;
}

static uint64_t put_string(struct image *image, const char *text)
{
	uint64_t address = image->base + image->len;
	size_t len = strlen(text) + 1;

	memcpy(image->data + image->len, text, len);
	image->len += len;
	return address;
}

/* argv[0] gives way to interpreter, argument and path. image->base is set already. */
static int build(struct image *image, const struct pending *p, const struct script *script, uint64_t argv,
		 uint64_t count)
{
	uint64_t *pointers = (uint64_t *)image->data;
	unsigned int n = 0;

	image->len = (count + 4) * 8;
	image->interpreter = pointers[n++] = put_string(image, script->interpreter);
	if (script->argument)
		pointers[n++] = put_string(image, script->argument);
	/* As it was asked for, unless that is relative to a descriptor. */
	pointers[n++] = p->spec->dir < 0 ? p->args[p->spec->path] : put_string(image, p->path->text);
	if (count > 1 && tracee_read(p->tid, argv + 8, &pointers[n], (count - 1) * 8) != 0)
		return -EFAULT;
	n += count > 1 ? (unsigned int)count - 1 : 0;
	pointers[n] = 0;
	return 0;
}

/* execve of the interpreter, which is a program of this machine; the kernel and the filter see an ordinary call. */
static int64_t run_script(struct rewrite *rewrite, const struct pending *p, const struct script *script, int *has_execed)
{
	uint64_t argv = p->args[p->spec->extra], envp = p->args[p->spec->extra + 1];
	int64_t count = count_arguments(p->tid, argv), result;
	size_t room = ((size_t)count + 4) * 8 + SCRIPT_HEAD_BYTES + 2 + p->path->len + 1;
	struct rewrite_call map = {SYS_mmap,
				   {0, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, (uint64_t)-1, 0}};
	struct image image = {0};

	if (count < 0)
		return count;
	image.data = calloc(1, room);
	if (!image.data)
		return -ENOMEM;
	result = rewrite_do(rewrite, &map, has_execed);
	if (result >= 0 || result < -4095) {
		struct rewrite_call exec = {SYS_execve, {0, (uint64_t)result, envp}};

		image.base = (uint64_t)result;
		result = build(&image, p, script, argv, (uint64_t)count);
		if (result == 0)
			result = tracee_write(p->tid, image.base, image.data, image.len);
		exec.args[0] = image.interpreter;
		if (result == 0)
			result = rewrite_do(rewrite, &exec, has_execed);
		if (result < 0 && result != -ESRCH) {
			int ignored;

			(void)call(rewrite, SYS_munmap, image.base, room, &ignored);
		}
	}
	free(image.data);
	return result;
}

static int64_t act(struct rewrite *rewrite, const struct pending *p, int fd, char *head, size_t head_len, int *has_execed)
{
	/* The NUL of the path is the empty string that execveat wants. */
	uint64_t empty = p->args[p->spec->path] + p->asked_len;
	struct rewrite_call exec = {
		SYS_execveat,
		{(uint64_t)fd, empty, p->args[p->spec->extra], p->args[p->spec->extra + 1], AT_EMPTY_PATH}};
	struct script script;

	*has_execed = 0;
	if (p->spec->op == CALL_CHDIR)
		return call(rewrite, SYS_fchdir, (uint64_t)fd, 0, has_execed);
	if (!script_parse(head, head_len, &script))
		return rewrite_do(rewrite, &exec, has_execed);
	return run_script(rewrite, p, &script, has_execed);
}

static int refuse(const struct pending *p, uint64_t id, int why)
{
	link_log(1, "files: %s of a path that is not local needs ptrace(2) on the process, which failed (%s): a debugger "
		    "has it, or this machine forbids it; it got EACCES",
		 p->spec->name, strerror(-why));
	return answer_value(id, -EACCES) == -ENOENT ? -EAGAIN : 0;
}

int inject(const struct pending *p, uint64_t id)
{
	char head[SCRIPT_HEAD_BYTES + 1];
	ssize_t head_len = p->spec->op == CALL_EXEC ? pread(p->answer.fd, head, SCRIPT_HEAD_BYTES, 0) : 0;
	struct rewrite rewrite;
	int has_execed, ignored, fd, failed;
	int64_t result;

	if (head_len < 0)
		return answer_value(id, -errno) == -ENOENT ? -EAGAIN : 0;
	failed = rewrite_seize(&rewrite, p->tid);
	if (failed == -ESRCH)
		return -EAGAIN;
	if (failed)
		return refuse(p, id, failed);
	fd = answer_give(&p->answer, id);
	if (fd < 0) {
		rewrite_abandon(&rewrite);
		return fd == -ENOENT || answer_value(id, fd) == -ENOENT ? -EAGAIN : 0;
	}
	/* A signal that comes just here leaves it the descriptor, which an execve closes. */
	failed = rewrite_stop(&rewrite, p->spec->nr, p->ip);
	if (failed)
		return failed;
	result = act(&rewrite, p, fd, head, (size_t)head_len, &has_execed);
	if (has_execed)
		return 0;
	if (result == -ESRCH) {
		stops_forget(&rewrite.expected);
		return 0;
	}
	if (call(&rewrite, SYS_close, (uint64_t)fd, 0, &ignored) == -ESRCH) {
		stops_forget(&rewrite.expected);
		return 0;
	}
	rewrite_return(&rewrite, result == -ENOTCONN ? -EIO : result);
	return 0;
}
