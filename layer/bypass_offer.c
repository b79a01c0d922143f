/* Offering the bypass (bypass_offer.h). */
#include "bypass_offer.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "answer.h"
#include "bypass_table.h"

#define SETTING "MIRRORD_LAYER_BYPASS"
#define LIBRARY "mirrord-bypass.so"
#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE)

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

static char library[PATH_MAX];
static int library_fd = -1, table_fd = -1;
static struct stat library_stat;
static bool is_wanted, is_for_all;
static struct bypass_table *table;

/* Whoever has a path to the library may read it. */
static bool can_all_read(void)
{
	char folder[PATH_MAX];
	struct stat st;
	char *slash;

	if (fstat(library_fd, &library_stat) != 0 || !(library_stat.st_mode & S_IROTH))
		return false;
	snprintf(folder, sizeof(folder), "%s", library);
	while ((slash = strrchr(folder, '/')) && slash != folder) {
		*slash = '\0';
		if (stat(folder, &st) != 0 || !(st.st_mode & S_IXOTH))
			return false;
	}
	return true;
}

void bypass_find(void)
{
	const char *setting = getenv(SETTING);
	ssize_t len = readlink("/proc/self/exe", library, sizeof(library) - sizeof(LIBRARY) - 1);
	char *slash;

	is_wanted = !setting || strcmp(setting, "off") != 0;
	unsetenv(SETTING);
	library[len > 0 ? len : 0] = '\0';
	slash = strrchr(library, '/');
	if (!is_wanted || !slash)
		return;
	memcpy(slash + 1, LIBRARY, sizeof(LIBRARY));
	library_fd = open(library, O_PATH | O_CLOEXEC);
	is_for_all = library_fd >= 0 && can_all_read();
}

static const char *make_table(const struct rules *rules, uint64_t device)
{
	size_t bytes = sizeof(*table) + rules_bytes(rules);
	int fd = memfd_create("mirrord-bypass", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	void *memory;

	if (fd < 0 || bytes > BYPASS_TABLE_MAX || ftruncate(fd, (off_t)bytes) != 0)
		return "no memory for its table";
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED || fcntl(fd, F_ADD_SEALS, SEALS) != 0)
		return "its table cannot be sealed";
	table = memory;
	*table = (struct bypass_table){.magic = BYPASS_TABLE_MAGIC, .bytes = bytes, .device = device, .rules_at = sizeof(*table)};
	memcpy((char *)table + table->rules_at, rules, rules_bytes(rules));
	while (table->cookie == 0) {
		if (getrandom(&table->cookie, sizeof(table->cookie), 0) != (ssize_t)sizeof(table->cookie))
			return "no random number";
	}
	table_fd = fd;
	return NULL;
}

static const char *preload(void)
{
	const char *own = getenv("LD_PRELOAD");
	size_t room = sizeof(library) + 1 + (own ? strlen(own) : 0);
	char *value = malloc(room);
	int failed;

	if (!value)
		return "no memory";
	/* The user's own come first: what they stand in front of is then ours. */
	snprintf(value, room, "%s%s%s", own && *own ? own : "", own && *own ? ":" : "", library);
	failed = setenv("LD_PRELOAD", value, 1);
	free(value);
	return failed ? "no memory" : NULL;
}

const char *bypass_offer(const struct rules *rules, uint64_t device)
{
	const char *why;

	if (!is_wanted)
		return NULL;
	if (library_fd < 0)
		return LIBRARY " is not beside the supervisor";
	if (strpbrk(library, " :$"))
		return "the loader cannot be given a path with blanks, colons or dollar signs";
	why = make_table(rules, device);
	if (!why)
		why = preload();
	if (why && table)
		table->cookie = 0;
	return why;
}

uint64_t bypass_cookie(void)
{
	return table ? table->cookie : 0;
}

static void give(const struct seccomp_notif *n, int fd, bool is_cloexec)
{
	struct answer answer = {.how = ANSWER_DESCRIPTOR, .is_cloexec = is_cloexec};
	char link[40];

	/* Opened anew: the loader reads from the beginning, and nobody gets a right to write. */
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	answer.fd = open(link, O_RDONLY | O_CLOEXEC);
	if (answer.fd < 0) {
		(void)answer_value(n->id, -ENOENT);
		return;
	}
	(void)answer_deliver(&answer, n->id, (pid_t)n->pid);
	close(answer.fd);
}

/* To open it itself is twice as quick for the process as to be given it. */
static bool has_library(pid_t tid)
{
	char path[PATH_MAX + 40];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/root%s", tid, library);
	return is_for_all && stat(path, &st) == 0 && st.st_dev == library_stat.st_dev && st.st_ino == library_stat.st_ino;
}

bool bypass_answer(const struct seccomp_notif *n, const char *path, uint32_t open_flags)
{
	bool is_cloexec = open_flags & O_CLOEXEC;

	if (strcmp(path, BYPASS_TABLE_PATH) == 0) {
		give(n, table_fd, is_cloexec);
		return true;
	}
	/* Whatever the rules say of it, and whoever the process is by now. */
	if (library_fd < 0 || (open_flags & O_ACCMODE) != O_RDONLY || strcmp(path, library) != 0)
		return false;
	if (has_library((pid_t)n->pid))
		(void)answer_continue(n->id);
	else
		give(n, library_fd, is_cloexec);
	return true;
}

void bypass_descriptor_given(void)
{
	if (table)
		__atomic_store_n(&table->has_given, 1, __ATOMIC_RELEASE);
}
