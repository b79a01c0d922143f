/* Names of directories (dir_name.h). */
#include "dir_name.h"

#include <string.h>

static bool is_parent(const char *name, size_t len)
{
	return len == 2 && name[0] == '.' && name[1] == '.';
}

static size_t rewrite(char *path, size_t len, bool drops_parents)
{
	size_t out = 0;

	for (size_t at = 0; at < len;) {
		const char *name = path + at + 1, *end = memchr(name, '/', len - at - 1);
		size_t name_len = end ? (size_t)(end - name) : len - at - 1;

		at += 1 + name_len;
		if (name_len == 0 || (name_len == 1 && name[0] == '.'))
			continue;
		if (drops_parents && is_parent(name, name_len)) {
			while (out > 0 && path[--out] != '/')
				;
			continue;
		}
		path[out] = '/';
		memmove(path + out + 1, name, name_len);
		out += 1 + name_len;
	}
	if (out == 0)
		path[out++] = '/';
	path[out] = '\0';
	return out;
}

size_t dir_name_clean(char *path, size_t len)
{
	return rewrite(path, len, false);
}

bool dir_name_has_parents(const char *path)
{
	for (const char *at = path; (at = strstr(at, "/..")); at += 3) {
		if (at[3] == '/' || at[3] == '\0')
			return true;
	}
	return false;
}

size_t dir_name_drop_parents(char *path, size_t len)
{
	return rewrite(path, len, true);
}
