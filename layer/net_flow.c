/* The table of flows (net_flow.h). */
#include "net_flow.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "answer.h"
#include "net.h"
#include "shared.h"
#include "wire.h"

#define BUCKETS 4096u
/* What ended flows may cost: the oldest is forgotten first. */
#define ENDED_MAX 4096u

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t has_changed = PTHREAD_COND_INITIALIZER;
static struct flow *ids[BUCKETS], *inodes[BUCKETS];
static struct flow *all, **last = &all;
static unsigned int count, unconnected, ended;
static struct held *retries;

void net_lock(void)
{
	pthread_mutex_lock(&lock);
}

void net_unlock(void)
{
	struct held *list = held_take(&retries);

	pthread_mutex_unlock(&lock);
	while (list) {
		struct held *held = list;

		list = held->next;
		shared_forget(held->n.id);
		if (answer_is_awaited(held->n.id))
			net_call(&held->n);
		free(held);
	}
}

int64_t net_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void net_wait(int64_t ms)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += (time_t)(ms / 1000);
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	(void)pthread_cond_timedwait(&has_changed, &lock, &until);
}

void net_changed(void)
{
	pthread_cond_broadcast(&has_changed);
}

static void forget_oldest_ended(void)
{
	for (struct flow *flow = all; flow; flow = flow->next) {
		if (flow->state == FLOW_ENDED || flow->state == FLOW_FAILED) {
			flow_destroy(flow);
			return;
		}
	}
}

struct flow *flow_new(uint64_t id, const struct net_socket *socket)
{
	struct flow *flow = calloc(1, sizeof(*flow));

	if (!flow)
		return NULL;
	if (ended > ENDED_MAX)
		forget_oldest_ended();
	flow->inode = socket->inode;
	flow->domain = socket->domain;
	flow->process = socket->process;
	flow->is_nonblocking = socket->is_nonblocking;
	flow->fd = flow->app_fd = -1;
	flow->credit = WIRE_FLOW_CREDIT_BYTES;
	flow->since_ms = net_now_ms();
	flow->by_inode = inodes[flow->inode % BUCKETS];
	inodes[flow->inode % BUCKETS] = flow;
	flow->link = last;
	*last = flow;
	last = &flow->next;
	__atomic_add_fetch(&count, 1, __ATOMIC_RELAXED);
	flow_set_id(flow, id);
	return flow;
}

struct flow *flow_of_id(uint64_t id)
{
	struct flow *flow = ids[id % BUCKETS];

	while (flow && flow->id != id)
		flow = flow->by_id;
	return flow;
}

struct flow *flow_of_inode(uint64_t inode)
{
	struct flow *flow = inodes[inode % BUCKETS];

	while (flow && flow->inode != inode)
		flow = flow->by_inode;
	return flow;
}

struct flow *flow_first(void)
{
	return all;
}

/* Readable without the lock: notify threads ask whether there is anything to look for. */
unsigned int flow_count(void)
{
	return __atomic_load_n(&count, __ATOMIC_RELAXED);
}

unsigned int flow_count_unconnected(void)
{
	return __atomic_load_n(&unconnected, __ATOMIC_RELAXED);
}

void flow_set_unconnected(struct flow *flow)
{
	flow->is_unconnected = true;
	__atomic_add_fetch(&unconnected, 1, __ATOMIC_RELAXED);
}

static void remove_id(struct flow *flow)
{
	struct flow **at = &ids[flow->id % BUCKETS];

	if (!flow->id)
		return;
	while (*at != flow)
		at = &(*at)->by_id;
	*at = flow->by_id;
	flow->id = 0;
}

void flow_set_id(struct flow *flow, uint64_t id)
{
	remove_id(flow);
	flow->id = id;
	if (!id)
		return;
	flow->by_id = ids[id % BUCKETS];
	ids[id % BUCKETS] = flow;
}

static bool is_over(enum flow_state state)
{
	return state == FLOW_ENDED || state == FLOW_FAILED;
}

void flow_set_state(struct flow *flow, enum flow_state state)
{
	ended -= is_over(flow->state);
	flow->state = state;
	flow->since_ms = net_now_ms();
	ended += is_over(state);
}

static void drop_peers(struct flow *flow)
{
	struct net_peer *peer;

	while ((peer = flow->peers)) {
		flow->peers = peer->next;
		if (peer->fd >= 0)
			close(peer->fd);
		(void)held_answer(held_take(&peer->held), -ECONNABORTED, false);
		free(peer);
	}
	flow->peer_count = 0;
}

void flow_close(struct flow *flow)
{
	struct chunk *chunk;

	if (flow->fd >= 0)
		close(flow->fd);
	if (flow->app_fd >= 0)
		close(flow->app_fd);
	flow->fd = flow->app_fd = -1;
	while ((chunk = flow->first)) {
		flow->first = chunk->next;
		free(chunk);
	}
	flow->last = NULL;
	flow->queued = 0;
	drop_peers(flow);
	net_changed();
}

void flow_destroy(struct flow *flow)
{
	struct flow **at = &inodes[flow->inode % BUCKETS];

	flow_close(flow);
	(void)held_answer(held_take(&flow->held), -ECONNABORTED, false);
	(void)held_answer(held_take(&flow->names), 0, true);
	remove_id(flow);
	while (*at != flow)
		at = &(*at)->by_inode;
	*at = flow->by_inode;
	*flow->link = flow->next;
	if (flow->next)
		flow->next->link = flow->link;
	else
		last = flow->link;
	ended -= is_over(flow->state);
	if (flow->is_unconnected)
		__atomic_sub_fetch(&unconnected, 1, __ATOMIC_RELAXED);
	__atomic_sub_fetch(&count, 1, __ATOMIC_RELAXED);
	free(flow);
}

bool held_add(struct held **list, const struct seccomp_notif *n)
{
	struct held *held = malloc(sizeof(*held));

	if (!held) {
		(void)answer_value(n->id, -ENOMEM);
		return false;
	}
	held->n = *n;
	held->next = *list;
	*list = held;
	/* Should the worker be killed, the keeper finds and fails it. */
	shared_remember(n->id);
	return true;
}

struct held *held_take(struct held **list)
{
	struct held *taken = *list;

	*list = NULL;
	return taken;
}

void held_retry(struct held *list)
{
	while (list) {
		struct held *held = list;

		list = held->next;
		held->next = retries;
		retries = held;
	}
}

bool held_answer(struct held *list, int64_t value, bool is_continue)
{
	bool is_delivered = false;

	while (list) {
		struct held *held = list;

		list = held->next;
		shared_forget(held->n.id);
		if ((is_continue ? answer_continue(held->n.id) : answer_value(held->n.id, value)) == 0)
			is_delivered = true;
		free(held);
	}
	return is_delivered;
}
