/*
 * The link to the client (link.h). Writing never waits for the client: what the socket does not take at once is queued for
 * a writer thread, so that a client that is stopped or slow holds up only the calls that need it.
 */
#include "link.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define BUCKETS 1024u
#define QUEUE_MAX (64u << 20)
#define ROOM_BYTES (4u << 20)
#define BUFFER_BYTES (WIRE_HEADER_BYTES + WIRE_BODY_MAX)

struct waiting {
	struct waiting *next;
	uint64_t id;
	link_done done;
	void *arg;
};

struct queued {
	struct queued *next;
	size_t len, sent;
	uint8_t data[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t has_queued = PTHREAD_COND_INITIALIZER;
static pthread_cond_t is_flushed = PTHREAD_COND_INITIALIZER;
static struct waiting *waiting[BUCKETS];
static struct queued *first, *last;
static size_t queued_bytes;
static uint64_t next_id = 1;
static int link_fd = -1;
static bool is_alive;
static const struct link_flows *flows;
static bool is_room_awaited;

int link_init(int fd)
{
	link_fd = fd;
	is_alive = true;
	return 0;
}

int link_descriptor(void)
{
	return link_fd;
}

bool link_is_alive(void)
{
	return __atomic_load_n(&is_alive, __ATOMIC_ACQUIRE);
}

void link_set_flows(const struct link_flows *handlers)
{
	flows = handlers;
}

bool link_has_room(void)
{
	bool has_room;

	pthread_mutex_lock(&lock);
	has_room = !is_alive || queued_bytes < ROOM_BYTES;
	is_room_awaited = !has_room;
	pthread_mutex_unlock(&lock);
	return has_room;
}

static void die(void)
{
	struct waiting *all = NULL, *one;
	bool was_alive;

	pthread_mutex_lock(&lock);
	was_alive = is_alive;
	__atomic_store_n(&is_alive, false, __ATOMIC_RELEASE);
	if (link_fd >= 0)
		shutdown(link_fd, SHUT_RDWR);
	for (unsigned int i = 0; i < BUCKETS; i++) {
		while ((one = waiting[i])) {
			waiting[i] = one->next;
			one->next = all;
			all = one;
		}
	}
	pthread_cond_broadcast(&has_queued);
	pthread_cond_broadcast(&is_flushed);
	pthread_mutex_unlock(&lock);
	while ((one = all)) {
		all = one->next;
		one->done(one->arg, -EIO, NULL, 0);
		free(one);
	}
	if (was_alive && flows)
		flows->has_ended();
}

/* Under the lock. False: the link is of no use any more. */
static bool enqueue(struct iovec *parts, int count, size_t sent)
{
	size_t len = 0;
	struct queued *q;

	for (int i = 0; i < count; i++)
		len += parts[i].iov_len;
	len -= sent;
	if (len == 0)
		return true;
	if (queued_bytes + len > QUEUE_MAX)
		return false;
	q = malloc(sizeof(*q) + len);
	if (!q)
		return false;
	q->next = NULL;
	q->sent = 0;
	q->len = 0;
	for (int i = 0; i < count; i++) {
		size_t skip = sent < parts[i].iov_len ? sent : parts[i].iov_len;

		sent -= skip;
		if (parts[i].iov_len > skip)
			memcpy(q->data + q->len, (uint8_t *)parts[i].iov_base + skip,
			       parts[i].iov_len - skip);
		q->len += parts[i].iov_len - skip;
	}
	if (last)
		last->next = q;
	else
		first = q;
	last = q;
	queued_bytes += q->len;
	pthread_cond_signal(&has_queued);
	return true;
}

/* Under the lock. */
static bool put(uint16_t kind, uint64_t id, const void *body, size_t len, const void *bulk,
		size_t bulk_len)
{
	uint8_t head[WIRE_HEADER_BYTES];
	struct iovec parts[3] = {
		{head, sizeof(head)}, {(void *)body, len}, {(void *)bulk, bulk_len}};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = 3};
	ssize_t sent = 0;

	if (!is_alive)
		return false;
	wire_header(head, kind, id, (uint32_t)(len + bulk_len));
	if (!first) {
		sent = sendmsg(link_fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0 && errno != EAGAIN && errno != EINTR && errno != ENOBUFS)
			return false;
		if (sent < 0)
			sent = 0;
	}
	return enqueue(parts, 3, (size_t)sent);
}

uint64_t link_reserve(void)
{
	uint64_t id;

	pthread_mutex_lock(&lock);
	id = next_id++;
	pthread_mutex_unlock(&lock);
	return id;
}

static void request(uint64_t id, uint16_t kind, const struct iovec parts[2], link_done done,
		    void *arg)
{
	struct waiting *one = malloc(sizeof(*one));
	bool is_sent;

	if (!one) {
		done(arg, -ENOMEM, NULL, 0);
		return;
	}
	pthread_mutex_lock(&lock);
	if (!is_alive) {
		pthread_mutex_unlock(&lock);
		free(one);
		done(arg, -EIO, NULL, 0);
		return;
	}
	one->id = id;
	one->done = done;
	one->arg = arg;
	one->next = waiting[id % BUCKETS];
	waiting[id % BUCKETS] = one;
	is_sent = put(kind, id, parts[0].iov_base, parts[0].iov_len, parts[1].iov_base,
		      parts[1].iov_len);
	pthread_mutex_unlock(&lock);
	if (!is_sent)
		die();
}

uint64_t link_request(uint16_t kind, const void *body, size_t body_len, const void *bulk,
		      size_t bulk_len, link_done done, void *arg)
{
	const struct iovec parts[2] = {{(void *)body, body_len}, {(void *)bulk, bulk_len}};
	uint64_t id = link_reserve();

	request(id, kind, parts, done, arg);
	return id;
}

void link_request_as(uint64_t id, uint16_t kind, const void *body, size_t body_len, link_done done,
		     void *arg)
{
	const struct iovec parts[2] = {{(void *)body, body_len}, {NULL, 0}};

	request(id, kind, parts, done, arg);
}

void link_tell_bulk(uint16_t kind, uint64_t id, const void *body, size_t body_len, const void *bulk,
		    size_t bulk_len)
{
	bool was_alive, is_sent;

	pthread_mutex_lock(&lock);
	was_alive = is_alive;
	is_sent = put(kind, id, body, body_len, bulk, bulk_len);
	pthread_mutex_unlock(&lock);
	if (was_alive && !is_sent)
		die();
}

void link_tell(uint16_t kind, uint64_t id, const void *body, size_t body_len)
{
	link_tell_bulk(kind, id, body, body_len, NULL, 0);
}

void link_log(int level, const char *format, ...)
{
	uint8_t body[512];
	struct wire_writer w = {body, body + sizeof(body), 0};
	char text[448];
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (len < 0)
		return;
	wire_put_u8(&w, (uint8_t)level);
	wire_put_str(&w, text, (size_t)len < sizeof(text) ? (size_t)len : sizeof(text) - 1);
	link_tell(WIRE_LOG, 0, body, (size_t)(w.at - body));
}

static void answer(const struct wire_frame *frame)
{
	struct wire_reader r = {frame->body, frame->body + frame->body_len, 0};
	int32_t result = (int32_t)wire_get_u32(&r);
	struct waiting **at, *one = NULL;

	pthread_mutex_lock(&lock);
	for (at = &waiting[frame->id % BUCKETS]; *at; at = &(*at)->next) {
		if ((*at)->id == frame->id) {
			one = *at;
			*at = one->next;
			break;
		}
	}
	pthread_mutex_unlock(&lock);
	if (!one)
		return;
	one->done(one->arg, r.bad ? -EIO : result, r.at, (size_t)(r.end - r.at));
	free(one);
}

/* Answers every whole frame of the buffer; returns the bytes used, or -EPROTO. */
static ssize_t answer_all(const uint8_t *buf, size_t len)
{
	size_t used = 0;
	struct wire_frame frame;
	ssize_t n;

	while ((n = wire_decode(buf + used, len - used, &frame)) > 0) {
		if (frame.kind == WIRE_REPLY)
			answer(&frame);
		else if (flows && ((frame.kind >= WIRE_FLOW_DATA && frame.kind <= WIRE_FLOW_DIALING) ||
				   frame.kind == WIRE_ARRIVAL || frame.kind == WIRE_ARRIVAL_OVER))
			flows->frame(&frame);
		else
			return -EPROTO;
		used += (size_t)n;
	}
	return n < 0 ? n : (ssize_t)used;
}

static void *read_replies(void *unused)
{
	uint8_t *buf = malloc(BUFFER_BYTES);
	size_t len = 0;

	(void)unused;
	while (buf) {
		ssize_t n = recv(link_fd, buf + len, BUFFER_BYTES - len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += (size_t)n;
		n = answer_all(buf, len);
		if (n < 0)
			break;
		len -= (size_t)n;
		memmove(buf, buf + n, len);
	}
	free(buf);
	die();
	return NULL;
}

static void *write_queued(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&lock);
	while (is_alive) {
		struct queued *q = first;
		ssize_t n;

		if (!q) {
			pthread_cond_wait(&has_queued, &lock);
			continue;
		}
		pthread_mutex_unlock(&lock);
		n = send(link_fd, q->data + q->sent, q->len - q->sent, MSG_NOSIGNAL);
		pthread_mutex_lock(&lock);
		if (n < 0 && errno != EINTR) {
			pthread_mutex_unlock(&lock);
			die();
			return NULL;
		}
		q->sent += n > 0 ? (size_t)n : 0;
		if (q->sent < q->len)
			continue;
		queued_bytes -= q->len;
		first = q->next;
		if (!first) {
			last = NULL;
			pthread_cond_broadcast(&is_flushed);
		}
		free(q);
		if (is_room_awaited && queued_bytes < ROOM_BYTES / 2) {
			is_room_awaited = false;
			flows->has_room();
		}
	}
	pthread_mutex_unlock(&lock);
	return NULL;
}

void link_flush(int64_t ms)
{
	struct timespec until;
	int failed = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += (time_t)(ms / 1000) + 1;
	pthread_mutex_lock(&lock);
	while (is_alive && first && !failed)
		failed = pthread_cond_timedwait(&is_flushed, &lock, &until);
	pthread_mutex_unlock(&lock);
}

int link_start(void)
{
	pthread_t thread;
	int failed = pthread_create(&thread, NULL, read_replies, NULL);

	if (failed)
		return -failed;
	pthread_detach(thread);
	failed = pthread_create(&thread, NULL, write_queued, NULL);
	if (failed)
		return -failed;
	pthread_detach(thread);
	return 0;
}
