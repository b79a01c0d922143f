/* READ: from a snapshot in memory, or in pieces from the client, put together in order; by way of shared memory if there is. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fuse_server.h"

/* Whether the client may answer the kernel itself. */
static bool is_for_client(const struct call *call)
{
	return fuse_device_is_shared && call->range.size >= FUSE_WORTH;
}

/* What the client answered: the number of bytes, or -errno. Those that did not come along it has given to the kernel itself. */
static void read_done(void *arg, int32_t result, const uint8_t *body, size_t len)
{
	struct call *call = arg;

	if (result > 0 && (uint32_t)result <= call->range.size && len == 0 && is_for_client(call))
		call_was_answered(call);
	else if (result < 0 || (size_t)result != len || len > call->range.size)
		call_answer(call, result < 0 ? result : -EIO, NULL, 0);
	else
		call_answer(call, 0, body, len);
	call_put(call);
}

static void read_from_client(struct call *call, uint32_t handle)
{
	uint8_t body[24];
	struct wire_writer w = {body, body + sizeof(body), 0};
	bool may_answer;

	if (call->range.size > FUSE_IO_MAX)
		call->range.size = FUSE_IO_MAX;
	may_answer = is_for_client(call);
	wire_put_u32(&w, handle);
	wire_put_u64(&w, call->range.offset);
	wire_put_u32(&w, call->range.size);
	if (may_answer)
		wire_put_u64(&w, call->unique);
	call_send(call, may_answer ? WIRE_READ_FOR : WIRE_READ, body, (size_t)(w.at - body), NULL, 0, read_done);
}

/* Copies the asked part of the snapshot; the kernel is answered without the lock. */
static void read_from_content(struct call *call)
{
	uint64_t offset = call->range.offset;
	size_t len = 0;
	uint8_t *copy = NULL;
	const struct source *source;

	pthread_mutex_lock(&fuse_lock);
	source = call->opened->source;
	if (offset < source->content_len)
		len = source->content_len - offset;
	if (len > call->range.size)
		len = call->range.size;
	if (len)
		copy = malloc(len);
	if (copy)
		memcpy(copy, source->content + offset, len);
	pthread_mutex_unlock(&fuse_lock);
	call_answer(call, len && !copy ? -ENOMEM : 0, copy, len);
	free(copy);
}

/* The file has changed since the snapshot: its path is opened again, and if that is another file
 * the snapshot stays. */
static void refresh_done(void *arg, int32_t result, const uint8_t *body, size_t len)
{
	struct call *call = arg;
	struct source *source = call->opened->source, *fresh = NULL;
	struct wire_stat stat;
	uint32_t handle = 0;

	pthread_mutex_lock(&fuse_lock);
	if (result >= 0)
		fresh = source_from_open(call->node, O_RDONLY, body, len, &stat, &handle);
	if (fresh) {
		node_update(call->node, &stat);
		if (!source->handle && fresh->handle) {
			source->handle = fresh->handle;
			fresh->handle = 0;
		} else if (!source->handle) {
			source_set_content(source, fresh->content, fresh->content_len, 0);
		}
		handle = source_put(fresh);
	}
	source->version = call->node->version;
	pthread_mutex_unlock(&fuse_lock);
	fuse_release_handle(handle);
	if (source->handle)
		read_from_client(call, source->handle);
	else
		read_from_content(call);
	call_put(call);
}

static void refresh(struct call *call, const char *path, size_t path_len)
{
	uint8_t body[12 + 2 + 4096];
	struct wire_writer w = {body, body + sizeof(body), 0};

	wire_put_u32(&w, call->pid);
	wire_put_u32(&w, O_RDONLY);
	wire_put_u32(&w, 0);
	wire_put_str(&w, path, path_len);
	call_send(call, WIRE_OPEN, body, (size_t)(w.at - body), NULL, 0, refresh_done);
}

void op_read(const struct request *request)
{
	const struct fuse_read_in *in = request->arg;
	struct opened *opened = fh_opened(in->fh);
	const struct source *source;
	bool is_stale;
	char path[4096];
	size_t path_len;
	uint32_t handle;
	struct call *call;

	pthread_mutex_lock(&fuse_lock);
	source = opened->source;
	handle = source->handle;
	path_len = opened->name->path_len;
	is_stale = !handle && source->version != opened->node->version && path_len <= sizeof(path);
	if (is_stale)
		memcpy(path, opened->name->path, path_len);
	call = call_new(request, opened->node, opened);
	pthread_mutex_unlock(&fuse_lock);
	if (!call)
		return;
	call->range.offset = in->offset;
	call->range.size = in->size;
	if (handle)
		read_from_client(call, handle);
	else if (is_stale)
		refresh(call, path, path_len);
	else
		read_from_content(call);
	call_put(call);
}
