/*
 * Codec of the supervisor-client conversation (wire.h). Pure: no I/O and no allocation, so that it
 * can be fuzzed and replayed against the same vectors as its TypeScript twin. Numbers are assembled
 * byte by byte: bodies are not aligned.
 */
#include "wire.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

static uint64_t load_le(const uint8_t *at, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes; i++)
		v |= (uint64_t)at[i] << (8 * i);
	return v;
}

static void store_le(uint8_t *at, uint64_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		at[i] = (uint8_t)(v >> (8 * i));
}

static bool is_known_kind(uint16_t kind)
{
	return (kind >= WIRE_HELLO && kind <= WIRE_FAILED) || kind == WIRE_ENDED ||
	       (kind >= WIRE_SETUP && kind <= WIRE_REPLY) ||
	       (kind >= WIRE_OPEN && kind <= WIRE_DECIDE) ||
	       (kind >= WIRE_READ && kind <= WIRE_READ_FOR) ||
	       (kind >= WIRE_CONNECT && kind <= WIRE_FLOW_ADDRESS) ||
	       (kind >= WIRE_FLOW_DATA && kind <= WIRE_FLOW_DIALING) ||
	       (kind >= WIRE_BIND && kind <= WIRE_LISTEN_CLOSED) ||
	       (kind >= WIRE_ARRIVAL && kind <= WIRE_ARRIVAL_OVER);
}

ssize_t wire_decode(const uint8_t *buf, size_t len, struct wire_frame *frame)
{
	uint32_t body_len;

	if (len < WIRE_HEADER_BYTES)
		return 0;
	/* The header is judged before the body is awaited: a hostile length must not make us buffer
	 * it. */
	body_len = (uint32_t)load_le(buf, 4);
	if (body_len > WIRE_BODY_MAX || !is_known_kind((uint16_t)load_le(buf + 4, 2)) ||
	    load_le(buf + 6, 2) != 0)
		return -EPROTO;
	if (len - WIRE_HEADER_BYTES < body_len)
		return 0;
	frame->kind = (uint16_t)load_le(buf + 4, 2);
	frame->id = load_le(buf + 8, 8);
	frame->body = buf + WIRE_HEADER_BYTES;
	frame->body_len = body_len;
	return (ssize_t)WIRE_HEADER_BYTES + (ssize_t)body_len;
}

void wire_header(uint8_t *out, uint16_t kind, uint64_t id, uint32_t body_len)
{
	store_le(out, body_len, 4);
	store_le(out + 4, kind, 2);
	store_le(out + 6, 0, 2);
	store_le(out + 8, id, 8);
}

static const uint8_t *take(struct wire_reader *r, size_t bytes)
{
	const uint8_t *at = r->at;

	if (r->bad || (size_t)(r->end - r->at) < bytes) {
		r->bad = 1;
		return NULL;
	}
	r->at += bytes;
	return at;
}

static uint64_t get_le(struct wire_reader *r, unsigned bytes)
{
	const uint8_t *at = take(r, bytes);

	return at ? load_le(at, bytes) : 0;
}

uint8_t wire_get_u8(struct wire_reader *r)
{
	return (uint8_t)get_le(r, 1);
}

uint16_t wire_get_u16(struct wire_reader *r)
{
	return (uint16_t)get_le(r, 2);
}

uint32_t wire_get_u32(struct wire_reader *r)
{
	return (uint32_t)get_le(r, 4);
}

uint64_t wire_get_u64(struct wire_reader *r)
{
	return get_le(r, 8);
}

static struct wire_bytes get_bytes(struct wire_reader *r, uint32_t len)
{
	struct wire_bytes bytes = {.data = take(r, len)};

	bytes.len = bytes.data ? len : 0;
	return bytes;
}

struct wire_bytes wire_get_str(struct wire_reader *r)
{
	return get_bytes(r, wire_get_u16(r));
}

struct wire_bytes wire_get_blob(struct wire_reader *r)
{
	return get_bytes(r, wire_get_u32(r));
}

void wire_get_stat(struct wire_reader *r, struct wire_stat *stat)
{
	stat->dev = wire_get_u64(r);
	stat->ino = wire_get_u64(r);
	stat->mode = wire_get_u32(r);
	stat->nlink = wire_get_u32(r);
	stat->uid = wire_get_u32(r);
	stat->gid = wire_get_u32(r);
	stat->rdev = wire_get_u64(r);
	stat->size = wire_get_u64(r);
	stat->blksize = wire_get_u32(r);
	stat->pad = wire_get_u32(r);
	stat->blocks = wire_get_u64(r);
	stat->atime_ns = (int64_t)wire_get_u64(r);
	stat->mtime_ns = (int64_t)wire_get_u64(r);
	stat->ctime_ns = (int64_t)wire_get_u64(r);
	stat->btime_ns = (int64_t)wire_get_u64(r);
}

void wire_get_statfs(struct wire_reader *r, struct wire_statfs *statfs)
{
	statfs->type = wire_get_u64(r);
	statfs->bsize = wire_get_u64(r);
	statfs->blocks = wire_get_u64(r);
	statfs->bfree = wire_get_u64(r);
	statfs->bavail = wire_get_u64(r);
	statfs->files = wire_get_u64(r);
	statfs->ffree = wire_get_u64(r);
	statfs->fsid = wire_get_u64(r);
	statfs->namelen = wire_get_u32(r);
	statfs->pad = wire_get_u32(r);
	statfs->frsize = wire_get_u64(r);
	statfs->flags = wire_get_u64(r);
}

void wire_get_opened(struct wire_reader *r, struct wire_opened_file *opened)
{
	uint8_t how = wire_get_u8(r);

	memset(opened, 0, sizeof(*opened));
	opened->how = (enum wire_opened)how;
	switch (how) {
	case WIRE_OPENED_HANDLE:
		opened->handle = wire_get_u32(r);
		wire_get_stat(r, &opened->stat);
		break;
	case WIRE_OPENED_INLINE:
		wire_get_stat(r, &opened->stat);
		opened->bytes = wire_get_blob(r);
		break;
	case WIRE_OPENED_MAPPED:
		opened->bytes = wire_get_str(r);
		break;
	default:
		r->bad = 1;
	}
}

static uint8_t *reserve(struct wire_writer *w, size_t bytes)
{
	uint8_t *at = w->at;

	if (w->bad || (size_t)(w->end - w->at) < bytes) {
		w->bad = 1;
		return NULL;
	}
	w->at += bytes;
	return at;
}

static void put_le(struct wire_writer *w, uint64_t v, unsigned bytes)
{
	uint8_t *at = reserve(w, bytes);

	if (at)
		store_le(at, v, bytes);
}

void wire_put_u8(struct wire_writer *w, uint8_t v)
{
	put_le(w, v, 1);
}

void wire_put_u16(struct wire_writer *w, uint16_t v)
{
	put_le(w, v, 2);
}

void wire_put_u32(struct wire_writer *w, uint32_t v)
{
	put_le(w, v, 4);
}

void wire_put_u64(struct wire_writer *w, uint64_t v)
{
	put_le(w, v, 8);
}

void wire_put_raw(struct wire_writer *w, const void *data, size_t len)
{
	uint8_t *at = reserve(w, len);

	if (at && len)
		memcpy(at, data, len);
}

void wire_put_str(struct wire_writer *w, const void *data, size_t len)
{
	if (len > UINT16_MAX) {
		w->bad = 1;
		return;
	}
	wire_put_u16(w, (uint16_t)len);
	wire_put_raw(w, data, len);
}

void wire_put_setattr(struct wire_writer *w, const struct wire_setattr *setattr)
{
	wire_put_u32(w, setattr->valid);
	wire_put_u32(w, setattr->mode);
	wire_put_u32(w, setattr->uid);
	wire_put_u32(w, setattr->gid);
	wire_put_u64(w, setattr->size);
	wire_put_u64(w, (uint64_t)setattr->atime_ns);
	wire_put_u64(w, (uint64_t)setattr->mtime_ns);
}
