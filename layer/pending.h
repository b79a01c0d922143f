/*
 * Calls that wait for the client. A signal aborts the wait of the thread, not the work: the kernel or the program repeats
 * the call, and the repeated call takes over the request in flight or its finished answer. Without this a program that is
 * preempted every 10 ms would never open a file that is 50 ms away, and its mkdir would run twice.
 */
#ifndef LAYER_PENDING_H
#define LAYER_PENDING_H

#include <linux/seccomp.h>
#include <stdbool.h>

#include "answer.h"
#include "call_table.h"
#include "place.h"

struct pending {
	struct pending *next;
	uint64_t id;          /* of the notification that waits last */
	uint64_t key;         /* of call, arguments and paths */
	uint64_t request;     /* on the link */
	bool is_finished;
	int64_t expires_ms;
	struct answer answer;

	/* What the completion needs. */
	const struct call_spec *spec;
	pid_t tid;
	uint64_t args[6];
	bool is_write, is_asked;
	uint32_t open_flags;
	struct place_path *path;
	struct copy *copy;    /* without FUSE */
};

uint64_t pending_key(const struct seccomp_notif *notif, const char *path, const char *path2);

/* True: the call took over what the same thread asked before; nothing more to do. Another call of the thread drops it. */
bool pending_resume(const struct seccomp_notif *notif, uint64_t key);

/* NULL: no memory. */
struct pending *pending_add(const struct seccomp_notif *notif, const struct call_spec *spec, uint64_t key);

/* Delivers pending->answer, or keeps it. pending must not be used afterwards. */
void pending_finish(struct pending *pending);

#endif
