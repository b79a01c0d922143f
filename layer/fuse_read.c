/* READ: from a snapshot in memory, or in pieces from the client, put together in order; by way of shared memory if there is. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fuse_server.h"
#include "room.h"

#define PIECES_MAX (FUSE_IO_MAX / FUSE_PIECE)

struct piece {
	struct gather *gather;
	uint32_t at, len;
	int32_t result;
};

/* A READ larger than a piece: all its pieces are asked for at once. */
struct gather {
	struct call *call;
	uint32_t missing, count;
	int room;
	uint8_t *data; /* in the room, or behind this */
	struct piece pieces[PIECES_MAX];
};

/* What the client answered: the number of bytes, or -errno. Those that did not come along lie in the room, at `place`. */
static int32_t received(int room, uint32_t place, uint32_t wanted, int32_t result, const uint8_t **body, size_t len)
{
	if (result > 0 && len == 0 && room != NO_ROOM) {
		*body = room_memory(room) + place;
		len = (size_t)result;
	}
	if (result < 0)
		return result;
	return len > wanted ? -EIO : (int32_t)len;
}

static void read_done(void *arg, int32_t result, const uint8_t *body, size_t len)
{
	struct call *call = arg;
	int32_t got = received(call->range.room, 0, call->range.size, result, &body, len);

	call_answer(call, got < 0 ? got : 0, body, got < 0 ? 0 : (size_t)got);
	room_give(call->range.room);
	call_put(call);
}

/* Bytes up to the first short piece: what lies behind the end of the file is not data. */
static void gather_finish(struct gather *gather)
{
	uint32_t len = 0;
	int error = 0;

	for (uint32_t i = 0; i < gather->count; i++) {
		const struct piece *piece = &gather->pieces[i];

		if (piece->result < 0) {
			error = len ? 0 : piece->result;
			break;
		}
		len += (uint32_t)piece->result;
		if ((uint32_t)piece->result < piece->len)
			break;
	}
	call_answer(gather->call, error, gather->data, len);
	room_give(gather->room);
	call_put(gather->call);
	free(gather);
}

static void piece_done(void *arg, int32_t result, const uint8_t *body, size_t len)
{
	struct piece *piece = arg;
	struct gather *gather = piece->gather;
	uint32_t missing;

	piece->result = received(gather->room, piece->at, piece->len, result, &body, len);
	if (piece->result > 0 && body != gather->data + piece->at)
		memcpy(gather->data + piece->at, body, (size_t)piece->result);
	pthread_mutex_lock(&fuse_lock);
	missing = --gather->missing;
	pthread_mutex_unlock(&fuse_lock);
	if (missing == 0)
		gather_finish(gather);
}

struct asked {
	uint16_t kind;
	uint8_t body[24];
	size_t len;
};

static void ask(struct asked *asked, uint32_t handle, uint64_t offset, uint32_t len, int room, uint32_t place)
{
	struct wire_writer w = {asked->body, asked->body + sizeof(asked->body), 0};

	asked->kind = room == NO_ROOM ? WIRE_READ : WIRE_READ_INTO;
	wire_put_u32(&w, handle);
	wire_put_u64(&w, offset);
	wire_put_u32(&w, len);
	if (room != NO_ROOM)
		wire_put_u64(&w, room_place(room) + place);
	asked->len = (size_t)(w.at - asked->body);
}

static void read_in_pieces(struct call *call, uint32_t handle)
{
	uint32_t size = call->range.size, at = 0;
	int room = call->range.room;
	struct gather *gather = malloc(sizeof(*gather) + (room == NO_ROOM ? size : 0));
	struct asked asked;

	if (!gather) {
		room_give(room);
		call_answer(call, -ENOMEM, NULL, 0);
		return;
	}
	gather->count = gather->missing = (size + FUSE_PIECE - 1) / FUSE_PIECE;
	gather->call = call;
	gather->room = room;
	gather->data = room == NO_ROOM ? (uint8_t *)(gather + 1) : room_memory(room);
	call_ref(call);
	for (uint32_t i = 0, count = gather->count; i < count; i++, at += FUSE_PIECE) {
		uint32_t len = size - at < FUSE_PIECE ? size - at : FUSE_PIECE;
		struct piece *piece = &gather->pieces[i];

		*piece = (struct piece){.gather = gather, .at = at, .len = len};
		ask(&asked, handle, call->range.offset + at, len, room, at);
		/* The last one may free the gathering. */
		link_request(asked.kind, asked.body, asked.len, NULL, 0, piece_done, piece);
	}
}

static void read_from_client(struct call *call, uint32_t handle)
{
	struct asked asked;

	if (call->range.size > FUSE_IO_MAX)
		call->range.size = FUSE_IO_MAX;
	call->range.room = room_take(call->range.size);
	if (call->range.size > FUSE_PIECE) {
		read_in_pieces(call, handle);
		return;
	}
	ask(&asked, handle, call->range.offset, call->range.size, call->range.room, 0);
	call_send(call, asked.kind, asked.body, asked.len, NULL, 0, read_done);
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
