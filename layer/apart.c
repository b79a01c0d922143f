/*
 * Threads that finish opens (apart.h). As many as opens wait at once, because one that waits for a slow page must not hold
 * up another file; they are kept for the next ones.
 */
#include "apart.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fuse.h"
#include "wire.h"

/* Beyond it answers queue: more than any program we have met opens at once. */
#define THREADS_MAX 64u
#define STACK_BYTES (256u << 10)

struct answer_apart {
	struct answer_apart *next;
	link_done done;
	void *arg;
	int32_t result;
	size_t len;
	uint8_t body[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t has_work = PTHREAD_COND_INITIALIZER;
static struct answer_apart *first, **last = &first;
static unsigned int threads, idle, queued, busy;

static void *work(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&lock);
	for (;;) {
		struct answer_apart *answer;

		while (!first) {
			idle++;
			pthread_cond_wait(&has_work, &lock);
			idle--;
		}
		answer = first;
		first = answer->next;
		if (!first)
			last = &first;
		queued--;
		busy++;
		pthread_mutex_unlock(&lock);
		answer->done(answer->arg, answer->result, answer->body, answer->len);
		free(answer);
		pthread_mutex_lock(&lock);
		busy--;
	}
	return NULL;
}

/* Another file may be becoming one that somebody has open. */
static bool is_at_work(void)
{
	bool is_busy;

	pthread_mutex_lock(&lock);
	is_busy = queued + busy > 0;
	pthread_mutex_unlock(&lock);
	return is_busy;
}

/* Under the lock. */
static bool has_thread(void)
{
	pthread_attr_t attr;
	pthread_t thread;

	if (idle > queued || threads >= THREADS_MAX)
		return true;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	if (pthread_create(&thread, &attr, work, NULL) == 0)
		threads++;
	pthread_attr_destroy(&attr);
	return threads > 0;
}

static bool may_wait(int32_t result, const uint8_t *body, size_t len)
{
	struct wire_reader r = {body, body + len, 0};
	struct wire_opened_file opened;

	if (result < 0)
		return false;
	wire_get_opened(&r, &opened);
	/* What is mapped is a file of this machine, perhaps a pipe that nobody writes to. */
	return !r.bad && (opened.how == WIRE_OPENED_MAPPED || is_at_work() || fuse_open_may_wait(&opened.stat));
}

void apart_finish_open(link_done done, void *arg, int32_t result, const uint8_t *body, size_t len)
{
	struct answer_apart *answer = may_wait(result, body, len) ? malloc(sizeof(*answer) + len) : NULL;
	bool is_queued = false;

	if (answer) {
		*answer = (struct answer_apart){.done = done, .arg = arg, .result = result, .len = len};
		memcpy(answer->body, body, len);
		pthread_mutex_lock(&lock);
		if (has_thread()) {
			*last = answer;
			last = &answer->next;
			queued++;
			pthread_cond_signal(&has_work);
			answer = NULL;
			is_queued = true;
		}
		pthread_mutex_unlock(&lock);
	}
	free(answer);
	if (!is_queued)
		done(arg, result, body, len);
}
