/* A repeated call takes over what the interrupted one asked for. Delivery fails here as it does for a call that waits no
 * longer, because there is no listener. */
#include "../filter.h"
#include "../pending.h"
#include "../shared.h"
#include "tap.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/syscall.h>
#include <fcntl.h>

#include "../wire.h"

static struct seccomp_notif call_of(uint64_t id, uint32_t tid, int nr)
{
	struct seccomp_notif n = {.id = id, .pid = tid};

	n.data.nr = nr;
	n.data.args[0] = 0x1000;
	return n;
}

/* The few instructions that filter_build uses. */
static uint32_t simulate(const struct sock_filter *code, const struct seccomp_data *data)
{
	uint32_t a = 0;

	for (size_t at = 0;; at++) {
		const struct sock_filter *i = &code[at];

		if (i->code == (BPF_RET | BPF_K))
			return i->k;
		if (i->code == (BPF_LD | BPF_W | BPF_ABS))
			memcpy(&a, (const char *)data + i->k, sizeof(a));
		else if (BPF_OP(i->code) == BPF_JEQ)
			at += a == i->k ? i->jt : i->jf;
		else
			at += a & i->k ? i->jt : i->jf;
	}
}

static uint32_t filtered_with(uint64_t cookie, uint32_t features, bool has_fuse, struct seccomp_data data)
{
	struct sock_filter code[FILTER_MAX];

	filter_build(features, has_fuse, cookie, code);
	if (!data.arch)
		data.arch = AUDIT_ARCH_X86_64;
	return simulate(code, &data);
}

static uint32_t filtered(uint32_t features, bool has_fuse, struct seccomp_data data)
{
	return filtered_with(0, features, has_fuse, data);
}

/* Whether the call passes with the word as its sixth argument, where the filter knows the cookie. */
static bool passes(int nr, uint64_t cookie, uint64_t word)
{
	struct seccomp_data data = {.nr = nr, .args = {0, 0, 0, 0, 0, word}};

	return filtered_with(cookie, WIRE_FEATURE_FILES_READ | WIRE_FEATURE_FILES_WRITE, true, data) == SECCOMP_RET_ALLOW &&
	       filtered_with(cookie, WIRE_FEATURE_FILES_READ | WIRE_FEATURE_FILES_WRITE, false, data) == SECCOMP_RET_ALLOW;
}

static void test_cookie(void)
{
	static const int looking[] = {SYS_open, SYS_openat, SYS_stat, SYS_lstat, SYS_newfstatat, SYS_statx, SYS_access,
				      SYS_faccessat, SYS_faccessat2, SYS_readlink, SYS_readlinkat, SYS_getcwd};
	const uint64_t cookie = 0x123456789abcdef0u;
	bool all = true, none = true;

	for (size_t i = 0; i < sizeof(looking) / sizeof(looking[0]); i++) {
		all = all && passes(looking[i], cookie, cookie);
		none = none && !passes(looking[i], cookie, cookie ^ 1) && !passes(looking[i], cookie, cookie ^ (1ul << 63)) &&
		       !passes(looking[i], cookie, 0) && !passes(looking[i], 0, 0) && !passes(looking[i], 0, cookie);
	}
	ok(all, "with the cookie every call that looks at files passes");
	ok(none, "with another word, or where there is none, none does");
	ok(!passes(SYS_mkdir, cookie, cookie) && !passes(SYS_execve, cookie, cookie) && !passes(SYS_chdir, cookie, cookie) &&
		   !passes(SYS_unlinkat, cookie, cookie),
	   "calls that change something do not pass with it either");
}

static void test_filter(void)
{
	struct seccomp_data empty = {.nr = SYS_newfstatat, .args = {0, 0, 0, AT_EMPTY_PATH}};
	struct seccomp_data statx = {.nr = SYS_statx, .args = {0, 0, AT_EMPTY_PATH}};

	ok(filtered(1, true, (struct seccomp_data){.nr = SYS_openat}) == SECCOMP_RET_USER_NOTIF, "open is trapped");
	ok(filtered(1, true, (struct seccomp_data){.nr = SYS_read}) == SECCOMP_RET_ALLOW, "read is not");
	ok(filtered(1, true, (struct seccomp_data){.nr = SYS_mkdir}) == SECCOMP_RET_ALLOW, "mkdir is not when only reading");
	ok(filtered(2, true, (struct seccomp_data){.nr = SYS_mkdir}) == SECCOMP_RET_USER_NOTIF, "mkdir is when writing");
	ok(filtered(1, true, (struct seccomp_data){.nr = SYS_openat, .arch = AUDIT_ARCH_I386}) == SECCOMP_RET_ALLOW,
	   "another architecture is let through");
	ok(filtered(1, true, empty) == SECCOMP_RET_ALLOW && filtered(1, false, empty) == SECCOMP_RET_USER_NOTIF,
	   "newfstatat of a descriptor is trapped only without FUSE");
	ok(filtered(1, true, statx) == SECCOMP_RET_ALLOW && filtered(1, false, statx) == SECCOMP_RET_USER_NOTIF,
	   "statx of a descriptor likewise");
	ok(filtered(1, true, (struct seccomp_data){.nr = SYS_statx}) == SECCOMP_RET_USER_NOTIF, "statx of a path is trapped");
	ok(filtered(0, true, (struct seccomp_data){.nr = SYS_io_uring_setup}) == (SECCOMP_RET_ERRNO | ENOSYS),
	   "io_uring is unavailable");
}

static void test_resume(void)
{
	const struct call_spec *spec = call_find(SYS_mkdir);
	struct seccomp_notif first = call_of(1, 7, SYS_mkdir), again = call_of(2, 7, SYS_mkdir);
	struct seccomp_notif other = call_of(3, 8, SYS_mkdir);
	uint64_t key = pending_key(&first, "/remote/d", NULL);
	struct pending *p = pending_add(&first, spec, key);

	ok(key == pending_key(&again, "/remote/d", NULL), "the same call has the same key");
	ok(key != pending_key(&again, "/remote/e", NULL), "another path has another key");
	ok(!pending_resume(&other, key), "another thread does not take it over");
	ok(pending_resume(&again, key), "the repeated call takes it over in flight");
	ok(p->id == 2, "and is the one that is answered");
	p->answer.value = 0;
	answer_init(-1);
	pending_finish(p);
	ok(!pending_resume(&again, key), "a delivered answer is gone");
}

int main(void)
{
	if (shared_create() != 0)
		return 1;
	test_filter();
	test_cookie();
	test_resume();
	return tap_done();
}
