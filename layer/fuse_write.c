/*
 * WRITE: in pieces. Pieces of an ordinary file go out at once; those of an O_APPEND file one after
 * the other, because the target's kernel puts each where the file ends. Pages of a shared mapping have their place in the
 * file however it was opened: they never go through an O_APPEND handle.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fuse_server.h"

#define PIECES_MAX (FUSE_IO_MAX / FUSE_PIECE)

struct piece {
	struct scatter *scatter;
	uint32_t len;
	int32_t result;
};

struct scatter {
	struct call *call;
	uint32_t handle, size;
	uint32_t release;       /* a handle of its own, or 0 */
	uint64_t offset;
	bool in_turn;
	uint32_t missing, count, next;
	struct piece pieces[PIECES_MAX];
	uint8_t data[]; /* of an O_APPEND file only */
};

static void send_piece(struct scatter *scatter, uint32_t i, const uint8_t *data);

/* Bytes written up to the first short piece; an error only if there are none. */
static void scatter_finish(struct scatter *scatter)
{
	struct fuse_write_out out = {0};
	int error = 0;

	for (uint32_t i = 0; i < scatter->count; i++) {
		const struct piece *piece = &scatter->pieces[i];

		if (piece->result < 0) {
			error = out.size ? 0 : piece->result;
			break;
		}
		out.size += (uint32_t)piece->result;
		if ((uint32_t)piece->result < piece->len)
			break;
	}
	pthread_mutex_lock(&fuse_lock);
	scatter->call->node->version++;
	pthread_mutex_unlock(&fuse_lock);
	call_answer(scatter->call, error, &out, sizeof(out));
	call_put(scatter->call);
	fuse_release_handle(scatter->release);
	free(scatter);
}

static void piece_done(void *arg, int32_t result, const uint8_t *body, size_t len)
{
	struct piece *piece = arg;
	struct scatter *scatter = piece->scatter;
	uint32_t missing;

	(void)body;
	(void)len;
	piece->result = result > (int32_t)piece->len ? -EIO : result;
	pthread_mutex_lock(&fuse_lock);
	missing = --scatter->missing;
	pthread_mutex_unlock(&fuse_lock);
	if (scatter->in_turn && missing && piece->result == (int32_t)piece->len) {
		uint32_t i = ++scatter->next;

		send_piece(scatter, i, scatter->data + (size_t)i * FUSE_PIECE);
	} else if (scatter->in_turn || missing == 0) {
		scatter_finish(scatter);
	}
}

static void send_piece(struct scatter *scatter, uint32_t i, const uint8_t *data)
{
	uint32_t at = i * FUSE_PIECE, left = scatter->size - at;
	struct piece *piece = &scatter->pieces[i];
	uint8_t body[12];
	struct wire_writer w = {body, body + sizeof(body), 0};

	piece->scatter = scatter;
	piece->len = left < FUSE_PIECE ? left : FUSE_PIECE;
	wire_put_u32(&w, scatter->handle);
	wire_put_u64(&w, scatter->offset + at);
	link_request(WIRE_WRITE, body, sizeof(body), data, piece->len, piece_done, piece);
}

static void write_to_client(struct call *call, const struct fuse_write_in *in, uint32_t handle,
			    uint32_t release, bool in_turn)
{
	const uint8_t *data = (const uint8_t *)(in + 1);
	bool keeps_data = in_turn && in->size > FUSE_PIECE;
	struct scatter *scatter = calloc(1, sizeof(*scatter) + (keeps_data ? in->size : 0));
	uint32_t count = (in->size + FUSE_PIECE - 1) / FUSE_PIECE;

	if (!scatter) {
		call_answer(call, -ENOMEM, NULL, 0);
		fuse_release_handle(release);
		return;
	}
	call_ref(call);
	*scatter = (struct scatter){.call = call,
				    .handle = handle,
				    .release = release,
				    .size = in->size,
				    .offset = in->offset,
				    .in_turn = in_turn,
				    .missing = count,
				    .count = count};
	if (keeps_data)
		memcpy(scatter->data, data, in->size);
	/* Whoever finishes the last piece frees the scatter. */
	for (uint32_t i = 0; i < (in_turn ? 1 : count); i++)
		send_piece(scatter, i, data + (size_t)i * FUSE_PIECE);
}

/* Pages that wait until the file is open without O_APPEND. */
struct pages {
	struct call *call;
	struct fuse_write_in in[]; /* and the data */
};

static void positioned_done(void *arg, int32_t result, const uint8_t *body, size_t len)
{
	struct pages *pages = arg;
	struct call *call = pages->call;
	struct source *source = NULL;
	struct wire_stat stat;
	uint32_t handle = 0;

	if (result >= 0) {
		pthread_mutex_lock(&fuse_lock);
		source = source_from_open(call->node, O_WRONLY, body, len, &stat, &handle);
		if (source)
			handle = source_put(source);
		pthread_mutex_unlock(&fuse_lock);
	}
	if (source && handle) {
		write_to_client(call, pages->in, handle, handle, false);
	} else {
		/* Another file has the path now, or none: the pages have no way into the old one. */
		fuse_release_handle(handle);
		call_answer(call, -EIO, NULL, 0);
	}
	call_put(call);
	free(pages);
}

static void write_positioned(struct call *call, const struct fuse_write_in *in, const char *path, size_t path_len)
{
	struct pages *pages = malloc(sizeof(*pages) + sizeof(*in) + in->size);
	uint8_t body[12 + 2 + 4096];
	struct wire_writer w = {body, body + sizeof(body), 0};

	if (!pages) {
		call_answer(call, -ENOMEM, NULL, 0);
		return;
	}
	pages->call = call;
	memcpy(pages->in, in, sizeof(*in) + in->size);
	wire_put_u32(&w, call->pid);
	wire_put_u32(&w, O_WRONLY);
	wire_put_u32(&w, 0);
	wire_put_str(&w, path, path_len);
	/* As call_send, whose argument is the call alone. */
	call_ref(call);
	(void)link_request(WIRE_OPEN, body, (size_t)(w.at - body), NULL, 0, positioned_done, pages);
}

static struct opened *opened_positioned(struct node *node)
{
	struct opened *opened = node->opened;

	while (opened && (!opened->source->handle || (opened->source->flags & O_ACCMODE) == O_RDONLY ||
			  (opened->source->flags & O_APPEND)))
		opened = opened->next;
	return opened;
}

void op_write(const struct request *request)
{
	const struct fuse_write_in *in = request->arg;
	struct opened *opened = fh_opened(in->fh), *other;
	char path[4096];
	size_t path_len = 0;
	struct call *call;
	uint32_t handle;
	bool in_turn;

	if (in->size == 0 || in->size > FUSE_IO_MAX || in->size > request->arg_len - sizeof(*in)) {
		fuse_answer(request->head->unique, -EINVAL, NULL, 0);
		return;
	}
	pthread_mutex_lock(&fuse_lock);
	if ((in->write_flags & FUSE_WRITE_CACHE) && (opened->source->flags & O_APPEND)) {
		other = opened_positioned(opened->node);
		if (!other && opened->name && opened->name->path_len <= sizeof(path)) {
			path_len = opened->name->path_len;
			memcpy(path, opened->name->path, path_len);
		}
		opened = other ? other : opened;
	}
	handle = opened->source->handle;
	in_turn = opened->source->flags & O_APPEND;
	call = call_new(request, opened->node, opened);
	pthread_mutex_unlock(&fuse_lock);
	if (!call)
		return;
	if (path_len)
		write_positioned(call, in, path, path_len);
	else if (handle)
		write_to_client(call, in, handle, 0, in_turn);
	else
		call_answer(call, -EBADF, NULL, 0);
	call_put(call);
}
