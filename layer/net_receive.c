/* Receiving with a source address (net_receive.h). */
#include "net_receive.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "answer.h"
#include "in_datagram.h"
#include "net.h"
#include "net_flow.h"
#include "net_loop.h"
#include "net_message.h"
#include "net_peer.h"
#include "shared.h"
#include "tracee.h"

#define DATAGRAM_BYTES 65536u

/* A blocking call that waits for a datagram. */
struct parked {
	struct parked *next;
	uint64_t key;
	int64_t deadline_ms; /* 0: none */
	struct seccomp_notif n;
	int fd;
};

static struct parked *all;
static unsigned int count;
static uint64_t last_key;
static struct net_message message;
static uint8_t data[DATAGRAM_BYTES];

/* -errno, or what the call returns. */
static int64_t receive_one(const struct flow *flow, int fd, int flags)
{
	uint8_t control[NET_CONTROL_MAX];
	struct net_addr from = {.len = 0};
	struct iovec part = {data, message.room < sizeof(data) ? message.room : sizeof(data)};
	struct msghdr head = {.msg_name = &from.un,
			      .msg_namelen = sizeof(from.un),
			      .msg_iov = &part,
			      .msg_iovlen = 1,
			      .msg_control = message.control_len ? control : NULL};
	struct net_received received = {.data = data, .control = control};
	const struct net_addr *shown;
	ssize_t n;
	int failed;

	head.msg_controllen = message.control_len < sizeof(control) ? message.control_len : sizeof(control);
	n = recvmsg(fd, &head, flags | MSG_DONTWAIT);
	if (n < 0)
		return -errno;
	from.len = head.msg_namelen;
	shown = flow && from.len && !(flags & MSG_ERRQUEUE) ? net_peer_source(flow, &from) : NULL;
	if (!shown && from.len && !(flags & MSG_ERRQUEUE))
		shown = in_datagram_source(&from);
	if (shown) {
		int domain = from.sa.sa_family;

		from = *shown;
		net_addr_as(&from, domain);
	}
	received.name = &from;
	received.value = (size_t)n;
	received.len = (size_t)n < part.iov_len ? (size_t)n : part.iov_len;
	received.control_len = head.msg_control ? head.msg_controllen : 0;
	received.flags = head.msg_flags & ~MSG_CMSG_CLOEXEC;
	failed = net_message_scatter(&message, &received);
	return failed ? failed : n;
}

static int flags_of(const struct seccomp_notif *n)
{
	int flags = (int)n->data.args[n->data.nr == SYS_recvmsg ? 2 : 3];

	return flags & ~(MSG_WAITFORONE | MSG_CMSG_CLOEXEC);
}

/* All that is there. -EAGAIN: nothing. */
static int64_t receive(const struct seccomp_notif *n, const struct flow *flow, int fd)
{
	unsigned int wanted = net_message_count(n), got = 0;
	int64_t result = 0;

	while (got < wanted) {
		int failed = net_message_read(n, got, &message);

		result = failed ? failed : receive_one(flow, fd, flags_of(n));
		if (result < 0)
			break;
		if (n->data.nr != SYS_recvmmsg)
			return result;
		got++;
	}
	return got ? (int64_t)got : result;
}

static void drop(struct parked **at)
{
	struct parked *parked = *at;

	*at = parked->next;
	shared_forget(parked->n.id);
	net_loop_unwatch(parked->fd);
	close(parked->fd);
	free(parked);
	__atomic_sub_fetch(&count, 1, __ATOMIC_RELAXED);
}

/* Takes fd. */
static void park(const struct seccomp_notif *n, int fd)
{
	struct parked *parked = calloc(1, sizeof(*parked));
	int64_t limit_ms = net_socket_timeout_ms(fd, SO_RCVTIMEO);

	if (!parked) {
		close(fd);
		(void)answer_value(n->id, -ENOMEM);
		return;
	}
	parked->n = *n;
	parked->fd = fd;
	parked->key = ++last_key;
	parked->deadline_ms = limit_ms ? net_now_ms() + limit_ms : 0;
	parked->next = all;
	all = parked;
	shared_remember(n->id);
	(void)net_loop_watch(fd, LOOP_PARKED, parked->key, EPOLLIN);
	/* The first one starts the looks; one with a time limit makes them frequent. */
	if (__atomic_add_fetch(&count, 1, __ATOMIC_RELAXED) == 1 || limit_ms)
		net_loop_hurry();
}

void net_receive_ready(uint64_t key)
{
	struct parked **at = &all;
	struct net_socket socket;
	int64_t result;

	while (*at && (*at)->key != key)
		at = &(*at)->next;
	if (!*at)
		return;
	if (!answer_is_awaited((*at)->n.id)) {
		drop(at);
		return;
	}
	/* The number may be another socket's by now: the descriptor that waits is the one. */
	socket = (struct net_socket){.fd = (*at)->fd};
	net_socket_identify(&socket);
	result = receive(&(*at)->n, flow_of_inode(socket.inode), (*at)->fd);
	if (result == -EAGAIN)
		return;
	(void)answer_value((*at)->n.id, result);
	drop(at);
}

void net_receive_look(int64_t now_ms)
{
	struct parked **at = &all;

	while (*at) {
		if (!answer_is_awaited((*at)->n.id)) {
			drop(at);
		} else if ((*at)->deadline_ms && (*at)->deadline_ms <= now_ms) {
			(void)answer_value((*at)->n.id, -EAGAIN);
			drop(at);
		} else {
			at = &(*at)->next;
		}
	}
}

unsigned int net_receive_count(void)
{
	return __atomic_load_n(&count, __ATOMIC_RELAXED);
}

int64_t net_receive_due_ms(void)
{
	int64_t due = INT64_MAX;

	for (const struct parked *parked = all; parked; parked = parked->next) {
		if (parked->deadline_ms && parked->deadline_ms < due)
			due = parked->deadline_ms;
	}
	return due;
}

/* False: the kernel shall do it. Takes socket->fd when it parks. */
static bool receive_here(const struct seccomp_notif *n, struct net_socket *socket)
{
	const struct flow *flow = flow_of_inode(socket->inode);
	bool waits = !socket->is_nonblocking && !(flags_of(n) & (MSG_DONTWAIT | MSG_ERRQUEUE));
	int64_t result;

	if (!flow && !in_datagram_is(socket->inode) && !(net_features() & WIRE_FEATURE_NETWORK))
		return false;
	/* A blocking call may still be waiting when the first datagram is sent elsewhere: it must be ours from the start. */
	if (!in_datagram_is(socket->inode) && (flow ? flow->is_unconnected && !net_peer_is_any_remote(flow) && !waits
						    : !waits || net_socket_peer(socket->fd).len))
		return false;
	if (!answer_is_awaited(n->id))
		return true;
	result = receive(n, flow, socket->fd);
	if (result == -EAGAIN && waits) {
		park(n, socket->fd);
		socket->fd = -1;
	} else {
		(void)answer_value(n->id, result);
	}
	return true;
}

/* Whether it asks for a source; else no flow of ours shows in it. */
static bool has_name(const struct seccomp_notif *n)
{
	struct msghdr head;

	if (n->data.nr == SYS_recvfrom)
		return true;
	return tracee_read((pid_t)n->pid, n->data.args[1], &head, sizeof(head)) == 0 && head.msg_name;
}

void net_receive(const struct seccomp_notif *n)
{
	struct net_socket socket;
	bool is_done = false;

	if (!has_name(n) || net_socket_take(n, (int)n->data.args[0], &socket) != 0) {
		(void)answer_continue(n->id);
		return;
	}
	net_socket_describe(&socket);
	if (socket.inode && (socket.domain == AF_INET || socket.domain == AF_INET6) &&
	    socket.type == SOCK_DGRAM && socket.protocol == IPPROTO_UDP) {
		net_lock();
		is_done = receive_here(n, &socket);
		net_unlock();
	}
	if (socket.fd >= 0)
		close(socket.fd);
	if (!is_done)
		(void)answer_continue(n->id);
}
