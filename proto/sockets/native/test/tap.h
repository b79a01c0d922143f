/* What the tests of sockets, here and in the stealer, report by (TAP): a line for each, after a line for each thing that did not hold. */
#ifndef MIRRORD_TEST_TAP_H
#define MIRRORD_TEST_TAP_H

#include <cstdio>
#include <functional>

static int number;
static int failures;
static bool is_failing;

static inline void check(bool holds, const char *what, int line)
{
	if (holds)
		return;
	is_failing = true;
	printf("# line %d: %s\n", line, what);
}

#define CHECK(expression) check(expression, #expression, __LINE__)

static inline void test(const char *name, const std::function<void()> &body)
{
	is_failing = false;
	body();
	failures += is_failing;
	printf("%sok %d - %s\n", is_failing ? "not " : "", ++number, name);
}

/* What main returns. */
static inline int report()
{
	printf("1..%d\n", number);
	return failures == 0 ? 0 : 1;
}

#endif
