/*
 * One answer to WIRE_READDIR, kept to be handed to the kernel in smaller portions. An entry's offset is the target's own
 * (d_off): telldir and seekdir mean what they mean there.
 */
#ifndef LAYER_DIR_PAGE_H
#define LAYER_DIR_PAGE_H

#include <stddef.h>
#include <stdint.h>

#define DIR_PAGE_ENTRIES 1000u

struct dir_page;

/* What follows the result of the REPLY; start is the cookie that was asked for. NULL when it is malformed. */
struct dir_page *dir_page_parse(uint64_t start, const uint8_t *body, size_t len);
void dir_page_free(struct dir_page *page);

/* The index of what follows `cookie`, or -1 when that is not in the page. */
int64_t dir_page_find(const struct dir_page *page, uint64_t cookie);

/* As many entries as fit, as the kernel's dirents; inode_bits is what tells the target's device (fuse_present). */
size_t dir_page_write(const struct dir_page *page, uint32_t first, uint64_t inode_bits, uint8_t *out, size_t room);

#endif
