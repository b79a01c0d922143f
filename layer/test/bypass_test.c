/* What the bypass takes for local, and how it reads paths that are not there. The names it resolves are glibc's. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../bypass/bypass.h"
#include "../bypass/decide.h"
#include "../bypass/raw.h"
#include "../bypass/resolve.h"
#include "../bypass_table.h"
#include "tap.h"

/* The ways to the kernel that bypass/start.c and bypass/files.c have, without standing in front of anything. */
long bypass_call(const struct bypass_path *path, long nr, long a, long b, long c, long d, long e)
{
	(void)path;
	return raw_call(nr, a, b, c, d, e, 0);
}

long bypass_readlink(const char *path, char *buf, size_t room)
{
	return raw_call(SYS_readlink, (long)path, (long)buf, (long)room, 0, 0, 0);
}

long bypass_cwd(char *buf, size_t room)
{
	return raw_call(SYS_getcwd, (long)buf, (long)room, 0, 0, 0, 0);
}

/* As SETUP has them: /remote, writes of /reads local, names with "secret" not found, also relative ones, the rest local. */
static struct bypass_table *make_table(void)
{
	static const struct {
		uint8_t op, verdict, flags;
		const char *literal;
	} wanted[] = {
		{RULE_CONTAINS, VERDICT_NOT_FOUND, RULE_RELATIVE, "secret"},
		{RULE_DIR, VERDICT_REMOTE, 0, "/remote"},
		{RULE_DIR, VERDICT_REMOTE_READS, 0, "/reads"},
		{RULE_PREFIX, VERDICT_ASK, 0, "/asked"},
		{RULE_ALWAYS, VERDICT_LOCAL, 0, ""},
	};
	uint8_t body[512];
	struct wire_writer w = {body, body + sizeof(body), 0};
	struct wire_reader r;
	struct rules *rules;
	struct bypass_table *table;

	wire_put_u16(&w, sizeof(wanted) / sizeof(wanted[0]));
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		wire_put_u8(&w, wanted[i].op);
		wire_put_u8(&w, wanted[i].verdict);
		wire_put_u8(&w, wanted[i].flags);
		wire_put_u8(&w, 0);
		wire_put_str(&w, wanted[i].literal, strlen(wanted[i].literal));
	}
	r = (struct wire_reader){body, w.at, 0};
	rules = rules_parse(&r);
	/* Exactly as long as it is, so that a look beyond it is found. */
	table = calloc(1, sizeof(*table) + rules_bytes(rules));
	table->cookie = 1;
	table->rules_at = sizeof(*table);
	memcpy((char *)table + table->rules_at, rules, rules_bytes(rules));
	rules_free(rules);
	return table;
}

static void test_rules(const struct bypass_table *table)
{
	ok(decide_is_local(table, AT_FDCWD, "/usr/lib", false), "a path that no rule names is local");
	ok(!decide_is_local(table, AT_FDCWD, "/remote", false), "a remote directory is not");
	ok(!decide_is_local(table, AT_FDCWD, "/remote/file", true), "nor what is below it");
	ok(decide_is_local(table, AT_FDCWD, "/remotely", false), "a longer name is another one");
	ok(!decide_is_local(table, AT_FDCWD, "/reads/x", false) && decide_is_local(table, AT_FDCWD, "/reads/x", true),
	   "of a path that is remote for reads writes are local");
	ok(!decide_is_local(table, AT_FDCWD, "/asked", false), "what the client must be asked about is not certain");
	ok(!decide_is_local(table, AT_FDCWD, "/etc/secret", false), "what is not found traps");
	ok(!decide_is_local(table, AT_FDCWD, "my/secret", false), "also by a relative path");
	ok(decide_is_local(table, AT_FDCWD, "my/remote", false), "other relative paths are local");
	ok(decide_is_local(table, AT_FDCWD, "/proc/self/fd/3", false), "links of /proc are, as long as nothing was given");
}

static void test_given(struct bypass_table *table)
{
	int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC), root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	fstat(proc, &st);
	table->device = st.st_dev;
	ok(decide_is_local(table, proc, "self", false), "before, no directory can be the target's");
	table->has_given = 1;
	ok(!decide_is_local(table, proc, "self", false), "afterwards one on its device is not local");
	ok(decide_is_local(table, root, "usr", false) && decide_is_local(table, root, "remote/secret", false),
	   "a name below another directory is, whatever it is called");
	ok(!decide_is_local(table, file, "x", false), "a descriptor of a file may be a copy of a directory");
	ok(!decide_is_local(table, 100000, "x", false), "one that is not open is the kernel's to refuse");
	ok(decide_is_local(table, proc, "/usr", false), "absolute paths do not look at it");
	ok(!decide_is_local(table, AT_FDCWD, "/proc/self/fd/3", false) && !decide_is_local(table, AT_FDCWD, "/dev/fd/3/x", false),
	   "links to descriptors may lead to the target");
	ok(decide_is_local(table, AT_FDCWD, "usr", false) && decide_directory_is_local(table, AT_FDCWD),
	   "a working directory of this machine is local");
	ok(chdir("/proc") == 0 && !decide_is_local(table, AT_FDCWD, "usr", false) &&
		   !decide_directory_is_local(table, AT_FDCWD),
	   "one of the target's is not");
	ok(fchdir(cwd) == 0 && decide_is_local(table, AT_FDCWD, "usr", false), "and is forgotten when it is left");
	table->has_given = 0;
	close(proc);
	close(root);
	close(file);
	close(cwd);
}

static void test_reading(const struct bypass_table *table)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *pages = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *end = pages + 2 * page;

	memset(pages, 'a', 2 * page);
	munmap(end, page);
	ok(!decide_is_local(table, AT_FDCWD, NULL, false), "no path is none");
	ok(!decide_is_local(table, AT_FDCWD, "", false), "nor is an empty one");
	ok(!decide_is_local(table, AT_FDCWD, (const char *)8, false), "nor one at a bad address");
	ok(!decide_is_local(table, AT_FDCWD, (const char *)-8, false), "nor one of the kernel's");
	ok(!decide_is_local(table, AT_FDCWD, end, false), "nor one behind the last page");
	ok(!decide_is_local(table, AT_FDCWD, end - 3, false), "nor one that runs into a page that is missing");
	end[-1] = '\0';
	ok(decide_is_local(table, AT_FDCWD, end - 3, false), "one that ends with its page is read");
	ok(decide_is_local(table, AT_FDCWD, end - page - 2, false) == (page < PATH_MAX),
	   "one of two pages too, if it is not too long");
	ok(decide_is_local(table, AT_FDCWD, end - PATH_MAX, false), "the longest possible is");
	ok(!decide_is_local(table, AT_FDCWD, end - PATH_MAX - 1, false), "one byte more is not");
	mprotect(end - page, page, PROT_NONE);
	ok(!decide_is_local(table, AT_FDCWD, end - page - 2, false), "nor one that runs into a page that cannot be read");
	munmap(pages, 2 * page);
}

static unsigned int random_state = 20261129;

static unsigned int next_random(unsigned int below)
{
	random_state = random_state * 1664525u + 1013904223u;
	return (random_state >> 8) % below;
}

static void random_name(char *out, size_t room)
{
	static const char *const parts[] = {"a", "b", "file", "up", "abs", "loop", "out", "none", "..", ".", "", "a/b", "self"};
	size_t len = 0, parts_left = 1 + next_random(7);

	out[0] = '\0';
	if (next_random(4) == 0)
		len += (size_t)snprintf(out, room, "/");
	while (parts_left-- && len < room - 16)
		len += (size_t)snprintf(out + len, room - len, "%s%s", parts[next_random(sizeof(parts) / sizeof(parts[0]))],
					parts_left || next_random(5) == 0 ? "/" : "");
}

static bool resolves_alike(const char *name)
{
	char theirs[PATH_MAX], ours[RESOLVE_ROOM];
	bool is_found = realpath(name, theirs) != NULL;
	int error = errno, failed = resolve(name, ours);

	if (is_found ? failed == 0 && strcmp(ours, theirs) == 0 : failed == -error)
		return true;
	printf("# %s: %s (%s), ours %s (%s)\n", name, is_found ? theirs : "-", strerror(is_found ? 0 : error), ours,
	       strerror(-failed));
	return false;
}

/* l0 leads to l1 and so on, the last to a file. */
static bool make_chain(unsigned int links)
{
	char from[16], to[16];
	bool is_made = true;

	for (unsigned int i = 0; i < links; i++) {
		snprintf(from, sizeof(from), "l%u", i);
		snprintf(to, sizeof(to), "l%u", i + 1);
		is_made = is_made && symlink(to, from) == 0;
	}
	return is_made && close(creat(to, 0600)) == 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

static void test_resolving(void)
{
	char folder[] = "/tmp/mirrord-resolve-XXXXXX", name[256], deep[RESOLVE_ROOM], cwd[PATH_MAX];
	unsigned int alike = 0;
	bool is_made = getcwd(cwd, sizeof(cwd)) && mkdtemp(folder) && chdir(folder) == 0 && mkdir("a", 0700) == 0 &&
		       mkdir("a/b", 0700) == 0 && close(creat("file", 0600)) == 0 && close(creat("a/b/file", 0600)) == 0 &&
		       symlink("..", "a/up") == 0 && symlink("../a/b/../b/file", "a/b/out") == 0 && symlink("loop", "loop") == 0 &&
		       symlink("none", "out") == 0 && symlink(folder, "abs") == 0 && symlink("/proc/self/", "self") == 0 &&
		       symlink("../../abs/a/", "a/b/abs") == 0;

	for (unsigned int i = 0; is_made && i < 20000; i++) {
		random_name(name, sizeof(name));
		alike += resolves_alike(name);
	}
	ok(alike == 20000, "20,000 random names resolve as in the C library");
	memset(deep, 'd', 250);
	deep[250] = '/';
	memset(deep + 251, 'e', 250);
	deep[501] = '\0';
	ok(resolves_alike(deep), "a long name fails in the same place");
	ok(resolve(memset(memset(name, 0, sizeof(name)), '/', 200), deep) == 0 && strcmp(deep, "/") == 0, "slashes are the root");
	ok(make_chain(45) && resolves_alike("l0") && resolves_alike("l4") && resolves_alike("l5") && resolves_alike("l6"),
	   "there is a last link that is followed");
	ok(chdir(cwd) == 0 && nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS) == 0, "nothing of it is left");
}

static void test_long_names(void)
{
	static char name[3 * RESOLVE_ROOM];
	char out[RESOLVE_ROOM];

	for (size_t i = 0; i + 2 < sizeof(name); i += 2)
		memcpy(name + i, "/.", 2);
	ok(resolve(name, out) == 0 && strcmp(out, "/") == 0, "what is dropped takes no room");
	memset(name, 0, sizeof(name));
	strcpy(name, "/usr");
	for (size_t i = 4; i + 8 < sizeof(name); i += 8)
		memcpy(name + i, "/aaaaaaa", 8);
	ok(resolve(name, out) == -ENOENT, "the first name that is missing ends it");
	memset(name, 'x', RESOLVE_ROOM);
	name[0] = '/';
	ok(resolve(name, out) == RESOLVE_OTHERWISE, "a name without room is left to the C library");
}

int main(void)
{
	struct bypass_table *table = make_table();

	test_rules(table);
	test_given(table);
	test_reading(table);
	test_resolving();
	test_long_names();
	free(table);
	return tap_done();
}
