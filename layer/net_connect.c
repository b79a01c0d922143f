/* connect(2) (net_connect.h). */
#include "net_connect.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "answer.h"
#include "in_datagram.h"
#include "net.h"
#include "net_dial.h"
#include "net_flow.h"
#include "net_here.h"
#include "tracee.h"
#include "unreadable.h"
#include "wire.h"

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

/* Tells the client that a flow is not wanted any more, and forgets it. */
static void abandon(struct flow *flow)
{
	struct linger now = {1, 0};

	if (flow->fd >= 0 && flow->transport != WIRE_TRANSPORT_UDP)
		(void)setsockopt(flow->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	if (flow->id && flow->is_linked)
		net_dial_tell_reset(flow->id, flow->transport == WIRE_TRANSPORT_UDP ? 0 : ECONNRESET);
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
	/* Connected, or it was: the kernel does not look at the address, but for a path, which would be one of this machine. */
	if (flow->domain == AF_UNIX)
		result = -EISCONN;
	else
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
		net_dial_ask(flow);
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

/* What it says to a peer of the target ends at the client, and only what comes from that peer reaches it. */
static bool connect_to_mirrored(const struct seccomp_notif *n, const struct net_socket *socket, const struct net_addr *to)
{
	const struct net_addr *source;
	struct net_addr at;

	net_lock();
	source = in_datagram_peer(socket->inode, to);
	if (source) {
		at = *source;
		net_addr_as(&at, socket->domain);
		(void)answer_value(n->id, connect(socket->fd, &at.sa, at.len) == 0 ? 0 : -errno);
	}
	net_unlock();
	return source != NULL;
}

/* True: it was answered or is held. */
static bool connect_socket(const struct seccomp_notif *n, struct net_socket *socket,
			   const struct net_addr *to)
{
	uint8_t transport;
	struct flow *flow;

	net_socket_describe(socket);
	if (socket->inode && socket->type == SOCK_DGRAM && socket->protocol == IPPROTO_UDP &&
	    connect_to_mirrored(n, socket, to))
		return true;
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
	int failed;

	failed = len < 2 || len > (int)sizeof(bytes) ? -EINVAL
						      : tracee_read((pid_t)n->pid, n->data.args[1], bytes, (size_t)len);
	if (failed) {
		unreadable_tell((pid_t)n->pid, failed);
		(void)answer_continue(n->id);
		return;
	}
	memcpy(&family, bytes, sizeof(family));
	if (family == AF_UNIX && net_here_is_hidden(bytes, (size_t)len)) {
		(void)answer_value(n->id, -ENOENT);
		return;
	}
	if ((family == AF_UNSPEC ? flow_count() == 0 : !net_addr_read(&to, bytes, (size_t)len)) ||
	    (family == AF_UNIX && !(net_features() & WIRE_FEATURE_UNIX))) {
		(void)answer_continue(n->id);
		return;
	}
	failed = net_socket_take(n, (int)n->data.args[0], &socket);
	if (failed) {
		net_socket_missing(n, failed);
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
