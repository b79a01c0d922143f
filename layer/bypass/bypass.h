/*
 * The bypass: a library that the supervisor has preloaded into local processes. It stands in front of those functions of the
 * C library that take paths and are called often, and makes their calls in a way that the filter lets pass, when they stay on
 * this machine for certain. An optimisation: without it, and for all that it does not know, calls trap as ever.
 *
 * Freestanding: no C library of its own, no thread-local storage, no heap, no lock, no state but the table once it was asked for.
 * So it fits glibc and musl, signal handlers, and children of vfork.
 */
#ifndef LAYER_BYPASS_H
#define LAYER_BYPASS_H

#include <stdbool.h>
#include <stddef.h>

/* What the C library of the process may have; NULL where it has not. */
#define OPTIONAL __attribute__((weak, visibility("default")))

/* The function is the process's `symbol`. */
#define EXPORT_AS(symbol, function)                                                                                    \
	extern __typeof__(function) exported_##symbol __asm__(#symbol)                                                 \
		__attribute__((alias(#function), visibility("default")))

struct bypass_path {
	int dir;
	const char *path;
	bool is_write;
};

/* A call that takes this path. What the kernel says. */
long bypass_call(const struct bypass_path *path, long nr, long a, long b, long c, long d, long e);

/* -1 and errno for an error of the kernel's. */
long bypass_result(long result);
void bypass_set_errno(int error);

/* The C library's own function of the name, NULL if it cannot be found. Must not be called in tail position. */
void *bypass_next(const char *symbol);

long bypass_openat(int dir, const char *path, int flags, unsigned int mode);
long bypass_readlink(const char *path, char *buf, size_t room);
/* getcwd(2): its length with the NUL, or -errno. */
long bypass_cwd(char *buf, size_t room);

#endif
