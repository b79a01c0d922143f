/* How an opened directory is called by getcwd and what is joined to it. Pure. */
#ifndef LAYER_DIR_NAME_H
#define LAYER_DIR_NAME_H

#include <stdbool.h>
#include <stddef.h>

/* Drops "." and empty components, which changes nothing for a directory. path is absolute; returns the new length. */
size_t dir_name_clean(char *path, size_t len);

bool dir_name_has_parents(const char *path);

/* A clean path without "..", right only where no link stands before it: whoever uses it asks. Returns the new length. */
size_t dir_name_drop_parents(char *path, size_t len);

#endif
