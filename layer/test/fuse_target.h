/* A folder that plays the target, and what tests of the FUSE server do with it. */
#ifndef LAYER_TEST_FUSE_TARGET_H
#define LAYER_TEST_FUSE_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

/* Makes the folder, mounts, starts the fake link. False: the reason has been printed. */
bool target_start(void);
void target_remove(void);
/* The path on this machine. Valid until the next call. */
const char *target_path(const char *path);
void put_file(const char *path, const void *data, size_t len);
bool target_has(const char *path, const void *data, size_t len);
void target_stat(const char *path, struct stat *st);
/* Bytes that differ from page to page. The caller frees them. */
uint8_t *pattern(size_t len);
/* Polls what has no event of its own: the attribute timeout of one second. */
bool within_5_s(bool (*is_so)(void *arg), void *arg);

#endif
