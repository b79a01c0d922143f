/* Tables of ip_tables as the kernel and iptables-legacy have them, changed under ASAN and UBSAN in a network namespace of its own.
 * TAP. */
#include "ip_table.h"
#include "stealer.h"

#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

static int number;
static int failures;

static void check(bool holds, const char *name)
{
	failures += !holds;
	printf("%sok %d - %s\n", holds ? "" : "not ", ++number, name);
}

static std::string output_of(const char *command)
{
	std::string text;
	char buffer[4096];
	FILE *pipe = popen(command, "r");

	for (size_t got = 1; pipe != nullptr && got > 0; text.append(buffer, got))
		got = fread(buffer, 1, sizeof buffer, pipe);
	if (pipe != nullptr)
		pclose(pipe);
	return text;
}

static std::string saved()
{
	return output_of("{ iptables-legacy-save -c -t nat; ip6tables-legacy-save -c -t nat; } | grep -v '^#'");
}

static size_t count_of(const std::string &text, const std::string &what)
{
	size_t count = 0;

	for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1))
		count++;
	return count;
}

static const char rules[] = "for f in ip ip6; do ${f}tables-legacy-restore -c <<'END'\n"
                            "*nat\n:PREROUTING ACCEPT [3:4]\n:A - [0:0]\n:B - [0:0]\n"
                            "[1:2] -A PREROUTING -p tcp -j A\n[5:6] -A PREROUTING -p udp\n[7:8] -A A -p tcp -g B\n"
                            "[9:10] -A B -p tcp -m tcp --dport 9 -j RETURN\n[11:12] -A OUTPUT -p tcp\nCOMMIT\nEND\ndone";

int main()
{
	struct legacy_nat *nat = nullptr;
	struct legacy_nat *left = nullptr;

	if (unshare(CLONE_NEWNET) < 0) {
		perror("unshare");
		return 1;
	}
	int own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	check(legacy_sweep(own, "") == 0 && output_of("cat /proc/thread-self/net/ip_tables_names").empty(),
	      "who only looks for leftovers makes no table");
	if (system(rules) != 0)
		return 1;
	const std::string before = saved();

	check(count_of(before, "[9:10]") == 2, "there are rules of others, with counters");
	check(legacy_open(own, "mirrord-steal-4194304-abcdef", 999, &nat) == 0 && legacy_has_ipv6(nat), "both families are ready");
	bool is_done = true;

	for (uint16_t port = 1; port <= 64; port++)
		is_done = is_done && legacy_port(nat, port, true) == 0;
	is_done = is_done && legacy_port(nat, 7, true) == 0;
	check(is_done && count_of(saved(), "--to-ports 999") == 128, "each port has one rule in each family, also when it is told twice");
	for (uint16_t port = 1; port <= 63; port++)
		is_done = is_done && legacy_port(nat, port, false) == 0;
	check(is_done && count_of(saved(), "--to-ports 999") == 2 && count_of(saved(), "--dport 9 ") == 2,
	      "ports are given back, and rules of others for the same port stay");
	check(legacy_open(own, "mirrord-steal-2-b", 998, &left) == 0 && legacy_port(left, 80, true) == 0, "another chain lives beside");
	check(legacy_sweep(own, "mirrord-steal-2-b") == 0 && count_of(saved(), "mirrord-steal-2-b") == 0 &&
	              count_of(saved(), "--to-ports 999") == 2,
	      "a sweep by name leaves others of ours");
	check(legacy_port(left, 81, true) == 0 && count_of(saved(), "--dport 81 ") == 0, "what was swept stays away");
	legacy_close(left);
	check(legacy_sweep(own, "") == 0 && saved() == before, "a sweep of all leaves what was there before, counters included");
	legacy_close(nat);
	check(saved() == before, "who is swept closes without harm");
	close(own);
	printf("1..%d\n", number);
	return failures == 0 ? 0 : 1;
}
