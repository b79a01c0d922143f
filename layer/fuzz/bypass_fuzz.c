/*
 * The bypass against the supervisor: whatever rules, paths and working directories there are, what decide_is_local lets pass
 * must be local by place_find; and as long as nothing was given both must say the same, or the bypass would be idle.
 * Descriptors of /proc stand for directories of the target. Input: u8 switches, u8 length of the path, path, rules as in SETUP.
 */
#include <stdlib.h>
#include <sys/stat.h>

/* The whole module: its word whether something was given is its own. */
#include "../place.c" /* NOLINT */

#include "../bypass/decide.h"
#include "../bypass_table.h"

enum { IS_WRITE = 1, HAS_GIVEN = 2, IN_TARGET = 4, DIRECTORIES = 8 };

static dev_t device;
static int directories[5];
static int proc, root, cwd;

/* What fuse.c says of links to what is on its device. */
ssize_t fuse_path_of(const char *proc_path, char *out, size_t out_len)
{
	struct stat st;

	if (stat(proc_path, &st) != 0 || st.st_dev != device || out_len < 8)
		return 0;
	memcpy(out, "/target", 7);
	return 7;
}

ssize_t fuse_directory_of(const char *proc_path, char *out, size_t out_len)
{
	struct stat st;

	return stat(proc_path, &st) == 0 && S_ISDIR(st.st_mode) ? fuse_path_of(proc_path, out, out_len) : 0;
}

ssize_t copy_path_of(const char *proc_path, char *out, size_t out_len)
{
	(void)proc_path;
	(void)out;
	(void)out_len;
	return 0;
}

void bypass_descriptor_given(void)
{
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct stat st;

	(void)argc;
	(void)argv;
	proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (proc < 0 || root < 0 || cwd < 0 || fstat(proc, &st) != 0)
		abort();
	device = st.st_dev;
	directories[0] = AT_FDCWD;
	directories[1] = proc;
	directories[2] = root;
	directories[3] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	directories[4] = 99999;
	return 0;
}

static struct bypass_table *make_table(const struct rules *from, bool given)
{
	struct bypass_table *table = calloc(1, sizeof(*table) + rules_bytes(from));

	if (!table)
		abort();
	table->cookie = 1;
	table->device = device;
	table->has_given = given;
	table->rules_at = sizeof(*table);
	memcpy((char *)table + table->rules_at, from, rules_bytes(from));
	return table;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct place_path path;
	struct wire_reader r;
	struct rules *from;
	struct bypass_table *table;
	bool is_write, is_local;
	int dir, place;
	char *text;

	if (size < 2 || size < 2u + data[1] || memchr(data + 2, '\0', data[1]))
		return 0;
	r = (struct wire_reader){data + 2 + data[1], data + size, 0};
	from = rules_parse(&r);
	if (!from)
		return 0;
	text = calloc(1, data[1] + 1u);
	if (!text || fchdir(data[0] & IN_TARGET ? proc : root) != 0)
		abort();
	memcpy(text, data + 2, data[1]);
	memcpy(path.text, text, data[1] + 1u);
	path.len = data[1];
	is_write = data[0] & IS_WRITE;
	dir = directories[data[0] / DIRECTORIES % (sizeof(directories) / sizeof(directories[0]))];
	table = make_table(from, data[0] & HAS_GIVEN);
	place_init(from);
	has_given = data[0] & HAS_GIVEN;
	is_local = decide_is_local(table, dir, text, is_write);
	place = place_find(getpid(), dir, &path, is_write);
	if (is_local && place != PLACE_LOCAL)
		abort();
	if (!has_given && !is_local && place == PLACE_LOCAL && data[1] > 0)
		abort();
	free(table);
	free(text);
	rules_free(from);
	/* The fuzzer's own files have relative names. */
	if (fchdir(cwd) != 0)
		abort();
	return 0;
}
