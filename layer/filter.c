/* Compiles the table of trapped calls into BPF (filter.h). */
#include "filter.h"

#include <fcntl.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "call_table.h"
#include "wire.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

#define STMT(code, k) ((struct sock_filter)BPF_STMT(code, k))
#define LOAD(field) STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, field))
#define JUMP(code, k, yes, no)                                                                     \
	((struct sock_filter)BPF_JUMP(BPF_JMP | (code) | BPF_K, k, (uint8_t)(yes), (uint8_t)(no)))

enum {
	TAIL_ALLOW,
	TAIL_NOTIFY,
	TAIL_ENOSYS,
	TAIL_STAT,
	TAIL_STATX = TAIL_STAT + 2,
	TAIL_ADDRESSED = TAIL_STATX + 3,
	TAIL_ERROR = TAIL_ADDRESSED + 6,
	TAIL_NAMED = TAIL_ERROR + 6,
	TAIL_PROTOCOL = TAIL_NAMED + 6,
	TAIL_COOKIE = TAIL_PROTOCOL + 4,
	COOKIE_FROM_STAT = TAIL_COOKIE - TAIL_STAT - 2,
	COOKIE_FROM_STATX = TAIL_COOKIE - TAIL_STATX - 2,
};

/* Calls that the bypass makes. */
static bool may_pass(const struct call_spec *spec)
{
	switch (spec->op) {
	case CALL_OPEN:
	case CALL_STAT:
	case CALL_STATX:
	case CALL_ACCESS:
	case CALL_READLINK:
	case CALL_GETCWD:
		return true;
	default:
		return false;
	}
}

static unsigned int tail_of(const struct call_spec *spec, bool has_fuse, uint64_t cookie)
{
	if (has_fuse && spec->nr == SYS_newfstatat)
		return TAIL_STAT;
	if (has_fuse && spec->nr == SYS_statx)
		return TAIL_STATX;
	if (spec->nr == SYS_sendto || spec->nr == SYS_recvfrom)
		return TAIL_ADDRESSED;
	if (spec->nr == SYS_getsockopt)
		return TAIL_ERROR;
	if (spec->nr == SYS_accept || spec->nr == SYS_accept4)
		return TAIL_NAMED;
	if (cookie && may_pass(spec))
		return TAIL_COOKIE;
	return TAIL_NOTIFY;
}

/* A flag test; both ways lead back to the first two instructions of the tail by way of returns of its own. */
static size_t put_tail(struct sock_filter *out, uint64_t cookie)
{
	size_t n = 0;

	out[n++] = STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	out[n++] = STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
	out[n++] = STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS);
	out[n++] = LOAD(args[3]);
	out[n++] = JUMP(BPF_JSET, AT_EMPTY_PATH, 2, COOKIE_FROM_STAT);
	out[n++] = LOAD(args[2]);
	out[n++] = JUMP(BPF_JSET, AT_EMPTY_PATH, 0, COOKIE_FROM_STATX);
	out[n++] = STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	/* send and recv, which are sendto and recvfrom without an address. */
	out[n++] = LOAD(args[4]);
	out[n++] = JUMP(BPF_JEQ, 0, 0, 3);
	out[n++] = STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, args[4]) + 4);
	out[n++] = JUMP(BPF_JEQ, 0, 0, 1);
	out[n++] = STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	out[n++] = STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
	/* getsockopt of the one option that tells how a connect ended. */
	out[n++] = LOAD(args[1]);
	out[n++] = JUMP(BPF_JEQ, SOL_SOCKET, 0, 2);
	out[n++] = LOAD(args[2]);
	out[n++] = JUMP(BPF_JEQ, SO_ERROR, 1, 0);
	out[n++] = STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	out[n++] = STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
	/* accept that asks who it is. */
	out[n++] = LOAD(args[1]);
	out[n++] = JUMP(BPF_JEQ, 0, 0, 3);
	out[n++] = STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, args[1]) + 4);
	out[n++] = JUMP(BPF_JEQ, 0, 0, 1);
	out[n++] = STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	out[n++] = STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
	/* socket of MPTCP. */
	out[n++] = LOAD(args[2]);
	out[n++] = JUMP(BPF_JEQ, IPPROTO_MPTCP, 0, 1);
	out[n++] = STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPROTONOSUPPORT);
	out[n++] = STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	/* The bypass has decided. Without one nothing leads here but stat, and no call is let pass. */
	out[n++] = LOAD(args[5]);
	out[n++] = JUMP(BPF_JEQ, (uint32_t)cookie, 0, 3);
	out[n++] = STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, args[5]) + 4);
	out[n++] = JUMP(BPF_JEQ, (uint32_t)(cookie >> 32), 0, 1);
	out[n++] = STMT(BPF_RET | BPF_K, cookie ? SECCOMP_RET_ALLOW : SECCOMP_RET_USER_NOTIF);
	out[n++] = STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
	return n;
}

size_t filter_build(uint32_t features, bool has_fuse, uint64_t cookie, struct sock_filter out[FILTER_MAX])
{
	unsigned int tails[FILTER_MAX];
	uint32_t numbers[FILTER_MAX];
	size_t count, trapped = 0, n = 0;
	const struct call_spec *table = call_table(&count);

	numbers[trapped] = SYS_io_uring_setup;
	tails[trapped++] = TAIL_ENOSYS;
	if (features & (WIRE_FEATURE_NETWORK | WIRE_FEATURE_INCOMING)) {
		numbers[trapped] = SYS_socket;
		tails[trapped++] = TAIL_PROTOCOL;
	}
	for (size_t i = 0; i < count; i++) {
		if (!(features & table[i].feature) || (has_fuse && (table[i].op == CALL_FSTAT || table[i].op == CALL_GETDENTS)))
			continue;
		numbers[trapped] = table[i].nr;
		tails[trapped++] = tail_of(&table[i], has_fuse, cookie);
	}
	out[n++] = LOAD(arch);
	out[n++] = JUMP(BPF_JEQ, AUDIT_ARCH_X86_64, 0, trapped + 1);
	out[n++] = LOAD(nr);
	for (size_t i = 0; i < trapped; i++) {
		out[n++] = JUMP(BPF_JEQ, numbers[i], trapped - i - 1 + tails[i], 0);
	}
	return n + put_tail(out + n, cookie);
}
