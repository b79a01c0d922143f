/* See fake_link.h. */
#include "fake_link.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../link.h"
#include "fake_target.h"

#define REPLY_MAX (1u << 20)

struct job {
	struct job *next;
	uint16_t kind;
	link_done done;
	void *arg;
	size_t len;
	uint8_t body[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct job *first, **last = &first, *held;
static bool is_dead;
static uint16_t held_kind;
static unsigned delay_ms;
static unsigned counts[128];

static void finish(struct job *job, int32_t result, const uint8_t *body, size_t len)
{
	job->done(job->arg, result, body, len);
	free(job);
}

uint64_t link_request(uint16_t kind, const void *body, size_t body_len, const void *bulk,
		      size_t bulk_len, link_done done, void *arg)
{
	static uint64_t last_id;
	struct job *job = malloc(sizeof(*job) + body_len + bulk_len);
	uint64_t id;

	*job = (struct job){.kind = kind, .done = done, .arg = arg, .len = body_len + bulk_len};
	memcpy(job->body, body, body_len);
	if (bulk_len)
		memcpy(job->body + body_len, bulk, bulk_len);
	pthread_mutex_lock(&lock);
	id = ++last_id;
	counts[kind]++;
	if (is_dead) {
		pthread_mutex_unlock(&lock);
		finish(job, -EIO, NULL, 0);
		return id;
	}
	if (kind == held_kind) {
		job->next = held;
		held = job;
	} else {
		*last = job;
		last = &job->next;
	}
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	return id;
}

uint64_t link_reserve(void)
{
	return 1u << 20;
}

void link_request_as(uint64_t id, uint16_t kind, const void *body, size_t body_len, link_done done, void *arg)
{
	(void)id;
	(void)link_request(kind, body, body_len, NULL, 0, done, arg);
}

void link_set_flows(const struct link_flows *flows)
{
	(void)flows;
}

void link_flush(int64_t ms)
{
	(void)ms;
}

bool link_has_room(void)
{
	return true;
}

void link_tell_bulk(uint16_t kind, uint64_t id, const void *body, size_t body_len, const void *bulk, size_t bulk_len)
{
	(void)bulk;
	(void)bulk_len;
	link_tell(kind, id, body, body_len);
}

void link_tell(uint16_t kind, uint64_t id, const void *body, size_t body_len)
{
	struct wire_reader r = {body, (const uint8_t *)body + body_len, 0};
	uint32_t handle;

	(void)id;
	pthread_mutex_lock(&lock);
	counts[kind]++;
	if (kind == WIRE_RELEASE) {
		handle = wire_get_u32(&r);
		target_close(handle);
	}
	pthread_mutex_unlock(&lock);
}

void link_log(int level, const char *format, ...)
{
	(void)level;
	(void)format;
}

bool link_is_alive(void)
{
	return !is_dead;
}

static void *work(void *unused)
{
	uint8_t *reply = malloc(REPLY_MAX);

	(void)unused;
	for (;;) {
		struct wire_writer w = {reply, reply + REPLY_MAX, 0};
		struct wire_reader r;
		struct job *job;
		int32_t result;
		bool fails;

		pthread_mutex_lock(&lock);
		while (!first)
			pthread_cond_wait(&changed, &lock);
		job = first;
		first = job->next;
		if (!first)
			last = &first;
		fails = is_dead;
		pthread_mutex_unlock(&lock);
		if (delay_ms)
			usleep(delay_ms * 1000);
		r = (struct wire_reader){job->body, job->body + job->len, 0};
		result = fails ? -EIO : target_serve(job->kind, &r, &w);
		finish(job, result, reply, result < 0 ? 0 : (size_t)(w.at - reply));
	}
	return NULL;
}

void fake_start(const char *folder)
{
	pthread_t thread;

	target_set_root(folder);
	pthread_create(&thread, NULL, work, NULL);
	pthread_detach(thread);
}

/* Puts the held requests back into the queue. */
static void let_go(void)
{
	while (held) {
		struct job *job = held;

		held = job->next;
		job->next = NULL;
		*last = job;
		last = &job->next;
	}
	pthread_cond_broadcast(&changed);
}

void fake_die(void)
{
	pthread_mutex_lock(&lock);
	is_dead = true;
	let_go();
	pthread_mutex_unlock(&lock);
}

void fake_hold(uint16_t kind)
{
	pthread_mutex_lock(&lock);
	held_kind = kind;
	if (!kind)
		let_go();
	pthread_mutex_unlock(&lock);
}

bool fake_wait_held(void)
{
	struct timespec deadline;
	bool is_held;

	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += 10;
	pthread_mutex_lock(&lock);
	while (!held && pthread_cond_timedwait(&changed, &lock, &deadline) == 0)
		;
	is_held = held != NULL;
	pthread_mutex_unlock(&lock);
	return is_held;
}

unsigned fake_count(uint16_t kind)
{
	unsigned count;

	pthread_mutex_lock(&lock);
	count = counts[kind];
	pthread_mutex_unlock(&lock);
	return count;
}

void fake_delay_ms(unsigned ms)
{
	delay_ms = ms;
}
