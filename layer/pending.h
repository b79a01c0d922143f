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
	uint64_t serial;      /* tells it from another one in the same memory */
	uint64_t request;     /* on the link; 0: not known yet */
	bool is_cancelled;
	int64_t alone_since_ms; /* nobody waits, as the last sweep found; 0: somebody did */
	bool is_finished;
	int64_t expires_ms;
	struct answer answer;

	/* What the completion needs. */
	const struct call_spec *spec;
	pid_t tid;
	uint64_t ip;          /* where the thread goes on */
	size_t asked_len;     /* of the path in the process's memory */
	uint64_t args[6];
	bool is_write, is_asked, is_decided; /* the last: asked where it leads, nothing else */
	uint32_t open_flags;
	struct place_path *path;
	char *replaced;       /* where RENAME leads; may be NULL */
	struct copy *copy;    /* without FUSE */
};

uint64_t pending_key(const struct seccomp_notif *notif, const char *path, const char *path2);

/* True: the call took over what the same thread asked before; nothing more to do. Another call of the thread drops it. */
bool pending_resume(const struct seccomp_notif *notif, uint64_t key);

/* NULL: no memory. */
struct pending *pending_add(const struct seccomp_notif *notif, const struct call_spec *spec, uint64_t key);

/* What to CANCEL if nobody takes the call up again. The call may be over by now. */
void pending_set_request(pid_t tid, uint64_t serial, uint64_t request);

/* Delivers pending->answer, or keeps it. pending must not be used afterwards. */
void pending_finish(struct pending *pending);

#endif
