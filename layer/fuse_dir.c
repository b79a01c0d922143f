/*
 * READDIR: pages of the client's answer are kept with the open directory, so that the kernel's
 * small reads cost one round trip per page. An entry's offset is the target's own (d_off): telldir
 * and seekdir mean what they mean there.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fuse_server.h"

#define PAGE_ENTRIES 1000u

struct entry {
	uint64_t ino, cookie;
	uint32_t name_at;
	uint16_t name_len;
	uint8_t type;
};

struct dir_page {
	uint64_t start; /* the cookie that it was asked for with */
	bool is_last;
	uint32_t count;
	const uint8_t *names;
	struct entry entries[];
};

void dir_page_free(struct dir_page *page)
{
	free(page);
}

/* Names are moved behind the entries: one allocation, bounded by the body. */
static struct dir_page *page_parse(uint64_t start, const uint8_t *body, size_t len)
{
	struct wire_reader r = {body, body + len, 0};
	struct dir_page *page;
	struct wire_stat stat;
	uint32_t count;
	uint8_t *names;
	bool is_last;

	(void)wire_get_u64(&r);
	is_last = wire_get_u8(&r);
	count = wire_get_u32(&r);
	if (r.bad || count > PAGE_ENTRIES)
		return NULL;
	page = malloc(sizeof(*page) + count * sizeof(page->entries[0]) + len);
	if (!page)
		return NULL;
	names = (uint8_t *)(page->entries + count);
	*page =
	    (struct dir_page){.start = start, .is_last = is_last, .count = count, .names = names};
	for (uint32_t i = 0, at = 0; i < count; i++) {
		struct entry *entry = &page->entries[i];
		struct wire_bytes name;
		uint8_t has_stat;

		entry->ino = wire_get_u64(&r);
		entry->cookie = wire_get_u64(&r);
		entry->type = wire_get_u8(&r);
		has_stat = wire_get_u8(&r);
		name = wire_get_str(&r);
		if (has_stat)
			wire_get_stat(&r, &stat);
		if (r.bad || name.len == 0 || name.len > 255 || memchr(name.data, '/', name.len)) {
			free(page);
			return NULL;
		}
		entry->name_at = at;
		entry->name_len = (uint16_t)name.len;
		memcpy(names + at, name.data, name.len);
		at += name.len;
	}
	return page;
}

/* Where to go on after `cookie`, or -1 when that is not in the page. */
static int64_t page_find(const struct dir_page *page, uint64_t cookie)
{
	if (cookie == page->start)
		return 0;
	for (uint32_t i = 0; i < page->count; i++) {
		if (page->entries[i].cookie == cookie && (i + 1 < page->count || page->is_last))
			return (int64_t)i + 1;
	}
	return -1;
}

/* As many entries as fit, as the kernel's dirents. */
static size_t page_write(const struct dir_page *page, uint64_t dev, uint32_t first, uint8_t *out,
			 size_t room)
{
	size_t used = 0;

	for (uint32_t i = first; i < page->count; i++) {
		const struct entry *entry = &page->entries[i];
		struct fuse_dirent dirent = {.ino = fuse_present_inode(dev, entry->ino),
					     .off = entry->cookie,
					     .namelen = entry->name_len,
					     .type = entry->type};
		size_t len = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + entry->name_len);

		if (used + len > room)
			break;
		memset(out + used, 0, len);
		memcpy(out + used, &dirent, FUSE_NAME_OFFSET);
		memcpy(out + used + FUSE_NAME_OFFSET, page->names + entry->name_at,
		       entry->name_len);
		used += len;
	}
	return used;
}

/* Answers from the page in memory. False when the place is not in it. */
static bool answer_from_page(struct call *call)
{
	size_t used = 0, size = call->range.size < 131072 ? call->range.size : 131072;
	uint8_t *out = malloc(size);
	const struct dir_page *page;
	int64_t first = -1;

	pthread_mutex_lock(&fuse_lock);
	page = call->opened->page;
	if (page)
		first = page_find(page, call->range.offset);
	if (first >= 0 && out)
		used = page_write(page, call->node->dev, (uint32_t)first, out, size);
	pthread_mutex_unlock(&fuse_lock);
	if (first >= 0)
		call_answer(call, out ? 0 : -ENOMEM, out, used);
	free(out);
	return first >= 0;
}

static void page_done(void *arg, int32_t result, const uint8_t *body, size_t len)
{
	struct call *call = arg;
	struct dir_page *page = NULL;

	if (result >= 0) {
		page = page_parse(call->range.offset, body, len);
		result = -EIO;
	}
	if (page) {
		pthread_mutex_lock(&fuse_lock);
		dir_page_free(call->opened->page);
		call->opened->page = page;
		pthread_mutex_unlock(&fuse_lock);
	}
	if (!page || !answer_from_page(call))
		call_answer(call, result, NULL, 0);
	call_put(call);
}

void op_readdir(const struct request *request)
{
	const struct fuse_read_in *in = request->arg;
	struct opened *opened = fh_opened(in->fh);
	uint8_t body[16];
	struct wire_writer w = {body, body + sizeof(body), 0};
	struct call *call;
	uint32_t handle;

	pthread_mutex_lock(&fuse_lock);
	handle = opened->source->handle;
	call = call_new(request, opened->node, opened);
	pthread_mutex_unlock(&fuse_lock);
	if (!call)
		return;
	call->range.offset = in->offset;
	call->range.size = in->size;
	/* From the start, the directory is read again: that is what rewinddir promises. */
	if (!handle) {
		call_answer(call, -ENOTDIR, NULL, 0);
	} else if (in->offset == 0 || !answer_from_page(call)) {
		wire_put_u32(&w, handle);
		wire_put_u64(&w, in->offset);
		wire_put_u32(&w, PAGE_ENTRIES);
		call_send(call, WIRE_READDIR, body, sizeof(body), NULL, 0, page_done);
	}
	call_put(call);
}
