/*
 * listen(2) (in.h): the kernel listens, then the client is told and the process waits until connections are on their way.
 * Nobody is told when a socket is closed, so the kernel is asked from time to time which of them still listen.
 */
#include "in.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "answer.h"
#include "in_diag.h"
#include "in_table.h"
#include "link.h"
#include "net_diag.h"
#include "net_loop.h"

#define LOOK_MS 250
/* A connection that was accepted for a call that was interrupted, and that nobody has fetched. */
#define READY_MS 5000
/* Bound and not listening: its descriptor may have moved to another number or process. */
#define BOUND_MS 60000

static void answer_listen(struct in_listener *listener, int32_t result)
{
	bool is_refused = result < 0 && result > -512 && !listener->is_datagram;
	bool is_delivered;

	listener->is_asked = false;
	if (is_refused)
		(void)shutdown(listener->fd, SHUT_RD);
	close(listener->fd);
	listener->fd = -1;
	listener->is_listening = result == 0;
	is_delivered = held_answer(held_take(&listener->held), is_refused ? result : 0, false);
	if (listener->is_datagram)
		listener->is_told = is_delivered;
}

static void listen_done(void *arg, int32_t result, const uint8_t *body, size_t len)
{
	struct in_listener *listener;

	(void)len;
	if (!body) {
		net_loop_wake();
		return;
	}
	net_lock();
	listener = in_listener_find((uintptr_t)arg);
	if (listener)
		answer_listen(listener, result);
	net_unlock();
}

void in_listen_ask(struct in_listener *listener)
{
	uint8_t body[16 + 2 * WIRE_ADDR_BYTES];
	struct wire_writer w = {body, body + sizeof(body), 0};
	struct wire_addr addr;

	wire_put_u32(&w, (uint32_t)listener->process);
	wire_put_u64(&w, listener->inode);
	wire_put_u8(&w, listener->is_datagram ? WIRE_TRANSPORT_UDP : WIRE_TRANSPORT_TCP);
	wire_put_u8(&w, listener->is_v6_only);
	net_addr_to_wire(&addr, &listener->asked);
	wire_put_addr(&w, &addr);
	net_addr_to_wire(&addr, &listener->actual);
	wire_put_addr(&w, &addr);
	listener->is_asked = true;
	link_request(WIRE_LISTEN, body, (size_t)(w.at - body), NULL, 0, listen_done,
		     (void *)(uintptr_t)listener->inode);
	net_loop_hurry();
}

/* Takes socket->fd when it asks. */
static void listen_socket(const struct seccomp_notif *n, struct net_socket *socket, struct in_listener *listener)
{
	int failed = listen(socket->fd, (int)n->data.args[1]) == 0 ? 0 : -errno;

	if (failed || listener->is_listening) {
		(void)answer_value(n->id, failed);
		return;
	}
	if (!held_add(&listener->held, n) || listener->is_asked)
		return;
	listener->fd = socket->fd;
	socket->fd = -1;
	in_listen_ask(listener);
}

void in_listen(const struct seccomp_notif *n)
{
	struct in_listener *listener = NULL;
	struct net_socket socket;
	int failed;

	if (in_table_is_empty() || !link_is_alive()) {
		(void)answer_continue(n->id);
		return;
	}
	failed = net_socket_take(n, (int)n->data.args[0], &socket);
	if (failed) {
		net_socket_missing(n, failed);
		return;
	}
	net_lock();
	listener = in_listener_find(socket.inode);
	if (listener && listener->is_bound && answer_is_awaited(n->id))
		listen_socket(n, &socket, listener);
	else
		(void)answer_continue(n->id);
	net_unlock();
	if (socket.fd >= 0)
		close(socket.fd);
}

/* By the descriptor it had when it was bound. */
static bool is_where_it_was(const struct in_listener *listener)
{
	char path[64], link[64] = "", wanted[64];

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", listener->process, listener->number);
	snprintf(wanted, sizeof(wanted), "socket:[%llu]", (unsigned long long)listener->inode);
	return readlink(path, link, sizeof(link) - 1) > 0 && strcmp(link, wanted) == 0;
}

/* Or, of datagrams, wherever its descriptor may be by now. */
static bool is_there(const struct in_listener *listener)
{
	struct net_addr none = {.len = 0};

	return is_where_it_was(listener) || (listener->is_datagram && listener->is_bound && net_diag_works() &&
					     net_diag_is(IPPROTO_UDP, &listener->actual, &none, listener->inode));
}

bool in_listener_is_alive(const struct in_listener *listener)
{
	if (listener->fd >= 0)
		return true;
	if (listener->is_datagram)
		return is_there(listener);
	if (listener->is_listening && in_diag_read())
		return in_diag_listens(listener->inode);
	return is_where_it_was(listener);
}

static void drop_unfetched(struct in_listener *listener, int64_t now_ms)
{
	struct in_ready **at = &listener->ready;

	while (*at) {
		struct in_ready *ready = *at;

		if (now_ms - ready->since_ms < READY_MS) {
			at = &ready->next;
			continue;
		}
		*at = ready->next;
		close(ready->fd);
		free(ready);
	}
}

static void tell_closed(const struct in_listener *listener)
{
	uint8_t body[8];
	struct wire_writer w = {body, body + sizeof(body), 0};

	wire_put_u64(&w, listener->inode);
	link_tell(WIRE_LISTEN_CLOSED, 0, body, sizeof(body));
}

int in_look(int64_t now_ms)
{
	bool is_known = in_listener_first() && in_diag_read();
	struct in_listener *next;

	in_accept_look(now_ms);
	for (struct in_listener *listener = in_listener_first(); listener; listener = next) {
		next = listener->next;
		drop_unfetched(listener, now_ms);
		if (listener->is_asked || !listener->is_told)
			continue;
		if (listener->is_listening && is_known && !listener->is_datagram ? in_diag_listens(listener->inode)
										 : is_there(listener))
			continue;
		if (!listener->is_listening && now_ms - listener->since_ms < BOUND_MS)
			continue;
		if (listener->is_listening)
			tell_closed(listener);
		in_listener_destroy(listener);
	}
	return in_listener_first() ? LOOK_MS : -1;
}

void in_lost(void)
{
	struct in_listener *next;

	for (struct in_listener *listener = in_listener_first(); listener; listener = next) {
		next = listener->next;
		if (!listener->is_asked)
			continue;
		if (listener->is_bound) {
			answer_listen(listener, WIRE_LOCAL);
			continue;
		}
		(void)held_answer(held_take(&listener->held), 0, true);
		in_listener_destroy(listener);
	}
	in_accept_look(net_now_ms());
}

void in_frame(const struct wire_frame *frame)
{
	struct wire_reader r = {frame->body, frame->body + frame->body_len, 0};
	struct net_addr source, peer, local;
	struct wire_addr addr;

	wire_get_addr(&r, &addr);
	net_addr_from_wire(&source, &addr);
	if (frame->kind == WIRE_ARRIVAL_OVER) {
		in_arrival_over(&source);
		return;
	}
	wire_get_addr(&r, &addr);
	net_addr_from_wire(&peer, &addr);
	wire_get_addr(&r, &addr);
	net_addr_from_wire(&local, &addr);
	if (!r.bad && source.len)
		(void)in_arrival_add(&source, &peer, &local);
	link_tell(WIRE_ARRIVAL_KNOWN, frame->id, NULL, 0);
}
