/* Paths after a rename (moved_path.h). */
#include "moved_path.h"

#include <stdlib.h>
#include <string.h>

static bool is_at_or_below(const char *path, size_t len, const char *folder, size_t folder_len)
{
	return len >= folder_len && memcmp(path, folder, folder_len) == 0 && (len == folder_len || path[folder_len] == '/');
}

static void replace_head(char **path, size_t *len, size_t head_len, const char *head, size_t new_len)
{
	size_t rest = *len - head_len;
	char *moved = malloc(new_len + rest + 1);

	if (!moved)
		return;
	memcpy(moved, head, new_len);
	memcpy(moved + new_len, *path + head_len, rest + 1);
	free(*path);
	*path = moved;
	*len = new_len + rest;
}

void moved_path_follow(const struct move *move, char **path, size_t *len)
{
	if (is_at_or_below(*path, *len, move->from, move->from_len))
		replace_head(path, len, move->from_len, move->to, move->to_len);
	else if (move->is_exchange && is_at_or_below(*path, *len, move->to, move->to_len))
		replace_head(path, len, move->to_len, move->from, move->from_len);
}
