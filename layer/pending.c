/* The table of calls in flight (pending.h). */
#include "pending.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "inject.h"
#include "link.h"
#include "shared.h"

#define BUCKETS 256u
/* Longer than any program takes from a signal to the repeated call; also how long a request runs for nobody. */
#define KEPT_MS 3000
#define SWEEP_MS 1000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct pending *buckets[BUCKETS];
static pthread_cond_t has_some = PTHREAD_COND_INITIALIZER;
static unsigned int count;
static uint64_t last_serial;
static bool is_sweeping;

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static uint64_t mix(uint64_t hash, const void *data, size_t len)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ bytes[i]) * 1099511628211u;
	return hash;
}

uint64_t pending_key(const struct seccomp_notif *notif, const char *path, const char *path2)
{
	uint64_t hash = 14695981039346656037u;

	hash = mix(hash, &notif->data.nr, sizeof(notif->data.nr));
	hash = mix(hash, &notif->data.instruction_pointer, sizeof(notif->data.instruction_pointer));
	hash = mix(hash, notif->data.args, sizeof(notif->data.args));
	hash = mix(hash, path, strlen(path) + 1);
	return path2 ? mix(hash, path2, strlen(path2) + 1) : hash;
}

static void destroy(struct pending *p)
{
	answer_drop(&p->answer);
	free(p->replaced);
	free(p->path);
	free(p);
}

/* Under the lock: removes *at from its list. */
static void unlink_at(struct pending **at)
{
	struct pending *p = *at;

	*at = p->next;
	count--;
	shared_forget(p->id);
}

/* Under the lock. */
static void remove_one(struct pending *p)
{
	struct pending **at = &buckets[(uint32_t)p->tid % BUCKETS];

	while (*at != p)
		at = &(*at)->next;
	unlink_at(at);
	destroy(p);
}

/* Under the lock: finished, and nobody took the answer. What was cancelled has waited long enough. */
static void keep(struct pending *p)
{
	p->is_finished = true;
	p->expires_ms = now_ms() + (p->is_cancelled ? 0 : KEPT_MS);
}

/* Under the lock. A thread that was interrupted for good, or is dead, leaves its request behind. */
static void cancel_if_alone(struct pending *p, int64_t now)
{
	if (p->is_cancelled || p->request == 0 || answer_is_awaited(p->id)) {
		p->alone_since_ms = 0;
	} else if (p->alone_since_ms == 0) {
		p->alone_since_ms = now;
	} else if (now - p->alone_since_ms >= KEPT_MS) {
		p->is_cancelled = true;
		link_tell(WIRE_CANCEL, p->request, NULL, 0);
	}
}

static void sweep(void)
{
	int64_t now = now_ms();

	for (unsigned int i = 0; i < BUCKETS; i++) {
		for (struct pending **at = &buckets[i]; *at;) {
			struct pending *p = *at;

			if (p->is_finished && p->expires_ms <= now) {
				unlink_at(at);
				destroy(p);
				continue;
			}
			if (!p->is_finished)
				cancel_if_alone(p, now);
			at = &p->next;
		}
	}
}

/* Sleeps while nothing is in flight. */
static void *sweep_always(void *unused)
{
	struct timespec until;

	(void)unused;
	pthread_mutex_lock(&lock);
	for (;;) {
		while (count == 0)
			pthread_cond_wait(&has_some, &lock);
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += SWEEP_MS / 1000;
		while (pthread_cond_timedwait(&has_some, &lock, &until) == 0)
			;
		sweep();
	}
	return NULL;
}

static bool start(void *(*run)(void *), void *arg)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, run, arg) != 0)
		return false;
	pthread_detach(thread);
	return true;
}

/* Until the thread has its answer, or waits no more: each repetition of the call is tried once. */
static void *inject_until_done(void *arg)
{
	struct pending *p = arg;

	pthread_mutex_lock(&lock);
	for (;;) {
		uint64_t id = p->id;
		int result;

		pthread_mutex_unlock(&lock);
		result = inject(p, id);
		pthread_mutex_lock(&lock);
		/* Served, it may have made the same call again before we are here: that has taken over the answer too. */
		if (p->id != id)
			continue;
		if (result != -EAGAIN)
			remove_one(p);
		else
			keep(p);
		break;
	}
	pthread_mutex_unlock(&lock);
	return NULL;
}

/* Under the lock. False: nobody waits for it. The pending is gone otherwise, or has a thread of its own. */
static bool deliver(struct pending *p)
{
	if (p->answer.how == ANSWER_INJECT && start(inject_until_done, p)) {
		p->is_finished = false;
		return true;
	}
	if (p->answer.how == ANSWER_INJECT) {
		answer_drop(&p->answer);
		p->answer.value = -EAGAIN;
	}
	if (answer_deliver(&p->answer, p->id, p->tid) == -ENOENT)
		return false;
	remove_one(p);
	return true;
}

/* Under the lock. */
static struct pending *find(pid_t tid, uint64_t key)
{
	struct pending *p = buckets[(uint32_t)tid % BUCKETS];

	while (p && (p->tid != tid || p->key != key))
		p = p->next;
	return p;
}

/* Under the lock: the answers that the thread did not wait for and does not ask for again. */
static void drop_others(pid_t tid, uint64_t key)
{
	for (struct pending **at = &buckets[(uint32_t)tid % BUCKETS]; *at;) {
		struct pending *p = *at;

		if (p->tid == tid && p->key != key && p->is_finished) {
			unlink_at(at);
			destroy(p);
		} else {
			at = &p->next;
		}
	}
}

bool pending_resume(const struct seccomp_notif *notif, uint64_t key)
{
	struct pending *p;

	pthread_mutex_lock(&lock);
	drop_others((pid_t)notif->pid, key);
	p = find((pid_t)notif->pid, key);
	if (p) {
		shared_forget(p->id);
		p->id = notif->id;
		p->alone_since_ms = 0;
		shared_remember(p->id);
		if (p->is_finished && !deliver(p))
			keep(p);
	}
	pthread_mutex_unlock(&lock);
	return p != NULL;
}

struct pending *pending_add(const struct seccomp_notif *notif, const struct call_spec *spec,
			    uint64_t key)
{
	struct pending *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->path = malloc(sizeof(*p->path));
	if (!p->path) {
		free(p);
		return NULL;
	}
	p->id = notif->id;
	p->tid = (pid_t)notif->pid;
	p->ip = notif->data.instruction_pointer;
	p->key = key;
	p->spec = spec;
	p->answer.fd = -1;
	memcpy(p->args, notif->data.args, sizeof(p->args));
	shared_remember(p->id);
	pthread_mutex_lock(&lock);
	p->next = buckets[notif->pid % BUCKETS];
	buckets[notif->pid % BUCKETS] = p;
	p->serial = ++last_serial;
	if (!is_sweeping)
		is_sweeping = start(sweep_always, NULL);
	if (count++ == 0)
		pthread_cond_signal(&has_some);
	pthread_mutex_unlock(&lock);
	return p;
}

void pending_set_request(pid_t tid, uint64_t serial, uint64_t request)
{
	struct pending *p;

	pthread_mutex_lock(&lock);
	for (p = buckets[(uint32_t)tid % BUCKETS]; p && p->serial != serial; p = p->next)
		;
	if (p)
		p->request = request;
	pthread_mutex_unlock(&lock);
}

void pending_finish(struct pending *p)
{
	pthread_mutex_lock(&lock);
	p->request = 0;
	if (!deliver(p))
		keep(p);
	pthread_mutex_unlock(&lock);
}
