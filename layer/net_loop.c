/* The thread of all flows (net_loop.h). */
#include "net_loop.h"

#include <errno.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "in.h"
#include "link.h"
#include "net_datagram.h"
#include "net_dial.h"
#include "net_flow.h"
#include "net_gate.h"
#include "net_hand.h"
#include "net_receive.h"
#include "net_stream.h"
#include "net_sweep.h"

#define EVENTS 128
#define KIND_SHIFT 60

static int set = -1, wake = -1;
static bool is_hurried;

int net_loop_watch(int fd, enum loop_kind kind, uint64_t key, uint32_t events)
{
	struct epoll_event event = {.events = events | EPOLLET,
				    .data.u64 = (uint64_t)kind << KIND_SHIFT | key};

	return epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

void net_loop_unwatch(int fd)
{
	(void)epoll_ctl(set, EPOLL_CTL_DEL, fd, NULL);
}

void net_loop_wake(void)
{
	uint64_t one = 1;

	(void)!write(wake, &one, sizeof(one));
}

void net_loop_hurry(void)
{
	is_hurried = true;
	net_loop_wake();
}

static void serve_flow(uint64_t inode, uint32_t events)
{
	struct flow *flow = flow_of_inode(inode);

	if (!flow || flow->fd < 0)
		return;
	if (flow->state == FLOW_MEETING) {
		net_dial_met(flow);
		return;
	}
	if (flow->transport == WIRE_TRANSPORT_UDP) {
		net_datagram_pump(flow);
		return;
	}
	flow->is_readable |= (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
	flow->is_writable |= (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0;
	net_stream_pump(flow);
}

static void serve_waiting(void)
{
	struct flow *next;
	uint64_t drained;

	(void)!read(wake, &drained, sizeof(drained));
	for (struct flow *flow = flow_first(); flow; flow = next) {
		next = flow->next;
		if (!flow->waits_for_room)
			continue;
		if (flow->transport == WIRE_TRANSPORT_UDP)
			net_datagram_pump(flow);
		else
			net_stream_pump(flow);
	}
}

static void serve(const struct epoll_event *event)
{
	uint64_t key = event->data.u64 & ((1ull << KIND_SHIFT) - 1);

	switch ((enum loop_kind)(event->data.u64 >> KIND_SHIFT)) {
	case LOOP_WAKE:
		serve_waiting();
		break;
	case LOOP_FLOW:
		serve_flow(key, event->events);
		break;
	case LOOP_GATE:
		net_gate_refill((unsigned int)key);
		break;
	case LOOP_PARKED:
		net_receive_ready(key);
		break;
	case LOOP_ACCEPT:
		in_accept_ready(key);
		break;
	case LOOP_CHANNEL:
		net_hand_ready();
		break;
	}
}

/* Milliseconds to wait. The sweep is not run for every packet. */
static int sweep_when_due(int64_t *due)
{
	int64_t now = net_now_ms();
	int wait, arrivals;

	if (!link_is_alive()) {
		net_sweep_all();
		in_lost();
	}
	if (*due <= now || is_hurried) {
		is_hurried = false;
		wait = net_sweep();
		arrivals = in_look(now);
		if (arrivals >= 0 && (wait < 0 || arrivals < wait))
			wait = arrivals;
		*due = wait < 0 ? INT64_MAX : now + wait;
	}
	if (*due == INT64_MAX && (flow_count() > 0 || net_receive_count() > 0))
		*due = now + 1000;
	return *due == INT64_MAX ? -1 : (int)(*due - now);
}

static void *run(void *unused)
{
	struct epoll_event events[EVENTS];
	int64_t due = INT64_MAX;

	(void)unused;
	for (;;) {
		int wait, n;

		net_lock();
		wait = sweep_when_due(&due);
		net_unlock();
		n = epoll_wait(set, events, EVENTS, wait);
		for (int i = 0; i < n; i++) {
			net_lock();
			serve(&events[i]);
			net_unlock();
		}
	}
	return NULL;
}

int net_loop_start(void)
{
	pthread_t thread;
	int failed;

	set = epoll_create1(EPOLL_CLOEXEC);
	wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (set < 0 || wake < 0)
		return -errno;
	failed = net_loop_watch(wake, LOOP_WAKE, 0, EPOLLIN);
	if (failed)
		return failed;
	failed = pthread_create(&thread, NULL, run, NULL);
	if (failed)
		return -failed;
	pthread_detach(thread);
	return 0;
}
