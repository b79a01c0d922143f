/* Requests of trapped calls, and their completion on the link's thread (remote.h). */
#include "remote.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apart.h"
#include "copy_known.h"
#include "fuse.h"
#include "give.h"
#include "kernel_stat.h"
#include "link.h"
#include "mapped_call.h"
#include "remote_body.h"
#include "tracee.h"

#define BODY_MAX (2 * PLACE_PATH_MAX + 128)

static void give_data(struct pending *p, int argument, const void *data, size_t len, int64_t value)
{
	p->answer.data = malloc(len ? len : 1);
	p->answer.value = p->answer.data ? value : -ENOMEM;
	if (!p->answer.data)
		return;
	memcpy(p->answer.data, data, len);
	p->answer.addr = p->args[argument];
	p->answer.len = len;
}

static void finish_stat(struct pending *p, struct wire_reader *r)
{
	struct wire_stat stat;
	struct statx statx;
	struct stat plain;

	wire_get_stat(r, &stat);
	fuse_present(&stat);
	if (p->spec->op == CALL_STATX) {
		kernel_statx(&stat, &statx);
		give_data(p, p->spec->extra, &statx, sizeof(statx), 0);
	} else {
		kernel_stat(&stat, &plain);
		give_data(p, p->spec->extra, &plain, sizeof(plain), 0);
	}
}

static void finish_statfs(struct pending *p, struct wire_reader *r)
{
	struct wire_statfs from;
	struct statfs to;

	wire_get_statfs(r, &from);
	kernel_statfs(&from, &to);
	give_data(p, p->spec->extra, &to, sizeof(to), 0);
}

static void finish_readlink(struct pending *p, struct wire_reader *r)
{
	struct wire_bytes text = wire_get_str(r);
	size_t room = (uint32_t)p->args[p->spec->extra + 1];

	if (text.len < room)
		room = text.len;
	give_data(p, p->spec->extra, text.data, room, (int64_t)room);
}

static void finish_decide(struct pending *p, struct wire_reader *r)
{
	uint8_t verdict = wire_get_u8(r);

	if (verdict == VERDICT_LOCAL)
		p->answer.how = ANSWER_CONTINUE;
	else if (verdict == VERDICT_NOT_FOUND)
		p->answer.value = -ENOENT;
	else if (p->spec->op == CALL_OPEN && verdict == VERDICT_MAPPED)
		give_mapped(p, wire_get_str(r));
	else if (p->spec->op == CALL_OPEN)
		p->answer.value = -EROFS;
	else if (verdict == VERDICT_MAPPED)
		mapped_call(p, wire_get_str(r));
	else
		p->answer.value = -EOPNOTSUPP;
}

static bool finish_result(struct pending *p, const uint8_t *body, size_t len)
{
	struct wire_reader r = {body, body + len, 0};
	bool is_complete = true;

	if (p->is_decided) {
		finish_decide(p, &r);
		return true;
	}
	switch (p->spec->op) {
	case CALL_OPEN:
	case CALL_CHDIR:
	case CALL_EXEC:
		is_complete = give_opened(p, &r);
		break;
	case CALL_STAT:
	case CALL_STATX:
		finish_stat(p, &r);
		break;
	case CALL_READLINK:
		finish_readlink(p, &r);
		break;
	case CALL_STATFS:
		finish_statfs(p, &r);
		break;
	default:
		p->answer.value = 0;
		return true;
	}
	if (r.bad && is_complete) {
		answer_drop(&p->answer);
		p->answer.value = -EIO;
	}
	return is_complete;
}

static void finish(void *arg, int32_t result, const uint8_t *body, size_t len)
{
	struct pending *p = arg;

	if (result == WIRE_LOCAL) {
		place_remember_local(p->path, p->is_write);
		p->answer.how = ANSWER_CONTINUE;
	} else if (result < 0) {
		/* Nobody but the kernel may say ERESTART; what is no errno is a fault of the other side. */
		p->answer.value = result > -512 ? result : -EIO;
	} else if (!finish_result(p, body, len)) {
		return;
	}
	pending_finish(p);
}

static size_t without_slash(const char *path, size_t len)
{
	while (len > 1 && path[len - 1] == '/')
		len--;
	return len;
}

static void tell_move(const struct pending *p)
{
	uint64_t flags = p->spec->flags < 0 ? 0 : p->args[p->spec->flags];
	const struct move move = {.from = p->path->text,
				  .to = p->replaced,
				  .from_len = without_slash(p->path->text, p->path->len),
				  .to_len = without_slash(p->replaced, strlen(p->replaced)),
				  .is_exchange = (flags & RENAME_EXCHANGE) != 0};

	fuse_path_moved(&move);
	copy_path_moved(&move);
}

/* What changed in the target by this call's path. */
static void tell_change(const struct pending *p, int32_t result, const uint8_t *body, size_t len)
{
	struct wire_reader r = {body, body + len, 0};
	struct wire_stat stat;
	uint8_t op = p->spec->op;

	if (result < 0 || p->spec->feature != WIRE_FEATURE_FILES_WRITE)
		return;
	wire_get_stat(&r, &stat);
	if (op == CALL_CHMOD || op == CALL_CHOWN || op == CALL_TRUNCATE || op == CALL_TIMES)
		fuse_path_changed(p->path->text, p->path->len, r.bad ? NULL : &stat);
	else
		fuse_path_changed(p->path->text, p->path->len, NULL);
	if (p->replaced) {
		fuse_path_changed(p->replaced, strlen(p->replaced), NULL);
		tell_move(p);
	}
}

static void finish_apart(void *arg, int32_t result, const uint8_t *body, size_t len)
{
	const struct pending *p = arg;

	tell_change(p, result, body, len);
	if (p->spec->op == CALL_OPEN || p->spec->op == CALL_EXEC)
		apart_finish_open(finish, arg, result, body, len);
	else
		finish(arg, result, body, len);
}

void remote_start(const struct remote_call *call, uint64_t key)
{
	uint8_t body[BODY_MAX];
	struct wire_writer w = {body, body + sizeof(body), 0};
	uint64_t id = call->notif->id, serial, request;
	struct pending *p;
	int kind = remote_body(call, &w);

	if (kind == -EROFS)
		link_log(1, "files: a remote file was opened for writing, which needs FUSE on this machine; it got EROFS");
	if (kind <= 0 || w.bad) {
		(void)answer_value(id, w.bad ? -ENAMETOOLONG : kind < 0 ? kind : -EOPNOTSUPP);
		return;
	}
	/* What was read may be another process's by now. */
	if (!answer_is_awaited(id))
		return;
	p = pending_add(call->notif, call->spec, key);
	if (!p) {
		(void)answer_value(id, -ENOMEM);
		return;
	}
	p->is_write = call->is_write;
	p->is_asked = call->is_asked;
	p->open_flags = call->open_flags;
	p->asked_len = call->asked_len;
	p->is_decided = kind == WIRE_DECIDE;
	if (call->spec->op == CALL_OPEN)
		p->args[5] = call->open_mode & 07777 & ~tracee_umask(p->tid);
	memcpy(p->path->text, call->path->text, call->path->len + 1);
	p->path->len = call->path->len;
	if (call->spec->op == CALL_RENAME)
		p->replaced = strdup(call->path2->text);
	serial = p->serial;
	request = link_request((uint16_t)kind, body, (size_t)(w.at - body), NULL, 0, finish_apart, p);
	pending_set_request((pid_t)call->notif->pid, serial, request);
}
