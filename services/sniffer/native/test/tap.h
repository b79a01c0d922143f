// TAP output for the C++ tests: a test is a function; what does not hold says where.
#pragma once

#include <cstdio>
#include <sstream>
#include <string>

namespace tap {

inline int number = 0;
inline int failures = 0;
inline bool is_failing = false;

template <typename Left, typename Right>
void equal(const Left &got, const Right &wanted, const char *what, const char *file, int line)
{
	if (got == wanted)
		return;
	is_failing = true;
	std::ostringstream text;
	text << "# " << file << ":" << line << ": " << what << ": got " << got << ", wanted " << wanted;
	printf("%s\n", text.str().c_str());
}

template <typename Body> void test(const std::string &name, Body body)
{
	is_failing = false;
	body();
	failures += is_failing;
	printf("%sok %d - %s\n", is_failing ? "not " : "", ++number, name.c_str());
	fflush(stdout);
}

inline int done()
{
	printf("1..%d\n", number);
	return failures == 0 ? 0 : 1;
}

} // namespace tap

#define EQUAL(got, wanted) tap::equal((got), (wanted), #got, __FILE__, __LINE__)
#define HOLDS(condition) tap::equal(static_cast<bool>(condition), true, #condition, __FILE__, __LINE__)
