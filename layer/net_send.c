/* Sending from unconnected sockets (net_send.h). */
#include "net_send.h"

#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "answer.h"
#include "link.h"
#include "net_datagram.h"
#include "net_flow.h"
#include "net_loop.h"
#include "net_message.h"
#include "net_peer.h"
#include "tracee.h"

#define DATAGRAM_MAX 65507

/* Not an errno: the kernel shall do it; the call is held. */
enum { SEND_NATIVE = -5000, SEND_HELD = -5001 };

static struct net_message message; /* under the lock */
static uint8_t data[DATAGRAM_MAX + 1];

static void open_done(void *arg, int32_t result, const uint8_t *body, size_t len)
{
	uint8_t none[4] = {0};
	struct flow *flow;

	(void)len;
	if (!body) {
		net_loop_wake();
		return;
	}
	net_lock();
	flow = flow_of_id((uintptr_t)arg);
	if (!flow) {
		if (result == 0)
			link_tell(WIRE_FLOW_RESET, (uintptr_t)arg, none, sizeof(none));
	} else if (result != 0) {
		(void)held_answer(held_take(&flow->held), result > -512 ? result : -EIO, result == WIRE_LOCAL);
		flow_destroy(flow);
	} else {
		flow->is_linked = true;
		flow_set_state(flow, FLOW_OPEN);
		held_retry(held_take(&flow->held));
	}
	net_unlock();
}

static void open_flow(struct flow *flow)
{
	uint8_t body[8];
	struct wire_writer w = {body, body + sizeof(body), 0};
	uint64_t id = link_reserve();

	flow_set_state(flow, FLOW_ASKED);
	flow_set_id(flow, id);
	flow->is_linked = false;
	wire_put_u32(&w, (uint32_t)flow->process);
	wire_put_u8(&w, (uint8_t)flow->domain);
	link_request_as(id, WIRE_UDP_OPEN, body, (size_t)(w.at - body), open_done, (void *)(uintptr_t)id);
	if (flow_count() == 1)
		net_loop_wake();
}

struct question {
	uint64_t inode;
	struct net_addr asked;
};

static void peer_done(void *arg, int32_t result, const uint8_t *body, size_t len)
{
	struct question *question = arg;
	struct wire_reader r = {body, body + len, 0};
	struct wire_addr instead;
	struct flow *flow;
	struct net_peer *peer;

	if (!body) {
		free(question);
		net_loop_wake();
		return;
	}
	net_lock();
	flow = flow_of_inode(question->inode);
	peer = flow ? net_peer_find(flow, &question->asked) : NULL;
	if (peer) {
		peer->is_known = true;
		peer->is_local = result == WIRE_LOCAL;
		if (peer->is_local) {
			wire_get_addr(&r, &instead);
			net_addr_from_wire(&peer->here, &instead);
			net_addr_as(&peer->here, flow->domain);
			if (!instead.family)
				peer->here.len = 0;
		} else if (result < 0) {
			peer->error = result > -512 ? -result : EIO;
		}
		held_retry(held_take(&peer->held));
	}
	net_unlock();
	free(question);
}

static int ask_peer(struct flow *flow, struct net_peer *peer, const struct seccomp_notif *n)
{
	uint8_t body[8 + WIRE_ADDR_BYTES];
	struct wire_writer w = {body, body + sizeof(body), 0};
	struct question *question;
	struct wire_addr addr;
	bool is_asked = peer->held != NULL;

	if (!held_add(&peer->held, n) || is_asked)
		return SEND_HELD;
	question = malloc(sizeof(*question));
	if (!question) {
		(void)held_answer(held_take(&peer->held), -ENOMEM, false);
		return SEND_HELD;
	}
	*question = (struct question){flow->inode, peer->asked};
	net_addr_to_wire(&addr, &peer->asked);
	wire_put_u64(&w, flow->id);
	wire_put_addr(&w, &addr);
	link_request(WIRE_UDP_PEER, body, (size_t)(w.at - body), NULL, 0, peer_done, question);
	return SEND_HELD;
}

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

/* UDP_SEGMENT: the data is several datagrams of that size; 0: it is one. */
static size_t segment_size(const struct net_message *m)
{
	uint8_t control[256];
	struct msghdr head = {.msg_control = control, .msg_controllen = m->control_len};
	uint16_t size = 0;

	if (m->control_len == 0 || m->control_len > sizeof(control) ||
	    tracee_read(m->tid, m->control_at, control, m->control_len) != 0)
		return 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&head); c; c = CMSG_NXTHDR(&head, c)) {
		if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_SEGMENT &&
		    c->cmsg_len >= CMSG_LEN(sizeof(size)))
			memcpy(&size, CMSG_DATA(c), sizeof(size));
	}
	return size;
}

static int64_t send_remote(struct flow *flow, const struct net_addr *to, const struct seccomp_notif *n)
{
	size_t segment = segment_size(&message), at = 0;
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

static int64_t send_one(const struct seccomp_notif *n, const struct net_socket *socket, bool is_alone)
{
	struct net_addr to;
	struct net_peer *peer;
	struct flow *flow;
	int failed;

	if (!net_message_name(&message, &to) || to.sa.sa_family == AF_UNIX ||
	    (socket->domain == AF_INET && to.sa.sa_family != AF_INET))
		return is_alone ? SEND_NATIVE : -EINVAL;
	flow = flow_of_inode(socket->inode);
	if (flow && !flow->is_unconnected) {
		if (!net_addr_equal(&flow->asked, &to))
			return -EISCONN;
		return flow->id ? send_remote(flow, NULL, n) : -ECONNREFUSED;
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
			open_flow(flow);
		return SEND_HELD;
	}
	peer = net_peer_find(flow, &to);
	if (!peer)
		peer = net_peer_add(flow, &to);
	if (!peer || !peer->is_known)
		return peer ? ask_peer(flow, peer, n) : -ENOMEM;
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
	return failed ? failed : send_remote(flow, &to, n);
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

	if (n->data.nr == SYS_sendto)
		return true;
	return tracee_read((pid_t)n->pid, n->data.args[1], &head, sizeof(head)) == 0 && head.msg_name;
}

void net_send(const struct seccomp_notif *n)
{
	struct net_socket socket;
	int64_t result = SEND_NATIVE;

	if (!has_name(n) || net_socket_take(n, (int)n->data.args[0], &socket) != 0) {
		(void)answer_continue(n->id);
		return;
	}
	if (is_datagram(&socket)) {
		net_lock();
		/* One that the app itself connected to a local peer is not ours. */
		if (flow_of_inode(socket.inode) || net_socket_peer(socket.fd).len == 0)
			result = send_all(n, &socket);
		net_unlock();
	} else if (socket.type == SOCK_STREAM && flags_of(n) & MSG_FASTOPEN) {
		result = -EOPNOTSUPP;
	}
	close(socket.fd);
	if (result == SEND_NATIVE)
		(void)answer_continue(n->id);
	else if (result != SEND_HELD)
		(void)answer_value(n->id, result);
}
