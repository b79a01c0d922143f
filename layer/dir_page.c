/* Pages of a directory (dir_page.h). Pure: what the client sends here is fuzzed. */
#include "dir_page.h"

#include <linux/fuse.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "wire.h"

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
struct dir_page *dir_page_parse(uint64_t start, const uint8_t *body, size_t len)
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
	if (r.bad || count > DIR_PAGE_ENTRIES)
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
int64_t dir_page_find(const struct dir_page *page, uint64_t cookie)
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
size_t dir_page_write(const struct dir_page *page, uint32_t first, uint64_t inode_bits,
		      uint8_t *out, size_t room)
{
	size_t used = 0;

	for (uint32_t i = first; i < page->count; i++) {
		const struct entry *entry = &page->entries[i];
		struct fuse_dirent dirent = {.ino = entry->ino ^ inode_bits,
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
