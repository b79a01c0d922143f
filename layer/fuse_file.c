/* Names, opens and releases: answered from memory, so that fuse_open waits for this process and
 * never for the client. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuse_server.h"

/* A name of the root is a number without sign or leading zero, as fuse_open writes it. */
static uint64_t parse_number(const char *name, size_t len)
{
	uint64_t number = 0;

	if (len == 0 || len > 19 || name[0] == '0')
		return 0;
	for (size_t i = 0; i < len; i++) {
		if (name[i] < '0' || name[i] > '9')
			return 0;
		number = number * 10 + (uint64_t)(name[i] - '0');
	}
	return number;
}

void op_lookup(const struct request *request)
{
	const char *text = request->arg;
	struct fuse_entry_out out = {.entry_valid = FUSE_ENTRY_SECONDS,
				     .attr_valid = FUSE_ATTR_SECONDS};
	struct iovec parts[2] = {{NULL, 0}, {&out, sizeof(out)}};
	uint64_t number = 0;
	struct name *name;
	struct node *node = NULL;

	if (request->head->nodeid == FUSE_ROOT_ID)
		number = parse_number(text, strnlen(text, request->arg_len));
	pthread_mutex_lock(&fuse_lock);
	name = name_find(number);
	if (name) {
		node = name->node;
		node->lookups++;
		out.nodeid = (uintptr_t)node;
		attr_fill(&out.attr, &node->stat);
	}
	pthread_mutex_unlock(&fuse_lock);
	if (!node) {
		fuse_answer(request->head->unique, -ENOENT, NULL, 0);
	} else if (fuse_answer_parts(request->head->unique, parts, 2) < 0) {
		/* The opener was killed meanwhile: the kernel has not counted this lookup. */
		pthread_mutex_lock(&fuse_lock);
		node_forget(node, 1);
		pthread_mutex_unlock(&fuse_lock);
	}
}

/* Read sizes of pseudo files are unknown beforehand; appends go where the target's kernel says.
 * Neither can be cached. */
static bool needs_direct_io(const struct node *node, int flags)
{
	if (node->type != S_IFREG)
		return true;
	return (flags & O_APPEND) || (node->stat.size == 0 && (flags & O_ACCMODE) == O_RDONLY);
}

/* Hands an open file to the kernel: its reference is the kernel's from here on. */
static void answer_open(uint64_t unique, struct opened *opened)
{
	struct fuse_open_out out = {.fh = (uintptr_t)opened};
	struct iovec parts[2] = {{NULL, 0}, {&out, sizeof(out)}};
	uint32_t handle;

	if (opened->node->type != S_IFDIR) {
		/* Pages of shared mappings are written by msync and munmap. We close descriptors on the thread that
		 * answers writes: our close must not wait for one (Linux 5.16). */
		out.open_flags |= FOPEN_NOFLUSH;
		if (needs_direct_io(opened->node, opened->flags))
			out.open_flags |= FOPEN_DIRECT_IO;
		else if (opened->keeps_cache)
			out.open_flags |= FOPEN_KEEP_CACHE;
		if (opened->node->type == S_IFIFO)
			out.open_flags |= FOPEN_STREAM;
	}
	if (fuse_answer_parts(unique, parts, 2) == 0)
		return;
	/* Given up meanwhile: there will be no RELEASE. */
	pthread_mutex_lock(&fuse_lock);
	opened_unlink(opened);
	handle = opened_put(opened);
	pthread_mutex_unlock(&fuse_lock);
	fuse_release_handle(handle);
}

/* The file that this thread is opening by fuse_open, or NULL. */
static struct opened *take_pending(struct node *node, pid_t opener)
{
	for (struct name *name = node->names; name; name = name->next) {
		struct opened *opened = name->pending;

		if (opened && name->opener == opener) {
			name->pending = NULL;
			opened_link(opened);
			return opened;
		}
	}
	return NULL;
}

static struct opened *reopen(struct node *node, struct name *name, struct source *source, int flags)
{
	struct opened *opened = opened_add(node, name, source, flags);

	if (!opened)
		return NULL;
	opened->is_reopened = true;
	opened->keeps_cache = true;
	opened_link(opened);
	return opened;
}

static struct opened *share(struct node *node, int flags)
{
	struct opened *other = opened_find(node, flags), *opened;

	if (!other)
		return NULL;
	opened = reopen(node, other->name, other->source, flags);
	if (opened)
		other->source->refs++;
	return opened;
}

/* The client's answer to WIRE_OPEN as a source of this very file; *handle is what to release if
 * there is none. */
struct source *source_from_open(const struct node *node, int flags, const uint8_t *body, size_t len,
				struct wire_stat *stat, uint32_t *handle)
{
	struct wire_reader r = {body, body + len, 0};
	struct wire_opened_file opened;
	struct source *source;

	wire_get_opened(&r, &opened);
	*handle = opened.handle;
	*stat = opened.stat;
	if (r.bad || opened.how == WIRE_OPENED_MAPPED || stat->dev != node->dev ||
	    stat->ino != node->ino)
		return NULL;
	source = source_new(*handle, flags);
	if (source && !*handle &&
	    source_set_content(source, opened.bytes.data, opened.bytes.len, node->version) != 0) {
		source_put(source);
		return NULL;
	}
	if (source)
		*handle = 0;
	return source;
}

static void reopen_done(void *arg, int32_t result, const uint8_t *body, size_t len)
{
	struct call *call = arg;
	struct opened *opened = NULL;
	struct source *source = NULL;
	struct wire_stat stat;
	uint32_t handle = 0;

	if (result >= 0) {
		pthread_mutex_lock(&fuse_lock);
		source = source_from_open(call->node, call->flags, body, len, &stat, &handle);
		if (source) {
			node_update(call->node, &stat);
			source->version = call->node->version;
		}
		if (source && !call->is_answered && call->node->names)
			opened = reopen(call->node, call->node->names, source, call->flags);
		if (opened)
			call->is_answered = true;
		else if (source)
			handle = source_put(source);
		pthread_mutex_unlock(&fuse_lock);
		/* Another file has the path now. */
		result = -ESTALE;
	}
	fuse_release_handle(handle);
	if (opened)
		answer_open(call->unique, opened);
	else
		call_answer(call, result, NULL, 0);
	call_put(call);
}

/* Through /proc/PID/fd and the like, in a way that no open file allows. */
static void reopen_by_path(struct call *call, const char *path, size_t path_len)
{
	uint8_t body[12 + 2 + 4096];
	struct wire_writer w = {body, body + sizeof(body), 0};

	wire_put_u32(&w, call->pid);
	wire_put_u32(&w, (uint32_t)call->flags);
	wire_put_u32(&w, 0);
	wire_put_str(&w, path, path_len);
	if (w.bad)
		call_answer(call, -ENAMETOOLONG, NULL, 0);
	else
		call_send(call, WIRE_OPEN, body, (size_t)(w.at - body), NULL, 0, reopen_done);
}

void op_open(const struct request *request)
{
	const struct fuse_open_in *in = request->arg;
	int flags = (int)in->flags & (O_ACCMODE | O_APPEND | O_DIRECTORY | O_NONBLOCK | O_SYNC);
	struct node *node = request_node(request);
	struct call *call = NULL;
	struct opened *opened;
	char path[4096];
	size_t path_len = 0;

	if (request->head->nodeid == FUSE_ROOT_ID) {
		fuse_answer(request->head->unique, -EACCES, NULL, 0);
		return;
	}
	pthread_mutex_lock(&fuse_lock);
	opened = take_pending(node, (pid_t)request->head->pid);
	if (!opened)
		opened = share(node, flags);
	if (!opened && node->names && node->names->path_len <= sizeof(path)) {
		path_len = node->names->path_len;
		memcpy(path, node->names->path, path_len);
		call = call_new(request, node, NULL);
	}
	pthread_mutex_unlock(&fuse_lock);
	if (opened) {
		answer_open(request->head->unique, opened);
	} else if (call) {
		call->flags = flags;
		reopen_by_path(call, path, path_len);
		call_put(call);
	} else if (!path_len) {
		fuse_answer(request->head->unique, -ESTALE, NULL, 0);
	}
}

void op_release(const struct request *request)
{
	const struct fuse_release_in *in = request->arg;
	struct opened *opened = fh_opened(in->fh);
	uint32_t handle;

	pthread_mutex_lock(&fuse_lock);
	opened_unlink(opened);
	handle = opened_put(opened);
	pthread_mutex_unlock(&fuse_lock);
	fuse_release_handle(handle);
	fuse_answer(request->head->unique, 0, NULL, 0);
}

void op_forget(const struct request *request)
{
	const struct fuse_forget_in *in = request->arg;

	if (request->head->nodeid == FUSE_ROOT_ID)
		return;
	pthread_mutex_lock(&fuse_lock);
	node_forget(request_node(request), in->nlookup);
	pthread_mutex_unlock(&fuse_lock);
}

void op_batch_forget(const struct request *request)
{
	const struct fuse_batch_forget_in *in = request->arg;
	const struct fuse_forget_one *one = (const void *)(in + 1);
	size_t room = (request->arg_len - sizeof(*in)) / sizeof(*one);

	pthread_mutex_lock(&fuse_lock);
	for (size_t i = 0; i < in->count && i < room; i++) {
		if (one[i].nodeid != FUSE_ROOT_ID)
			node_forget((struct node *)(uintptr_t)one[i].nodeid, one[i].nlookup);
	}
	pthread_mutex_unlock(&fuse_lock);
}

static void result_done(void *arg, int32_t result, const uint8_t *body, size_t len)
{
	(void)body;
	(void)len;
	call_answer(arg, result < 0 ? result : 0, NULL, 0);
	call_put(arg);
}

void op_fsync(const struct request *request)
{
	const struct fuse_fsync_in *in = request->arg;
	struct opened *opened = fh_opened(in->fh);
	uint8_t body[5];
	struct wire_writer w = {body, body + sizeof(body), 0};
	struct call *call = NULL;
	bool is_synced;

	pthread_mutex_lock(&fuse_lock);
	/* Writes through an O_SYNC handle are on the target's disk already. */
	is_synced = !opened->source->handle || (opened->source->flags & O_DSYNC);
	wire_put_u32(&w, opened->source->handle);
	if (!is_synced)
		call = call_new(request, opened->node, opened);
	pthread_mutex_unlock(&fuse_lock);
	if (is_synced)
		fuse_answer(request->head->unique, 0, NULL, 0);
	if (!call)
		return;
	wire_put_u8(&w, in->fsync_flags & FUSE_FSYNC_FDATASYNC ? 1 : 0);
	call_send(call, WIRE_FSYNC, body, sizeof(body), NULL, 0, result_done);
	call_put(call);
}
