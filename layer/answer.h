/*
 * An answer to a trapped call, and its delivery. Delivery may fail because the call was interrupted; the answer is then kept
 * for when the thread repeats the call (pending.h).
 */
#ifndef LAYER_ANSWER_H
#define LAYER_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum answer_how {
	ANSWER_VALUE,
	ANSWER_CONTINUE,
	ANSWER_DESCRIPTOR,
	ANSWER_INJECT, /* the thread does the call itself, on the descriptor (inject.h) */
};

struct answer {
	enum answer_how how;
	int64_t value;    /* or -errno */
	int fd;           /* ANSWER_DESCRIPTOR, ANSWER_INJECT: ours, closed by answer_drop */
	bool is_cloexec;
	uint64_t addr;    /* where `len` bytes of data go first; 0: nowhere */
	size_t len;
	uint8_t *data;    /* malloc, freed by answer_drop */
};

void answer_init(int listener);

/* 0, or -ENOENT when the call waits no longer. Does not drop the answer. */
int answer_deliver(const struct answer *answer, uint64_t id, pid_t tid);
void answer_drop(struct answer *answer);

/* Gives the descriptor of ANSWER_INJECT, closed by an execve, without ending the wait: its number there, or -errno. */
int answer_give(const struct answer *answer, uint64_t id);

int answer_value(uint64_t id, int64_t value);
int answer_continue(uint64_t id);
bool answer_is_awaited(uint64_t id);

#endif
