/* Test Anything Protocol in a header: numbered lines, a plan at the end, the exit code says whether all went well. */
#ifndef LAYER_TEST_TAP_H
#define LAYER_TEST_TAP_H

#include <stdbool.h>
#include <stdio.h>

static int tap_count, tap_failures;

static inline bool tap_ok(bool is_ok, const char *file, int line, const char *sentence)
{
	printf("%sok %d - %s\n", is_ok ? "" : "not ", ++tap_count, sentence);
	if (!is_ok) {
		printf("# at %s:%d\n", file, line);
		tap_failures++;
	}
	fflush(stdout);
	return is_ok;
}

#define ok(condition, sentence) tap_ok((condition), __FILE__, __LINE__, (sentence))

static inline void tap_skip(const char *sentence, const char *reason)
{
	printf("ok %d - %s # SKIP %s\n", ++tap_count, sentence, reason);
	fflush(stdout);
}

static inline int tap_done(void)
{
	printf("1..%d\n", tap_count);
	return tap_failures ? 1 : 0;
}

#endif
