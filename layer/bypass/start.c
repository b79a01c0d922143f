/* The table, and the ways to the kernel and to the C library (bypass.h). */
#include "bypass.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "decide.h"
#include "raw.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE)
#define NEXT ((void *)-1L) /* RTLD_NEXT */

extern int *__errno_location(void) __attribute__((visibility("default")));
extern void *dlsym(void *handle, const char *symbol) OPTIONAL;

/* So many calls trap before the table is asked for, which costs as much: many a program makes no more. */
#define CALLS_BEFORE 6

enum { NOT_ASKED, ASKED };

static const struct bypass_table *table;
static unsigned int calls;
static int state;

/* Only the supervisor's own memory is believed: no file of the target's can be sealed. */
static const struct bypass_table *map(int fd)
{
	const struct bypass_table *mapped;
	struct stat st;
	long at;

	if ((raw_call(SYS_fcntl, fd, F_GET_SEALS, 0, 0, 0, 0) & SEALS) != SEALS)
		return NULL;
	if (raw_call(SYS_fstat, fd, (long)&st, 0, 0, 0, 0) != 0 || st.st_size < (off_t)sizeof(*mapped) ||
	    st.st_size > (off_t)BYPASS_TABLE_MAX)
		return NULL;
	at = raw_call(SYS_mmap, 0, st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (at < 0 && at > -4096)
		return NULL;
	mapped = (const struct bypass_table *)at;
	return mapped->magic == BYPASS_TABLE_MAGIC && mapped->bytes == (uint64_t)st.st_size ? mapped : NULL;
}

static const struct bypass_table *ask(void)
{
	long fd = raw_call(SYS_openat, AT_FDCWD, (long)BYPASS_TABLE_PATH, O_RDONLY | O_CLOEXEC, 0, 0, 0);
	const struct bypass_table *mapped;

	if (fd < 0)
		return NULL;
	mapped = map((int)fd);
	raw_call(SYS_close, fd, 0, 0, 0, 0, 0);
	return mapped;
}

/*
 * NULL: not asked for yet, being asked for, or there is no supervisor that has one. Asked for once, by whoever comes first: a
 * thread, a signal handler, a child of vfork. Nobody waits for it.
 */
static const struct bypass_table *find_table(void)
{
	const struct bypass_table *found = __atomic_load_n(&table, __ATOMIC_ACQUIRE);
	int not_asked = NOT_ASKED;

	if (found || __atomic_load_n(&state, __ATOMIC_RELAXED) == ASKED)
		return found;
	if (__atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED) < CALLS_BEFORE ||
	    !__atomic_compare_exchange_n(&state, &not_asked, ASKED, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		return NULL;
	found = ask();
	__atomic_store_n(&table, found, __ATOMIC_RELEASE);
	return found;
}

long bypass_call(const struct bypass_path *path, long nr, long a, long b, long c, long d, long e)
{
	const struct bypass_table *found = find_table();
	bool is_local = found && decide_is_local(found, path->dir, path->path, path->is_write);

	return raw_call(nr, a, b, c, d, e, is_local ? (long)found->cookie : 0);
}

long bypass_cwd(char *buf, size_t room)
{
	const struct bypass_table *found = find_table();
	bool is_local = found && decide_directory_is_local(found, AT_FDCWD);

	return raw_call(SYS_getcwd, (long)buf, (long)room, 0, 0, 0, is_local ? (long)found->cookie : 0);
}

void bypass_set_errno(int error)
{
	*__errno_location() = error;
}

long bypass_result(long result)
{
	if (result >= 0 || result < -4095)
		return result;
	bypass_set_errno((int)-result);
	return -1;
}

void *bypass_next(const char *symbol)
{
	void *found = dlsym ? dlsym(NEXT, symbol) : NULL;

	/* Who asks is told by the return address, so this must not become a jump. */
	__asm__ volatile("" : "+r"(found));
	return found;
}

/*
 * A program linked with a shared sanitizer runtime refuses to start when another library was preloaded. This is asked by that
 * runtime, and by nobody else.
 */
static const char *sanitizer_options(void)
{
	return "verify_asan_link_order=0";
}
EXPORT_AS(__asan_default_options, sanitizer_options);
