/* What the client is asked (remote_body.h). */
#include "remote_body.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "give.h"
#include "tracee.h"

static void put_path(struct wire_writer *w, const struct place_path *path)
{
	wire_put_str(w, path->text, path->len);
}

static uint32_t flags_of(const struct remote_call *call)
{
	return call->spec->flags >= 0 ? (uint32_t)call->notif->data.args[call->spec->flags] : 0;
}

static uint32_t nofollow_of(const struct remote_call *call)
{
	if (call->spec->nr == SYS_lstat || call->spec->nr == SYS_lchown)
		return AT_SYMLINK_NOFOLLOW;
	return flags_of(call) & AT_SYMLINK_NOFOLLOW;
}

static uint64_t extra_of(const struct remote_call *call, int further)
{
	return call->notif->data.args[call->spec->extra + further];
}

static int time_of(const struct timespec *t, int64_t *ns, uint32_t *valid, uint32_t set, uint32_t now)
{
	if (t->tv_nsec == UTIME_OMIT)
		return 0;
	if (t->tv_nsec == UTIME_NOW) {
		*valid |= now;
		return 0;
	}
	if (t->tv_nsec < 0 || t->tv_nsec > 999999999)
		return -EINVAL;
	*valid |= set;
	*ns = (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
	return 0;
}

static int put_times(const struct remote_call *call, struct wire_setattr *set)
{
	struct timespec times[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}};
	uint64_t addr = extra_of(call, 0);
	int64_t raw[4];
	int failed = 0, nr = call->spec->nr;

	if (addr != 0 && nr == SYS_utime) {
		failed = tracee_read((pid_t)call->notif->pid, addr, raw, 16);
		times[0] = (struct timespec){raw[0], 0};
		times[1] = (struct timespec){raw[1], 0};
	} else if (addr != 0) {
		int scale = nr == SYS_utimensat ? 1 : 1000;

		failed = tracee_read((pid_t)call->notif->pid, addr, raw, sizeof(raw));
		times[0] = (struct timespec){raw[0], raw[1] * scale};
		times[1] = (struct timespec){raw[2], raw[3] * scale};
	}
	if (failed)
		return failed;
	failed = time_of(&times[0], &set->atime_ns, &set->valid, WIRE_SET_ATIME, WIRE_SET_ATIME_NOW);
	return failed ? failed
		      : time_of(&times[1], &set->mtime_ns, &set->valid, WIRE_SET_MTIME,
				WIRE_SET_MTIME_NOW);
}

static int put_setattr(const struct remote_call *call, struct wire_writer *w)
{
	struct wire_setattr set = {0};
	int failed = 0;

	if (call->spec->op == CALL_CHMOD) {
		set.valid = WIRE_SET_MODE;
		set.mode = (uint32_t)extra_of(call, 0) & 07777;
	} else if (call->spec->op == CALL_CHOWN) {
		set.uid = (uint32_t)extra_of(call, 0);
		set.gid = (uint32_t)extra_of(call, 1);
		set.valid = (set.uid != UINT32_MAX ? WIRE_SET_UID : 0u) |
			    (set.gid != UINT32_MAX ? WIRE_SET_GID : 0u);
	} else if (call->spec->op == CALL_TRUNCATE) {
		set.valid = WIRE_SET_SIZE;
		set.size = extra_of(call, 0);
		if ((int64_t)set.size < 0)
			return -EINVAL;
	} else {
		failed = put_times(call, &set);
	}
	if (failed)
		return failed;
	wire_put_u32(w, nofollow_of(call));
	wire_put_setattr(w, &set);
	put_path(w, call->path);
	return WIRE_SETATTR;
}

static int put_open(const struct remote_call *call, struct wire_writer *w)
{
	uint32_t flags = call->open_flags & ~(uint32_t)O_CLOEXEC, mode = 0;

	/* A descriptor that only names a file has no remote form; one that can also read does whatever it is used for. */
	if (flags & O_PATH)
		flags = (flags & (O_DIRECTORY | O_NOFOLLOW)) | O_RDONLY | O_NONBLOCK;
	if (flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY)))
		mode = call->open_mode & 07777 & ~tracee_umask((pid_t)call->notif->pid);
	wire_put_u32(w, (uint32_t)tracee_process((pid_t)call->notif->pid));
	wire_put_u32(w, flags);
	wire_put_u32(w, mode);
	put_path(w, call->path);
	return WIRE_OPEN;
}

/* Without FUSE it must not be opened for writing, which might create or truncate it: where it leads is asked first. */
static int put_decide(const struct remote_call *call, struct wire_writer *w)
{
	wire_put_u8(w, call->is_write);
	put_path(w, call->path);
	return WIRE_DECIDE;
}

static int put_two(const struct remote_call *call, struct wire_writer *w)
{
	wire_put_u32(w, flags_of(call));
	put_path(w, call->path);
	put_path(w, call->path2);
	return call->spec->op == CALL_RENAME ? WIRE_RENAME : WIRE_LINK;
}

static int put_one(struct wire_writer *w, const struct place_path *path, int kind)
{
	put_path(w, path);
	return kind;
}

int remote_body(const struct remote_call *call, struct wire_writer *w)
{
	switch (call->spec->op) {
	case CALL_OPEN:
		if (!call->is_write || give_can_write())
			return put_open(call, w);
		return call->is_asked ? put_decide(call, w) : -EROFS;
	case CALL_CHDIR:
	case CALL_EXEC:
		return put_open(call, w);
	case CALL_STAT:
	case CALL_STATX:
		wire_put_u32(w, nofollow_of(call));
		return put_one(w, call->path, WIRE_STAT);
	case CALL_ACCESS:
		wire_put_u32(w, (uint32_t)extra_of(call, 0));
		wire_put_u32(w, flags_of(call));
		return put_one(w, call->path, WIRE_ACCESS);
	case CALL_READLINK:
		return put_one(w, call->path, WIRE_READLINK);
	case CALL_STATFS:
		return put_one(w, call->path, WIRE_STATFS);
	case CALL_MKDIR:
		wire_put_u32(w, (uint32_t)extra_of(call, 0) & 07777 &
					~tracee_umask((pid_t)call->notif->pid));
		return put_one(w, call->path, WIRE_MKDIR);
	case CALL_RMDIR:
		return put_one(w, call->path, WIRE_RMDIR);
	case CALL_UNLINK:
		return put_one(w, call->path, flags_of(call) & AT_REMOVEDIR ? WIRE_RMDIR : WIRE_UNLINK);
	case CALL_RENAME:
	case CALL_LINK:
		return put_two(call, w);
	case CALL_SYMLINK:
		put_path(w, call->path2);
		return put_one(w, call->path, WIRE_SYMLINK);
	case CALL_CHMOD:
	case CALL_CHOWN:
	case CALL_TRUNCATE:
	case CALL_TIMES:
		return put_setattr(call, w);
	default:
		return call->is_asked ? put_decide(call, w) : 0;
	}
}
