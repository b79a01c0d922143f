/* The target's name in the answer of uname(2) (host_name.h). */
#include "host_name.h"

#include <errno.h>
#include <linux/limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "answer.h"
#include "tracee.h"

static char name[sizeof(((struct utsname *)0)->nodename)];

bool host_name_init(struct wire_reader *r)
{
	struct wire_bytes given = wire_get_str(r);

	if (r->bad || given.len >= sizeof(name) || (given.len > 0 && memchr(given.data, 0, given.len)))
		return false;
	if (given.len > 0)
		memcpy(name, given.data, given.len);
	name[given.len] = 0;
	return true;
}

/* It left this machine's names for some of its own: `unshare --uts`. */
static bool has_own_names(pid_t process)
{
	char path[64];
	struct stat its, ours;

	snprintf(path, sizeof(path), "/proc/%d/ns/uts", process);
	return stat(path, &its) == 0 && stat("/proc/self/ns/uts", &ours) == 0 && its.st_ino != ours.st_ino;
}

/* `setarch`: the kernel has another machine or release for it than for us. */
static bool has_other_kernel(pid_t tid)
{
	char path[64], text[16] = "";
	unsigned long personality = PER_LINUX;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/personality", tid);
	file = fopen(path, "re");
	if (file && fgets(text, sizeof(text), file))
		personality = strtoul(text, NULL, 16);
	if (file)
		fclose(file);
	return (personality & (PER_MASK | UNAME26)) != PER_LINUX;
}

void host_name_answer(const struct seccomp_notif *n)
{
	pid_t tid = (pid_t)n->pid;
	struct answer answer = {.addr = n->data.args[0], .fd = -1};
	struct utsname names;

	if (!name[0] || has_own_names(tracee_process(tid)) || has_other_kernel(tid) || uname(&names) != 0) {
		(void)answer_continue(n->id);
		return;
	}
	memset(names.nodename, 0, sizeof(names.nodename));
	memcpy(names.nodename, name, strlen(name));
	answer.data = (uint8_t *)&names;
	answer.len = sizeof(names);
	(void)answer_deliver(&answer, n->id, tid);
}
