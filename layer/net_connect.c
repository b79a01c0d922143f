/* connect(2) (net_connect.h). */
#include "net_connect.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "answer.h"
#include "link.h"
#include "net.h"
#include "net_datagram.h"
#include "net_gate.h"
#include "net_here.h"
#include "net_loop.h"
#include "net_stream.h"
#include "tracee.h"

static uint8_t transport_of(const struct net_socket *socket)
{
	if (socket->domain == AF_UNIX && net_features() & WIRE_FEATURE_UNIX) {
		if (socket->type == SOCK_STREAM)
			return WIRE_TRANSPORT_UNIX_STREAM;
		return socket->type == SOCK_SEQPACKET ? WIRE_TRANSPORT_UNIX_SEQPACKET : 0;
	}
	if ((socket->domain != AF_INET && socket->domain != AF_INET6) ||
	    !(net_features() & WIRE_FEATURE_NETWORK))
		return 0;
	if (socket->type == SOCK_STREAM && socket->protocol == IPPROTO_TCP)
		return WIRE_TRANSPORT_TCP;
	return socket->type == SOCK_DGRAM && socket->protocol == IPPROTO_UDP ? WIRE_TRANSPORT_UDP : 0;
}

static void tell_reset(uint64_t id, int error)
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

void net_connect_met(struct flow *flow)
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
		tell_reset(flow->id, ECONNRESET);
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
			tell_reset(flow->id, ECONNRESET);
		flow_destroy(flow);
		return;
	}
	flow_set_state(flow, FLOW_MEETING);
	watch(flow);
	net_connect_met(flow);
}

void net_connect_lost(struct flow *flow, int error)
{
	switch (flow->state) {
	case FLOW_ASKED:
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

void net_connect_dialing(struct flow *flow)
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
		tell_reset(flow->id, EPROTO);
		net_connect_lost(flow, EPROTO);
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
		tell_reset(flow->id, -result);
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
			tell_reset(id, ECONNRESET);
		if (flow)
			flow_destroy(flow);
	} else if (result == WIRE_LOCAL && flow->state == FLOW_ASKED) {
		struct wire_addr instead;

		wire_get_addr(&r, &instead);
		net_here_connect(flow, r.bad ? NULL : &instead);
	} else if (result < 0) {
		net_connect_lost(flow, result > -512 ? -result : EIO);
	} else {
		finish_remote(flow, &r);
	}
	net_unlock();
}

void net_connect_ask(struct flow *flow)
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

/* Tells the client that a flow is not wanted any more, and forgets it. */
static void abandon(struct flow *flow)
{
	struct linger now = {1, 0};

	if (flow->fd >= 0 && flow->transport != WIRE_TRANSPORT_UDP)
		(void)setsockopt(flow->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	if (flow->id && flow->is_linked)
		tell_reset(flow->id, flow->transport == WIRE_TRANSPORT_UDP ? 0 : ECONNRESET);
	flow_destroy(flow);
}

/* A socket that connects again. False: as if for the first time. */
static bool repeat(struct flow *flow, const struct seccomp_notif *n, const struct net_socket *socket,
		   const struct net_addr *to)
{
	int result;

	if (flow->transport == WIRE_TRANSPORT_UDP) {
		if (flow->state == FLOW_ASKED && !flow->is_unconnected && net_addr_equal(&flow->asked, to)) {
			(void)held_add(&flow->held, n);
			return true;
		}
		if (flow->is_told || flow->is_unconnected || !net_addr_equal(&flow->asked, to)) {
			abandon(flow);
			return false;
		}
	}
	switch (flow->state) {
	case FLOW_ASKED:
		(void)held_add(&flow->held, n);
		return true;
	case FLOW_DIALING:
	case FLOW_MEETING:
		if (socket->is_nonblocking)
			(void)answer_value(n->id, -EALREADY);
		else
			(void)held_add(&flow->held, n);
		return true;
	case FLOW_FAILED:
		/* The kernel's socket forgets its own error and can be connected again. */
		result = flow->is_told ? connect(socket->fd, &to->sa, to->len) : 0;
		(void)result;
		result = flow->error;
		flow_destroy(flow);
		(void)answer_value(n->id, -result);
		return true;
	default:
		break;
	}
	if (!flow->is_told) {
		flow->is_told = true;
		(void)answer_value(n->id, 0);
		return true;
	}
	/* Connected, or it was: the kernel does not look at the address. */
	result = connect(socket->fd, &to->sa, to->len) == 0 ? 0 : -errno;
	(void)answer_value(n->id, result);
	return true;
}

static void start(const struct seccomp_notif *n, struct net_socket *socket, uint8_t transport,
		  const struct net_addr *to)
{
	struct flow *flow = flow_new(0, socket);

	if (!flow) {
		(void)answer_value(n->id, -ENOMEM);
		return;
	}
	flow->transport = transport;
	flow->asked = *to;
	flow->number = (int)n->data.args[0];
	flow->app_fd = socket->fd;
	socket->fd = -1;
	if (held_add(&flow->held, n))
		net_connect_ask(flow);
	else
		flow_destroy(flow);
}

/* AF_UNSPEC: the socket is free again. */
static void dissolve(const struct net_socket *socket)
{
	struct flow *flow;

	net_lock();
	flow = flow_of_inode(socket->inode);
	if (flow)
		abandon(flow);
	net_unlock();
}

static bool is_on_a_device(int fd)
{
	char name[16] = "";
	socklen_t len = sizeof(name);

	return getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &len) == 0 && len > 0 && name[0];
}

/* True: it was answered or is held. */
static bool connect_socket(const struct seccomp_notif *n, struct net_socket *socket,
			   const struct net_addr *to)
{
	uint8_t transport;
	struct flow *flow;

	net_socket_describe(socket);
	transport = socket->inode ? transport_of(socket) : 0;
	if (!transport || (to->sa.sa_family == AF_UNIX) != (socket->domain == AF_UNIX) ||
	    (socket->domain == AF_INET && to->sa.sa_family == AF_INET6) ||
	    (transport == WIRE_TRANSPORT_TCP && to->sa.sa_family != socket->domain) ||
	    (socket->domain != AF_UNIX && is_on_a_device(socket->fd)))
		return false;
	/* What was read may be another process's by now. */
	if (!answer_is_awaited(n->id))
		return true;
	net_lock();
	flow = flow_of_inode(socket->inode);
	if (!flow || !repeat(flow, n, socket, to))
		start(n, socket, transport, to);
	net_unlock();
	return true;
}

void net_connect(const struct seccomp_notif *n)
{
	uint8_t bytes[sizeof(struct sockaddr_storage)] = {0};
	int len = (int)n->data.args[2];
	struct net_socket socket;
	struct net_addr to;
	uint16_t family;
	bool is_done = false;

	if (len < 2 || len > (int)sizeof(bytes) ||
	    tracee_read((pid_t)n->pid, n->data.args[1], bytes, (size_t)len) != 0) {
		(void)answer_continue(n->id);
		return;
	}
	memcpy(&family, bytes, sizeof(family));
	if (family == AF_UNIX && net_here_is_hidden(bytes, (size_t)len)) {
		(void)answer_value(n->id, -ENOENT);
		return;
	}
	if ((family == AF_UNSPEC ? flow_count() == 0 : !net_addr_read(&to, bytes, (size_t)len)) ||
	    (family == AF_UNIX && !(net_features() & WIRE_FEATURE_UNIX)) ||
	    net_socket_take(n, (int)n->data.args[0], &socket) != 0) {
		(void)answer_continue(n->id);
		return;
	}
	if (family == AF_UNSPEC)
		dissolve(&socket);
	else
		is_done = connect_socket(n, &socket, &to);
	if (!is_done)
		(void)answer_continue(n->id);
	if (socket.fd >= 0)
		close(socket.fd);
}
