/*
 * Requests of the kernel that wait for the client. A process that is being killed must not wait for
 * a client that does not answer: its request is then answered at once, and the client's late answer
 * is dropped.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuse_server.h"

static struct call *calls;

struct call *call_new(const struct request *request, struct node *node, struct opened *opened)
{
	struct call *call = calloc(1, sizeof(*call));

	if (!call) {
		fuse_answer(request->head->unique, -ENOMEM, NULL, 0);
		return NULL;
	}
	call->refs = 1;
	call->unique = request->head->unique;
	call->pid = request->head->pid;
	call->node = node;
	call->opened = opened;
	node->pins++;
	if (opened)
		opened->refs++;
	call->next = calls;
	if (calls)
		calls->prev = call;
	calls = call;
	return call;
}

void call_ref(struct call *call)
{
	pthread_mutex_lock(&fuse_lock);
	call->refs++;
	pthread_mutex_unlock(&fuse_lock);
}

void call_put(struct call *call)
{
	uint32_t handle = 0;

	pthread_mutex_lock(&fuse_lock);
	if (--call->refs) {
		pthread_mutex_unlock(&fuse_lock);
		return;
	}
	*(call->prev ? &call->prev->next : &calls) = call->next;
	if (call->next)
		call->next->prev = call->prev;
	node_unpin(call->node);
	if (call->opened)
		handle = opened_put(call->opened);
	pthread_mutex_unlock(&fuse_lock);
	fuse_release_handle(handle);
	free(call);
}

void fuse_release_handle(uint32_t handle)
{
	uint8_t body[4];
	struct wire_writer w = {body, body + sizeof(body), 0};

	if (!handle)
		return;
	wire_put_u32(&w, handle);
	link_tell(WIRE_RELEASE, 0, body, sizeof(body));
}

void call_send(struct call *call, uint16_t kind, const void *body, size_t len, const void *bulk,
	       size_t bulk_len, link_done done)
{
	uint64_t id;

	/* One for done, one for us: done may have run before link_request returns. */
	call_ref(call);
	call_ref(call);
	id = link_request(kind, body, len, bulk, bulk_len, done, call);
	pthread_mutex_lock(&fuse_lock);
	call->link_id = id;
	pthread_mutex_unlock(&fuse_lock);
	call_put(call);
}

static bool take_answer(struct call *call)
{
	bool was_answered;

	pthread_mutex_lock(&fuse_lock);
	was_answered = call->is_answered;
	call->is_answered = true;
	pthread_mutex_unlock(&fuse_lock);
	return !was_answered;
}

void call_answer(struct call *call, int error, const void *data, size_t len)
{
	if (take_answer(call))
		fuse_answer(call->unique, error, data, len);
}

void call_was_answered(struct call *call)
{
	(void)take_answer(call);
}

void call_answer_parts(struct call *call, struct iovec *parts, int count)
{
	if (take_answer(call))
		(void)fuse_answer_parts(call->unique, parts, count);
}

/*
 * Whether the thread is about to die. A signal that it handles must not disturb it: nobody expects
 * EINTR of a file. The kernel marks every fatal signal as SIGKILL for each thread.
 */
static bool is_dying(uint32_t pid)
{
	char path[64], line[128];
	uint64_t pending = 0;
	bool exists = false;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/status", pid);
	file = fopen(path, "re");
	if (!file)
		return true;
	while (fgets(line, sizeof(line), file)) {
		exists = true;
		if (sscanf(line, "SigPnd: %" SCNx64, &pending) == 1)
			break;
	}
	fclose(file);
	return !exists || (pending >> 8 & 1);
}

/*
 * Signals by which somebody at a keyboard or a timer ends a wait. Of a pipe everybody expects EINTR for them; others
 * (SIGCHLD, SIGWINCH, those of profilers and of Go) come so often that few programs are ready for it.
 */
#define INTERRUPTING (1ull << (SIGINT - 1) | 1ull << (SIGHUP - 1) | 1ull << (SIGQUIT - 1) | \
		      1ull << (SIGTERM - 1) | 1ull << (SIGALRM - 1))

static bool is_interrupted(uint32_t pid)
{
	char path[64], line[128];
	uint64_t pending, all = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/status", pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "SigPnd: %" SCNx64, &pending) == 1 ||
		    sscanf(line, "ShdPnd: %" SCNx64, &pending) == 1)
			all |= pending;
	}
	fclose(file);
	return all & INTERRUPTING;
}

void call_interrupt(uint64_t unique)
{
	struct call *call;
	uint64_t link_id = 0;

	pthread_mutex_lock(&fuse_lock);
	for (call = calls; call && call->unique != unique; call = call->next)
		;
	if (call) {
		call->refs++;
		link_id = call->link_id;
	}
	pthread_mutex_unlock(&fuse_lock);
	if (!call)
		return;
	if (is_dying(call->pid) ||
	    (call->node->type != S_IFREG && call->node->type != S_IFDIR && is_interrupted(call->pid))) {
		call_answer(call, -EINTR, NULL, 0);
		if (link_id)
			link_tell(WIRE_CANCEL, link_id, NULL, 0);
	}
	call_put(call);
}
