/* Sending from unconnected sockets (net_send.h). */
#include "net_send.h"

#include <errno.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "answer.h"
#include "in_datagram.h"
#include "link.h"
#include "net.h"
#include "net_ask.h"
#include "net_datagram.h"
#include "net_flow.h"
#include "net_message.h"
#include "net_peer.h"
#include "tracee.h"
#include "unreadable.h"

#define DATAGRAM_MAX 65507

/* Not an errno: the kernel shall do it; the call is held. */
enum { SEND_NATIVE = -5000, SEND_HELD = -5001 };

static struct net_message message; /* under the lock */
static uint8_t data[DATAGRAM_MAX + 1];

/* So that answers find it: as the kernel would bind it at its first datagram. */
static int bind_app(struct flow *flow, int fd)
{
	struct net_addr any = {.len = 0};

	flow->here = net_socket_name(fd);
	if (net_addr_port(&flow->here))
		return 0;
	any.sa.sa_family = (sa_family_t)flow->domain;
	any.len = flow->domain == AF_INET6 ? sizeof(any.in6) : sizeof(any.in);
	if (bind(fd, &any.sa, any.len) != 0)
		return -errno;
	flow->here = net_socket_name(fd);
	return 0;
}

/* UDP_SEGMENT, of the message or else of its socket: the data is several datagrams of that size; 0: it is one. */
static size_t segment_size(const struct net_message *m, int fd)
{
	uint8_t control[256];
	struct msghdr head = {.msg_control = control, .msg_controllen = m->control_len};
	int of_socket = net_socket_option(fd, IPPROTO_UDP, UDP_SEGMENT);
	uint16_t size = of_socket > 0 ? (uint16_t)of_socket : 0;

	if (m->control_len == 0 || m->control_len > sizeof(control) ||
	    tracee_read(m->tid, m->control_at, control, m->control_len) != 0)
		return size;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&head); c; c = CMSG_NXTHDR(&head, c)) {
		if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_SEGMENT &&
		    c->cmsg_len >= CMSG_LEN(sizeof(size)))
			memcpy(&size, CMSG_DATA(c), sizeof(size));
	}
	return size;
}

static int64_t send_remote(struct flow *flow, const struct net_addr *to, int fd, const struct seccomp_notif *n)
{
	size_t segment = segment_size(&message, fd), at = 0;
	ssize_t len = net_message_gather(&message, data, sizeof(data));

	if (len < 0 || len > DATAGRAM_MAX)
		return len < 0 ? len : -EMSGSIZE;
	if (!answer_is_awaited(n->id))
		return SEND_HELD;
	flow->since_ms = net_now_ms();
	do {
		size_t part = (size_t)len - at;

		if (segment && part > segment)
			part = segment;
		/* A client that cannot keep up loses datagrams, as any network does. */
		if (link_has_room())
			net_datagram_tell(flow, to, data + at, part);
		at += part;
	} while (at < (size_t)len);
	return len;
}

static int64_t send_here(const struct net_peer *peer, int fd, bool is_alone)
{
	const struct net_addr *to = peer->here.len ? &peer->here : &peer->asked;
	ssize_t len;

	if (is_alone && !peer->here.len)
		return SEND_NATIVE;
	len = net_message_gather(&message, data, sizeof(data));
	if (len < 0)
		return len;
	len = sendto(fd, data, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL, &to->sa, to->len);
	return len < 0 ? -errno : len;
}

/* An answer to a mirrored peer, who has one of the target's already. */
static int64_t throw_away(void)
{
	ssize_t len = net_message_gather(&message, data, sizeof(data));

	return len > DATAGRAM_MAX ? -EMSGSIZE : len;
}

static int64_t send_as_it_is(const struct net_addr *to, int fd)
{
	ssize_t len = net_message_gather(&message, data, sizeof(data));

	if (len >= 0)
		len = sendto(fd, data, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL, &to->sa, to->len);
	else
		return len;
	return len < 0 ? -errno : len;
}

static int64_t send_one(const struct seccomp_notif *n, const struct net_socket *socket, bool is_alone)
{
	struct net_addr to;
	struct net_peer *peer;
	struct flow *flow;
	int failed;

	if (!net_message_name(&message, &to) || to.sa.sa_family == AF_UNIX ||
	    (socket->domain == AF_INET && to.sa.sa_family != AF_INET))
		return is_alone ? SEND_NATIVE : -EINVAL;
	if (in_datagram_peer(socket->inode, &to))
		return throw_away();
	if (!(net_features() & WIRE_FEATURE_NETWORK))
		return is_alone ? SEND_NATIVE : send_as_it_is(&to, socket->fd);
	flow = flow_of_inode(socket->inode);
	if (flow && !flow->is_unconnected) {
		if (!net_addr_equal(&flow->asked, &to))
			return -EISCONN;
		return flow->id ? send_remote(flow, NULL, socket->fd, n) : -ECONNREFUSED;
	}
	if (!flow) {
		flow = flow_new(0, socket);
		if (!flow)
			return -ENOMEM;
		flow_set_unconnected(flow);
		flow->transport = WIRE_TRANSPORT_UDP;
		flow->number = (int)n->data.args[0];
	}
	if (flow->state == FLOW_ASKED || !flow->id) {
		if (held_add(&flow->held, n) && !flow->id)
			net_ask_open(flow);
		return SEND_HELD;
	}
	peer = net_peer_find(flow, &to);
	if (!peer)
		peer = net_peer_add(flow, &to);
	if (!peer)
		return -ENOMEM;
	if (!peer->is_known) {
		net_ask_peer(flow, peer, n);
		return SEND_HELD;
	}
	if (peer->error)
		return -peer->error;
	if (peer->is_local)
		return send_here(peer, socket->fd, is_alone);
	failed = bind_app(flow, socket->fd);
	if (!failed && peer->fd < 0) {
		peer->fd = net_peer_socket(&flow->here, &peer->here);
		if (peer->fd < 0)
			peer->here.len = 0;
	}
	return failed ? failed : send_remote(flow, &to, socket->fd, n);
}

/* All messages of the call, or those before the first that has to wait or fails. */
static int64_t send_all(const struct seccomp_notif *n, const struct net_socket *socket)
{
	unsigned int count = net_message_count(n), sent = 0;
	bool is_many = n->data.nr == SYS_sendmmsg;
	int64_t result = 0;
	uint32_t len;

	while (sent < count) {
		int failed = net_message_read(n, sent, &message);

		result = failed ? failed : send_one(n, socket, count == 1 || !is_many);
		if (result < 0)
			break;
		if (!is_many)
			return result;
		len = (uint32_t)result;
		(void)tracee_write((pid_t)n->pid, message.length_at, &len, sizeof(len));
		sent++;
	}
	/* A held call would be sent twice if some of it were gone already. */
	return sent ? (int64_t)sent : result;
}

static bool is_datagram(struct net_socket *socket)
{
	net_socket_describe(socket);
	return socket->inode && (socket->domain == AF_INET || socket->domain == AF_INET6) &&
	       socket->type == SOCK_DGRAM && socket->protocol == IPPROTO_UDP;
}

static int flags_of(const struct seccomp_notif *n)
{
	return (int)n->data.args[n->data.nr == SYS_sendmsg ? 2 : 3];
}

/* Without an address it goes where the socket is connected to, which is no business of ours. */
static bool has_name(const struct seccomp_notif *n)
{
	struct msghdr head;
	int failed;

	if (n->data.nr == SYS_sendto)
		return true;
	failed = tracee_read((pid_t)n->pid, n->data.args[1], &head, sizeof(head));
	unreadable_tell((pid_t)n->pid, failed);
	return !failed && head.msg_name;
}

void net_send(const struct seccomp_notif *n)
{
	struct net_socket socket;
	int64_t result = SEND_NATIVE;
	int failed;

	if (!has_name(n)) {
		(void)answer_continue(n->id);
		return;
	}
	failed = net_socket_take(n, (int)n->data.args[0], &socket);
	if (failed) {
		net_socket_missing(n, failed);
		return;
	}
	if (is_datagram(&socket)) {
		net_lock();
		/* One that the app itself connected to a local peer is not ours. */
		if ((net_features() & WIRE_FEATURE_NETWORK || in_datagram_is(socket.inode)) &&
		    (flow_of_inode(socket.inode) || net_socket_peer(socket.fd).len == 0))
			result = send_all(n, &socket);
		net_unlock();
	} else if (net_features() & WIRE_FEATURE_NETWORK && socket.type == SOCK_STREAM && flags_of(n) & MSG_FASTOPEN) {
		result = -EOPNOTSUPP;
	}
	close(socket.fd);
	if (result == SEND_NATIVE)
		(void)answer_continue(n->id);
	else if (result != SEND_HELD)
		(void)answer_value(n->id, result);
}
