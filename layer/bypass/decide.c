/* Decisions (decide.h), by the supervisor's own rules_decide, in the order of place_find. */
#include "decide.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "../path_kind.h"
#include "raw.h"

#define PAGE 4096u
#define NO_SUCH_HOW 99

/*
 * Whether the kernel can read the page. rt_sigprocmask reads the set before it refuses the unknown way to apply it: one
 * cheap call that changes nothing, where touching a bad address would end the program.
 */
static bool is_readable(const char *at)
{
	uintptr_t word = (uintptr_t)at & ~(uintptr_t)7;

	return raw_call(SYS_rt_sigprocmask, NO_SUCH_HOW, (long)word, 0, 8, 0, 0) == -EINVAL;
}

/* 0: empty, longer than a path may be, or not there. */
static size_t length_of(const char *path)
{
	size_t len = 0;

	if (!path || !is_readable(path))
		return 0;
	while (path[len] != '\0') {
		len++;
		if (len >= PATH_MAX)
			return 0;
		if (((uintptr_t)(path + len) & (PAGE - 1)) == 0 && !is_readable(path + len))
			return 0;
	}
	return len;
}

static bool has_given(const struct bypass_table *table)
{
	return __atomic_load_n(&table->has_given, __ATOMIC_ACQUIRE);
}

bool decide_directory_is_local(const struct bypass_table *table, int dir)
{
	struct stat st;

	if (!has_given(table))
		return true;
	/* Copies of directories are no directories. */
	return raw_call(SYS_newfstatat, dir, (long)"", (long)&st, AT_EMPTY_PATH, 0, (long)table->cookie) == 0 &&
	       S_ISDIR(st.st_mode) && st.st_dev != table->device;
}

bool decide_is_local(const struct bypass_table *table, int dir, const char *path, bool is_write)
{
	size_t len = length_of(path);
	bool is_relative = len > 0 && path[0] != '/';

	if (len == 0)
		return false;
	if (is_relative && !decide_directory_is_local(table, dir))
		return false;
	if (is_relative && dir != AT_FDCWD)
		return true;
	if (!is_relative && path_may_be_magic(path) && has_given(table))
		return false;
	return rules_decide(bypass_rules(table), path, len, is_relative, is_write) == VERDICT_LOCAL;
}
