/*
 * READDIR: pages of the client's answer are kept with the open directory, so that the kernel's
 * small reads cost one round trip per page.
 */
#include <errno.h>
#include <stdlib.h>

#include "dir_page.h"
#include "fuse_server.h"

/* Answers from the page in memory. False when the place is not in it. */
static bool answer_from_page(struct call *call)
{
	size_t used = 0, size = call->range.size < 131072 ? call->range.size : 131072;
	uint8_t *out = malloc(size);
	uint64_t inode_bits = fuse_present_inode(call->node->dev, 0);
	const struct dir_page *page;
	int64_t first = -1;

	pthread_mutex_lock(&fuse_lock);
	page = call->opened->page;
	if (page)
		first = dir_page_find(page, call->range.offset);
	if (first >= 0 && out)
		used = dir_page_write(page, (uint32_t)first, inode_bits, out, size);
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
		page = dir_page_parse(call->range.offset, body, len);
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
		wire_put_u32(&w, DIR_PAGE_ENTRIES);
		call_send(call, WIRE_READDIR, body, sizeof(body), NULL, 0, page_done);
	}
	call_put(call);
}
