/* Dials (net_dial.h). */
#include "net_dial.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "link.h"
#include "net_datagram.h"
#include "net_gate.h"
#include "net_here.h"
#include "net_loop.h"
#include "net_stream.h"

void net_dial_tell_reset(uint64_t id, int error)
{
	uint8_t body[4];
	struct wire_writer w = {body, body + sizeof(body), 0};

	wire_put_u32(&w, (uint32_t)error);
	link_tell(WIRE_FLOW_RESET, id, body, sizeof(body));
}

static void watch(struct flow *flow)
{
	(void)net_loop_watch(flow->fd, LOOP_FLOW, flow->inode, EPOLLIN | EPOLLOUT | EPOLLRDHUP);
}

static void drop_app(struct flow *flow)
{
	if (flow->app_fd >= 0)
		close(flow->app_fd);
	flow->app_fd = -1;
}

/* The result of a connect that may have been interrupted: then it is for the repeated call. */
static void answer_held(struct flow *flow, int64_t result)
{
	if (held_answer(held_take(&flow->held), result, false))
		flow->is_told = true;
	drop_app(flow);
	held_retry(held_take(&flow->names));
}

static void fail_at_once(struct flow *flow, int error)
{
	flow->error = error;
	flow_set_id(flow, 0);
	flow_set_state(flow, FLOW_FAILED);
	answer_held(flow, -error);
	if (flow->is_told)
		flow_destroy(flow);
}

void net_dial_met(struct flow *flow)
{
	struct tcp_info info = {0};
	struct linger now = {1, 0};
	socklen_t len = sizeof(info);
	int error = flow->error;

	if (getsockopt(flow->fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
		info.tcpi_state = TCP_CLOSE;
	if (info.tcpi_state == TCP_SYN_SENT || info.tcpi_state == TCP_SYN_RECV)
		return;
	if (info.tcpi_state == TCP_CLOSE && !error) {
		net_dial_tell_reset(flow->id, ECONNRESET);
		error = ECONNRESET;
	}
	if (!error) {
		net_stream_open(flow);
		answer_held(flow, 0);
		return;
	}
	(void)setsockopt(flow->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	flow->error = error;
	flow_set_id(flow, 0);
	flow_close(flow);
	flow_set_state(flow, FLOW_FAILED);
	answer_held(flow, -error);
}

static void meet(struct flow *flow)
{
	int failed = net_gate_meet(flow);

	if (failed) {
		if (!flow->error)
			net_dial_tell_reset(flow->id, ECONNRESET);
		flow_destroy(flow);
		return;
	}
	flow_set_state(flow, FLOW_MEETING);
	watch(flow);
	net_dial_met(flow);
}

void net_dial_lost(struct flow *flow, int error)
{
	switch (flow->state) {
	case FLOW_ASKED:
		if (flow->transport == WIRE_TRANSPORT_UDP && flow->fd >= 0)
			net_datagram_lost(flow);
		else
			fail_at_once(flow, error);
		break;
	case FLOW_DIALING:
		flow->error = error;
		flow_set_id(flow, 0);
		meet(flow);
		break;
	case FLOW_MEETING:
		flow_destroy(flow);
		break;
	default:
		break;
	}
}

void net_dial_goes_on(struct flow *flow)
{
	int result;

	if (flow->state != FLOW_ASKED || !flow->is_nonblocking || flow->transport != WIRE_TRANSPORT_TCP)
		return;
	result = net_gate_begin(flow);
	if (result == -EINPROGRESS) {
		flow_set_state(flow, FLOW_DIALING);
		flow->is_told = true;
		answer_held(flow, result);
		return;
	}
	flow->is_stale = true;
	flow->error = -result;
	answer_held(flow, result);
}

static void finish_remote(struct flow *flow, struct wire_reader *r)
{
	struct wire_addr local, peer;
	int result;

	wire_get_addr(r, &local);
	wire_get_addr(r, &peer);
	flow->is_linked = true;
	if (r->bad) {
		net_dial_tell_reset(flow->id, EPROTO);
		net_dial_lost(flow, EPROTO);
		return;
	}
	net_addr_from_wire(&flow->local, &local);
	net_addr_from_wire(&flow->peer, &peer);
	if (flow->transport == WIRE_TRANSPORT_UDP) {
		result = net_datagram_open(flow);
	} else if (flow->state == FLOW_DIALING) {
		meet(flow);
		return;
	} else {
		result = net_gate_open(flow);
	}
	if (result != 0) {
		net_dial_tell_reset(flow->id, -result);
		fail_at_once(flow, -result);
		return;
	}
	if (flow->transport != WIRE_TRANSPORT_UDP) {
		watch(flow);
		net_stream_open(flow);
	}
	answer_held(flow, 0);
}

static void connect_done(void *arg, int32_t result, const uint8_t *body, size_t len)
{
	uint64_t id = (uintptr_t)arg;
	struct wire_reader r = {body, body + len, 0};
	struct flow *flow;

	/* The link is dead, and perhaps this thread holds the lock: the loop finds out. */
	if (!body) {
		net_loop_wake();
		return;
	}
	net_lock();
	flow = flow_of_id(id);
	if (!flow || flow->is_stale) {
		if (result == 0)
			net_dial_tell_reset(id, ECONNRESET);
		if (flow)
			flow_destroy(flow);
	} else if (result == WIRE_LOCAL && flow->state == FLOW_ASKED) {
		struct wire_addr instead;

		wire_get_addr(&r, &instead);
		net_here_connect(flow, r.bad ? NULL : &instead);
	} else if (result < 0) {
		net_dial_lost(flow, result > -512 ? -result : EIO);
	} else {
		finish_remote(flow, &r);
	}
	net_unlock();
}

void net_dial_ask(struct flow *flow)
{
	uint8_t body[32 + WIRE_ADDR_BYTES];
	struct wire_writer w = {body, body + sizeof(body), 0};
	struct wire_addr peer;
	uint64_t id = link_reserve();

	net_addr_to_wire(&peer, &flow->asked);
	wire_put_u32(&w, (uint32_t)flow->process);
	wire_put_u8(&w, flow->transport);
	wire_put_u8(&w, flow->is_nonblocking);
	wire_put_addr(&w, &peer);
	flow_set_id(flow, id);
	flow->is_linked = false;
	link_request_as(id, WIRE_CONNECT, body, (size_t)(w.at - body), connect_done,
			(void *)(uintptr_t)id);
	if (flow_count() == 1)
		net_loop_wake();
}
