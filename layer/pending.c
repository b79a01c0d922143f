/* The table of calls in flight (pending.h). */
#include "pending.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "shared.h"

#define BUCKETS 256u
#define KEPT_MS 3000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct pending *buckets[BUCKETS];
static unsigned int kept; /* finished, and nobody took the answer */

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
	free(p->path);
	free(p);
}

/* Under the lock: removes *at from its list. */
static void unlink_at(struct pending **at)
{
	struct pending *p = *at;

	*at = p->next;
	shared_forget(p->id);
	if (p->is_finished)
		kept--;
}

static void drop_expired(void)
{
	int64_t now = now_ms();

	for (unsigned int i = 0; kept > 0 && i < BUCKETS; i++) {
		for (struct pending **at = &buckets[i]; *at;) {
			struct pending *p = *at;

			if (p->is_finished && p->expires_ms < now) {
				unlink_at(at);
				destroy(p);
			} else {
				at = &p->next;
			}
		}
	}
}

bool pending_resume(const struct seccomp_notif *notif, uint64_t key)
{
	struct pending **at = &buckets[notif->pid % BUCKETS];
	bool is_resumed = false;

	pthread_mutex_lock(&lock);
	while (*at && !is_resumed) {
		struct pending *p = *at;

		if (p->tid != (pid_t)notif->pid || (p->key != key && !p->is_finished)) {
			at = &p->next;
			continue;
		}
		if (p->key == key) {
			is_resumed = true;
			shared_forget(p->id);
			p->id = notif->id;
			shared_remember(p->id);
			if (!p->is_finished || answer_deliver(&p->answer, p->id, p->tid) == -ENOENT)
				break;
		}
		unlink_at(at);
		destroy(p);
	}
	drop_expired();
	pthread_mutex_unlock(&lock);
	return is_resumed;
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
	p->key = key;
	p->spec = spec;
	p->answer.fd = -1;
	memcpy(p->args, notif->data.args, sizeof(p->args));
	shared_remember(p->id);
	pthread_mutex_lock(&lock);
	p->next = buckets[notif->pid % BUCKETS];
	buckets[notif->pid % BUCKETS] = p;
	pthread_mutex_unlock(&lock);
	return p;
}

void pending_finish(struct pending *p)
{
	struct pending **at;

	pthread_mutex_lock(&lock);
	for (at = &buckets[(uint32_t)p->tid % BUCKETS]; *at != p; at = &(*at)->next)
		;
	if (answer_deliver(&p->answer, p->id, p->tid) == -ENOENT) {
		p->is_finished = true;
		p->expires_ms = now_ms() + KEPT_MS;
		kept++;
	} else {
		unlink_at(at);
		destroy(p);
	}
	pthread_mutex_unlock(&lock);
}
