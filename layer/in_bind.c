/*
 * bind(2) of sockets that may listen, or hear datagrams (in.h). The client says where the socket shall be bound if not where
 * the process wants it; what this machine refuses (a port below 1024, one that another program has, an address of the pod)
 * is bound nearby, and getsockname goes on telling what was asked for. Of two sockets of the session the second gets its EADDRINUSE.
 */
#include "in.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "answer.h"
#include "in_table.h"
#include "link.h"
#include "net_loop.h"
#include "tracee.h"

/* A connection to an address of this family could be for it. */
static bool hears(const struct in_listener *listener, int family)
{
	struct net_addr plain = listener->asked;

	net_addr_as(&plain, AF_INET);
	return plain.sa.sa_family == family ||
	       (family == AF_INET && net_addr_is_any(&plain) && !listener->is_v6_only);
}

/* As the kernel has it: a connection could be for either. */
static bool do_overlap(const struct in_listener *a, const struct in_listener *b)
{
	if (!(hears(a, AF_INET) && hears(b, AF_INET)) && !(hears(a, AF_INET6) && hears(b, AF_INET6)))
		return false;
	return net_addr_is_any(&a->asked) || net_addr_is_any(&b->asked) || net_addr_equal(&a->asked, &b->asked);
}

/* A socket of the session that has the same port, where the process asked for it. */
static struct in_listener *holder_of(const struct in_listener *mine)
{
	struct in_listener *next;

	for (struct in_listener *other = in_listener_first(); other; other = next) {
		next = other->next;
		if (other == mine || !other->is_bound || other->is_datagram != mine->is_datagram ||
		    net_addr_port(&other->asked) != net_addr_port(&mine->asked) || !do_overlap(other, mine))
			continue;
		if (in_listener_is_alive(other))
			return other;
	}
	return NULL;
}

static int try_bind(const struct in_listener *listener, struct net_addr to)
{
	net_addr_as(&to, listener->domain);
	return bind(listener->fd, &to.sa, to.len) == 0 ? 0 : -errno;
}

static struct net_addr with_port(struct net_addr addr, uint16_t port)
{
	addr.in.sin_port = htons(port); /* at the same place in both families */
	return addr;
}

static bool is_refusal_of_this_machine(int failed)
{
	return failed == -EACCES || failed == -EADDRINUSE || failed == -EADDRNOTAVAIL;
}

/* Near to where it was asked for. */
static int bind_nearby(const struct in_listener *listener, int failed)
{
	const struct net_addr *asked = &listener->asked;
	struct net_addr plain = *asked;

	if (failed != -EADDRNOTAVAIL)
		return try_bind(listener, with_port(*asked, 0));
	net_addr_as(&plain, AF_INET);
	plain = net_addr_loopback(plain.sa.sa_family, net_addr_port(asked));
	failed = try_bind(listener, plain);
	return is_refusal_of_this_machine(failed) ? try_bind(listener, with_port(plain, 0)) : failed;
}

/* Both share their port. Where the other one has it the kernel knows who else does. */
static int bind_beside(const struct in_listener *listener, const struct in_listener *holder)
{
	if (!holder->is_moved)
		return try_bind(listener, listener->asked);
	if (holder->domain == listener->domain && net_addr_equal(&holder->asked, &listener->asked))
		return try_bind(listener, holder->actual);
	return try_bind(listener, with_port(listener->asked, net_addr_port(&holder->actual)));
}

static int bind_somewhere(struct in_listener *listener, const struct net_addr *instead)
{
	const struct in_listener *holder;
	bool shares;
	int failed;

	/* A call that died in accept may be all that keeps a port. */
	in_accept_look(net_now_ms());
	holder = holder_of(listener);
	shares = holder && holder->shares_port && listener->shares_port;
	if (holder && !shares && (holder->is_listening || holder->is_moved))
		return -EADDRINUSE;
	if (instead)
		return try_bind(listener, *instead);
	if (shares)
		return bind_beside(listener, holder);
	failed = try_bind(listener, listener->asked);
	if (!is_refusal_of_this_machine(failed))
		return failed;
	if (failed == -EADDRINUSE && holder)
		return failed;
	return bind_nearby(listener, failed);
}

static void finish(struct in_listener *listener, int failed)
{
	bool is_delivered;

	if (!failed) {
		listener->actual = net_socket_name(listener->fd);
		listener->is_bound = true;
		listener->is_moved = !net_addr_equal(&listener->actual, &listener->asked);
	}
	if (!failed && listener->is_datagram) {
		in_listen_ask(listener);
		return;
	}
	listener->is_asked = false;
	listener->error = -failed;
	close(listener->fd);
	listener->fd = -1;
	is_delivered = held_answer(held_take(&listener->held), failed, false);
	listener->is_told = is_delivered;
	if (failed && is_delivered)
		in_listener_destroy(listener);
}

static void bind_done(void *arg, int32_t result, const uint8_t *body, size_t len)
{
	struct wire_reader r = {body, body + len, 0};
	struct net_addr instead = {.len = 0};
	struct in_listener *listener;
	struct wire_addr wire;

	if (!body) {
		net_loop_wake();
		return;
	}
	net_lock();
	listener = in_listener_find((uintptr_t)arg);
	if (listener && result == WIRE_LOCAL) {
		(void)held_answer(held_take(&listener->held), 0, true);
		in_listener_destroy(listener);
	} else if (listener && result < 0) {
		finish(listener, result > -512 ? result : -EACCES);
	} else if (listener) {
		wire_get_addr(&r, &wire);
		net_addr_from_wire(&instead, &wire);
		finish(listener, bind_somewhere(listener, !r.bad && wire.family ? &instead : NULL));
	}
	net_unlock();
}

static void ask(struct in_listener *listener)
{
	uint8_t body[8 + WIRE_ADDR_BYTES];
	struct wire_writer w = {body, body + sizeof(body), 0};
	struct wire_addr addr;

	net_addr_to_wire(&addr, &listener->asked);
	wire_put_u32(&w, (uint32_t)listener->process);
	wire_put_u8(&w, listener->is_datagram ? WIRE_TRANSPORT_UDP : WIRE_TRANSPORT_TCP);
	wire_put_addr(&w, &addr);
	listener->is_asked = true;
	link_request(WIRE_BIND, body, (size_t)(w.at - body), NULL, 0, bind_done, (void *)(uintptr_t)listener->inode);
}

/* The call is repeated because a signal came between. False: it is the first of its socket. */
static bool repeat(struct in_listener *listener, const struct seccomp_notif *n, const struct net_addr *asked)
{
	if (listener->is_asked && (!listener->is_bound || listener->is_datagram))
		return held_add(&listener->held, n);
	if (listener->is_told || !net_addr_equal(&listener->asked, asked))
		return false;
	(void)answer_value(n->id, -listener->error);
	listener->is_told = true;
	if (listener->error)
		in_listener_destroy(listener);
	return true;
}

/* True: it was answered or is held. */
static bool bind_socket(const struct seccomp_notif *n, struct net_socket *socket, const struct net_addr *asked)
{
	struct in_listener *listener = in_listener_find(socket->inode);
	struct net_addr name = net_socket_name(socket->fd);
	bool is_v6_only = socket->domain == AF_INET6 && net_socket_option(socket->fd, IPPROTO_IPV6, IPV6_V6ONLY) != 0;

	if (listener && repeat(listener, n, asked))
		return true;
	/* Bound already, or of another family: the kernel has the errno. */
	if (net_addr_port(&name) || (socket->domain == AF_INET && asked->sa.sa_family != AF_INET) ||
	    (socket->domain == AF_INET6 && asked->sa.sa_family != AF_INET6) || (is_v6_only && net_addr_is_mapped(asked)))
		return false;
	if (listener)
		in_listener_destroy(listener);
	listener = in_listener_new(socket, (int)n->data.args[0], asked);
	if (!listener)
		return false;
	listener->is_datagram = socket->type == SOCK_DGRAM;
	listener->is_v6_only = is_v6_only;
	listener->shares_port = net_socket_option(socket->fd, SOL_SOCKET, SO_REUSEPORT) != 0 ||
				(listener->is_datagram && net_socket_option(socket->fd, SOL_SOCKET, SO_REUSEADDR) != 0);
	listener->fd = socket->fd;
	socket->fd = -1;
	if (held_add(&listener->held, n))
		ask(listener);
	else
		in_listener_destroy(listener);
	return true;
}

void in_bind(const struct seccomp_notif *n)
{
	uint8_t bytes[sizeof(struct sockaddr_storage)] = {0};
	int len = (int)n->data.args[2];
	struct net_socket socket;
	struct net_addr asked;
	bool is_done = false;
	int failed;

	if (!link_is_alive() || len < 2 || len > (int)sizeof(bytes) ||
	    tracee_read((pid_t)n->pid, n->data.args[1], bytes, (size_t)len) != 0 ||
	    !net_addr_read(&asked, bytes, (size_t)len) || asked.sa.sa_family == AF_UNIX || net_addr_port(&asked) == 0) {
		(void)answer_continue(n->id);
		return;
	}
	failed = net_socket_take(n, (int)n->data.args[0], &socket);
	if (failed) {
		net_socket_missing(n, failed);
		return;
	}
	net_socket_describe(&socket);
	if (socket.inode && ((socket.type == SOCK_STREAM && socket.protocol == IPPROTO_TCP) ||
			     (socket.type == SOCK_DGRAM && socket.protocol == IPPROTO_UDP))) {
		net_lock();
		is_done = !answer_is_awaited(n->id) || bind_socket(n, &socket, &asked);
		net_unlock();
	}
	if (!is_done)
		(void)answer_continue(n->id);
	if (socket.fd >= 0)
		close(socket.fd);
}
