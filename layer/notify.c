/* Receiving and deciding (notify.h). */
#include "notify.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bypass_offer.h"
#include "copy_known.h"
#include "give.h"
#include "host_name.h"
#include "kernel_stat.h"
#include "link.h"
#include "listing.h"
#include "net.h"
#include "path_kind.h"
#include "remote.h"
#include "shared.h"
#include "tracee.h"
#include "unreadable.h"

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif

#define ADOPT_SPAN 256u

#define RESOLVE_KNOWN                                                                                                  \
	(RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH | RESOLVE_IN_ROOT | RESOLVE_CACHED)

static int listener = -1;

struct open_how_head {
	uint64_t flags, mode, resolve;
};

/* False: the kernel will say what is wrong with it. */
static bool read_open(const struct seccomp_notif *n, struct remote_call *call)
{
	const struct call_spec *spec = call->spec;
	struct open_how_head how;

	if (spec->nr == SYS_creat) {
		call->open_flags = O_CREAT | O_WRONLY | O_TRUNC;
	} else if (spec->nr == SYS_openat2) {
		if (tracee_read((pid_t)n->pid, n->data.args[2], &how, sizeof(how)) != 0 || (how.resolve & ~(uint64_t)RESOLVE_KNOWN))
			return false;
		call->open_flags = (uint32_t)how.flags;
		call->open_mode = (uint32_t)how.mode;
		call->resolve = how.resolve;
	} else {
		call->open_flags = (uint32_t)n->data.args[spec->flags];
	}
	if (spec->nr != SYS_openat2)
		call->open_mode = (uint32_t)n->data.args[spec->extra];
	call->is_write = open_writes(call->open_flags);
	return true;
}

static int directory_of(const struct seccomp_notif *n, int argument)
{
	return argument >= 0 ? (int)n->data.args[argument] : AT_FDCWD;
}

static void answer_magic(const struct seccomp_notif *n, const struct call_spec *spec,
			 const struct place_path *path)
{
	struct answer answer = {.addr = n->data.args[spec->extra], .fd = -1};
	uint32_t room = (uint32_t)n->data.args[spec->extra + 1];

	answer.data = (uint8_t *)path->text;
	answer.len = path->len < room ? path->len : room;
	answer.value = (int64_t)answer.len;
	(void)answer_deliver(&answer, n->id, (pid_t)n->pid);
}

static void answer_cwd(const struct seccomp_notif *n)
{
	char cwd[PATH_MAX + 1];
	struct answer answer = {.addr = n->data.args[0], .data = (uint8_t *)cwd, .fd = -1};
	size_t len = place_cwd((pid_t)n->pid, cwd, PATH_MAX);

	if (len == 0) {
		(void)answer_continue(n->id);
		return;
	}
	cwd[len] = '\0';
	answer.len = len + 1;
	answer.value = (int64_t)answer.len;
	if (n->data.args[1] < answer.len)
		answer.value = -ERANGE;
	(void)answer_deliver(&answer, n->id, (pid_t)n->pid);
}

/* Of a descriptor: fstat, or newfstatat and statx with an empty path. */
static void answer_fstat(const struct seccomp_notif *n, const struct call_spec *spec)
{
	struct wire_stat from;
	struct stat to;
	struct statx tox;
	struct answer answer = {.addr = n->data.args[spec->extra], .fd = -1};

	if (!place_has_given() || !copy_stat((pid_t)n->pid, (int)n->data.args[0], &from)) {
		(void)answer_continue(n->id);
		return;
	}
	kernel_stat(&from, &to);
	kernel_statx(&from, &tox);
	answer.data = spec->op == CALL_STATX ? (uint8_t *)&tox : (uint8_t *)&to;
	answer.len = spec->op == CALL_STATX ? sizeof(tox) : sizeof(to);
	(void)answer_deliver(&answer, n->id, (pid_t)n->pid);
}

/* No path, or an empty one, where the flags say that this means the descriptor. */
static bool is_of_descriptor(const struct seccomp_notif *n, const struct call_spec *spec)
{
	return (spec->op == CALL_STAT || spec->op == CALL_STATX) && spec->flags >= 0 &&
	       (n->data.args[spec->flags] & AT_EMPTY_PATH);
}

/* Reads the second path. False: the kernel shall say what is wrong. */
static bool read_second(const struct seccomp_notif *n, const struct call_spec *spec,
			struct place_path *path)
{
	int argument = spec->op == CALL_SYMLINK ? spec->extra : spec->path2;
	ssize_t len = tracee_read_path((pid_t)n->pid, n->data.args[argument], path->text);

	path->len = len > 0 ? (size_t)len : 0;
	return len > 0;
}

/* The one place of a call with two paths, or -EXDEV. */
static int both_places(enum place a, enum place b)
{
	if (a == PLACE_NOT_FOUND || b == PLACE_NOT_FOUND)
		return PLACE_NOT_FOUND;
	if (a == PLACE_ASK || b == PLACE_ASK)
		return PLACE_ASK;
	return a == b ? (int)a : -EXDEV;
}

static bool is_write_call(const struct seccomp_notif *n, const struct call_spec *spec)
{
	if (spec->op == CALL_ACCESS)
		return n->data.args[spec->extra] & W_OK;
	return spec->feature == WIRE_FEATURE_FILES_WRITE;
}

/* openat2: from the folder on, "/" is the folder. */
static void make_relative(struct place_path *path)
{
	size_t slashes = strspn(path->text, "/");

	if (slashes == path->len && slashes > 0)
		path->text[--slashes] = '.';
	path->len -= slashes;
	memmove(path->text, path->text + slashes, path->len + 1);
}

/*
 * openat2, ways of resolving that nobody keeps to in the target. They are asked for where leaving a folder would be a danger:
 * never without. Whoever asks has another way, for kernels that have no openat2. (Magic links lead nowhere there anyhow.)
 */
static int refusal_of(uint64_t resolve)
{
	if (resolve & RESOLVE_CACHED)
		return -EAGAIN;
	return resolve & (RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH | RESOLVE_IN_ROOT) ? -ENOSYS : 0;
}

static void answer_remote(struct remote_call *call, int place)
{
	const struct seccomp_notif *n = call->notif;
	uint8_t op = call->spec->op;
	uint64_t key;

	call->is_asked = place == PLACE_ASK;
	if (place < 0 || place == PLACE_NOT_FOUND) {
		(void)answer_value(n->id, place < 0 ? place : -ENOENT);
		return;
	}
	if (refusal_of(call->resolve) < 0) {
		(void)answer_value(n->id, refusal_of(call->resolve));
		return;
	}
	if (place == PLACE_REMOTE && op == CALL_READLINK &&
	    (int32_t)n->data.args[call->spec->extra + 1] <= 0) {
		(void)answer_value(n->id, -EINVAL);
		return;
	}
	key = pending_key(n, call->path->text, call->path2 ? call->path2->text : NULL);
	if (!pending_resume(n, key))
		remote_start(call, key);
}

/* Programs come from this machine wherever it has them, whatever the rules say of reading the same path. */
static bool is_local_program(const char *path)
{
	return path[0] == '/' && faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void handle_path(const struct seccomp_notif *n, const struct call_spec *spec)
{
	struct place_path path, path2;
	struct remote_call call = {.notif = n, .spec = spec, .path = &path};
	pid_t tid = (pid_t)n->pid;
	ssize_t len = tracee_read_path(tid, n->data.args[spec->path], path.text);
	int place, dir = directory_of(n, spec->dir);

	path.len = call.asked_len = len > 0 ? (size_t)len : 0;
	call.is_write = is_write_call(n, spec);
	if (len <= 0 && is_of_descriptor(n, spec)) {
		answer_fstat(n, spec);
		return;
	}
	unreadable_tell(tid, (int)len);
	/* An empty or unreadable path: the kernel has the right errno for it. */
	if (len <= 0 || (spec->op == CALL_OPEN && !read_open(n, &call))) {
		(void)answer_continue(n->id);
		return;
	}
	if (spec->op == CALL_OPEN && bypass_answer(n, path.text, call.open_flags))
		return;
	call.open_flags |= spec->op == CALL_CHDIR ? O_DIRECTORY : spec->op == CALL_EXEC ? O_NONBLOCK : 0;
	if (spec->op == CALL_EXEC && is_local_program(path.text)) {
		(void)answer_continue(n->id);
		return;
	}
	if (call.resolve & RESOLVE_IN_ROOT)
		make_relative(&path);
	place = place_find(tid, dir, &path, call.is_write);
	if (spec->path2 >= 0 || (spec->op == CALL_SYMLINK && place != PLACE_LOCAL)) {
		if (!read_second(n, spec, &path2)) {
			(void)answer_continue(n->id);
			return;
		}
		call.path2 = &path2;
	}
	if (spec->path2 >= 0)
		place = both_places(place, place_find(tid, directory_of(n, spec->dir2), &path2, true));
	if (place == PLACE_MAGIC && spec->op == CALL_READLINK && answer_is_awaited(n->id)) {
		answer_magic(n, spec, &path);
		return;
	}
	if (place == PLACE_LOCAL || place == PLACE_MAGIC)
		(void)answer_continue(n->id);
	else
		answer_remote(&call, place);
}

static void answer_getdents(const struct seccomp_notif *n)
{
	if (!place_has_given() || !listing_answer(n))
		(void)answer_continue(n->id);
}

static void handle(const struct seccomp_notif *n)
{
	const struct call_spec *spec = n->pid ? call_find(n->data.nr) : NULL;

	if (!spec)
		(void)answer_continue(n->id);
	else if (spec->op >= CALL_CONNECT)
		net_call(n);
	else if (spec->op == CALL_GETCWD)
		answer_cwd(n);
	else if (spec->op == CALL_FSTAT)
		answer_fstat(n, spec);
	else if (spec->op == CALL_GETDENTS)
		answer_getdents(n);
	else if (spec->op == CALL_UNAME)
		host_name_answer(n);
	else
		handle_path(n, spec);
}

static void *serve(void *unused)
{
	struct seccomp_notif n;

	(void)unused;
	for (;;) {
		memset(&n, 0, sizeof(n));
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &n) != 0) {
			struct pollfd p = {.fd = listener, .events = POLLIN};

			if (errno != EINTR && errno != ENOENT)
				return NULL;
			/* Without a process left that could call, RECV says ENOENT for ever. */
			if (poll(&p, 1, 0) == 1 && (p.revents & POLLHUP))
				return NULL;
			continue;
		}
		__atomic_store_n(&shared->last_id, n.id, __ATOMIC_RELAXED);
		handle(&n);
	}
}

/* One thread: a call wakes every thread that waits in RECV, which costs more than a second one serves. Nothing here blocks. */
int notify_start(int fd, bool has_fuse)
{
	pthread_t thread;
	int failed;

	listener = fd;
	answer_init(fd);
	give_init(has_fuse);
	(void)ioctl(fd, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
	failed = pthread_create(&thread, NULL, serve, NULL);
	if (failed)
		return -failed;
	pthread_detach(thread);
	return 0;
}

void notify_adopt(int fd)
{
	uint64_t last = shared->last_id;

	answer_init(fd);
	for (unsigned int i = 0; i < SHARED_CALLS; i++) {
		if (shared->calls[i])
			(void)answer_value(shared->calls[i], -EIO);
		shared->calls[i] = 0;
	}
	for (unsigned int i = 0; i < SHARED_PARKED; i++) {
		if (shared->parked[i])
			(void)answer_continue(shared->parked[i]);
		shared->parked[i] = 0;
	}
	for (uint64_t id = last - ADOPT_SPAN; id != last + ADOPT_SPAN; id++)
		(void)answer_continue(id);
}
