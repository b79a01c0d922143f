/*
 * Accepting when the peer is asked for, and the names of what was accepted (in.h). Accepting without an address is not trapped. A
 * call that blocks is parked: while it waits we have a descriptor of its listener, which is given back when the call is
 * interrupted.
 */
#include "in.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "answer.h"
#include "in_table.h"
#include "link.h"
#include "net_loop.h"
#include "net_name.h"
#include "shared.h"

struct parked {
	struct parked *next;
	uint64_t key, inode;
	int64_t deadline_ms; /* 0: none */
	struct seccomp_notif n;
	int fd;
};

static struct parked *all;
static uint64_t last_key;

static int flags_of(const struct seccomp_notif *n)
{
	return n->data.nr == SYS_accept4 ? (int)n->data.args[3] : 0;
}

/*
 * Never blocks, whatever the socket is: somebody else may take what poll saw. For that moment the socket is non-blocking
 * for all who share it; who accepts without an address at that very moment gets EAGAIN where it wanted to wait.
 */
static int accept_now(int fd, int flags, struct net_addr *from)
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	int status = fcntl(fd, F_GETFL), accepted;

	if (poll(&ready, 1, 0) == 0)
		return -EAGAIN;
	if (!(status & O_NONBLOCK))
		(void)fcntl(fd, F_SETFL, status | O_NONBLOCK);
	from->len = sizeof(from->un);
	accepted = accept4(fd, &from->sa, &from->len, (flags & SOCK_NONBLOCK) | SOCK_CLOEXEC);
	if (accepted < 0)
		accepted = -errno;
	if (!(status & O_NONBLOCK))
		(void)fcntl(fd, F_SETFL, status);
	return accepted;
}

static void keep(struct in_listener *listener, int fd, const struct net_addr *from)
{
	struct in_ready *ready = malloc(sizeof(*ready));

	if (!ready) {
		close(fd);
		return;
	}
	*ready = (struct in_ready){listener->ready, *from, fd, net_now_ms()};
	listener->ready = ready;
}

/* Takes fd. */
static void deliver(const struct seccomp_notif *n, struct in_listener *listener, int fd, const struct net_addr *from)
{
	const struct in_arrival *arrival = in_arrival_find(from);
	struct answer answer = {.how = ANSWER_DESCRIPTOR, .fd = fd, .is_cloexec = flags_of(n) & SOCK_CLOEXEC};
	struct net_addr shown = *from;
	int failed = 0;

	if (arrival) {
		shown = arrival->peer;
		net_addr_as(&shown, listener->domain);
		if (shown.sa.sa_family != listener->domain)
			shown = *from;
	}
	if (!answer_is_awaited(n->id)) {
		keep(listener, fd, from);
		return;
	}
	failed = net_name_write((pid_t)n->pid, n->data.args[1], n->data.args[2], &shown);
	if (failed)
		(void)answer_value(n->id, failed);
	else if (answer_deliver(&answer, n->id, (pid_t)n->pid) == -ENOENT) {
		keep(listener, fd, from);
		return;
	}
	close(fd);
}

/* False: nobody is there. */
static bool accept_one(const struct seccomp_notif *n, struct in_listener *listener, int fd)
{
	struct in_ready *ready = listener->ready;
	struct net_addr from;
	int accepted;

	if (flags_of(n) & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) {
		(void)answer_value(n->id, -EINVAL);
		return true;
	}
	if (ready) {
		listener->ready = ready->next;
		if (flags_of(n) & SOCK_NONBLOCK)
			(void)fcntl(ready->fd, F_SETFL, fcntl(ready->fd, F_GETFL) | O_NONBLOCK);
		deliver(n, listener, ready->fd, &ready->from);
		free(ready);
		return true;
	}
	accepted = accept_now(fd, flags_of(n), &from);
	if (accepted == -EAGAIN)
		return false;
	if (accepted < 0)
		(void)answer_value(n->id, accepted);
	else
		deliver(n, listener, accepted, &from);
	return true;
}

static void drop(struct parked **at)
{
	struct parked *parked = *at;

	*at = parked->next;
	shared_unpark(parked->n.id);
	net_loop_unwatch(parked->fd);
	close(parked->fd);
	free(parked);
}

/* Takes fd. */
static void park(const struct seccomp_notif *n, uint64_t inode, int fd)
{
	struct parked *parked = calloc(1, sizeof(*parked));
	int64_t limit_ms = net_socket_timeout_ms(fd, SO_RCVTIMEO);

	if (!parked) {
		close(fd);
		(void)answer_value(n->id, -ENOMEM);
		return;
	}
	/* Should the worker be killed, the kernel goes on with it. */
	if (!shared_park(n->id)) {
		free(parked);
		close(fd);
		(void)answer_continue(n->id);
		return;
	}
	parked->n = *n;
	parked->fd = fd;
	parked->inode = inode;
	parked->key = ++last_key;
	parked->deadline_ms = limit_ms ? net_now_ms() + limit_ms : 0;
	parked->next = all;
	all = parked;
	(void)net_loop_watch(fd, LOOP_ACCEPT, parked->key, EPOLLIN);
	if (limit_ms)
		net_loop_hurry();
}

void in_accept_ready(uint64_t key)
{
	struct in_listener *listener;
	struct parked **at = &all;

	while (*at && (*at)->key != key)
		at = &(*at)->next;
	if (!*at)
		return;
	listener = in_listener_find((*at)->inode);
	if (!answer_is_awaited((*at)->n.id)) {
		drop(at);
		return;
	}
	if (!listener) {
		(void)answer_continue((*at)->n.id);
		drop(at);
		return;
	}
	if (accept_one(&(*at)->n, listener, (*at)->fd))
		drop(at);
}

void in_accept_look(int64_t now_ms)
{
	struct parked **at = &all;

	while (*at) {
		bool is_late = (*at)->deadline_ms && (*at)->deadline_ms <= now_ms;

		/* Without a client nothing comes that is not as the kernel has it. */
		if (!link_is_alive() || !answer_is_awaited((*at)->n.id)) {
			(void)answer_continue((*at)->n.id);
			drop(at);
		} else if (is_late) {
			(void)answer_value((*at)->n.id, -EAGAIN);
			drop(at);
		} else {
			at = &(*at)->next;
		}
	}
}

void in_accept(const struct seccomp_notif *n)
{
	struct in_listener *listener;
	struct net_socket socket;
	bool is_done = true;

	if (in_table_is_empty() || !link_is_alive() || net_socket_take(n, (int)n->data.args[0], &socket) != 0) {
		(void)answer_continue(n->id);
		return;
	}
	net_lock();
	listener = in_listener_find(socket.inode);
	if (!listener) {
		is_done = false;
	} else if (answer_is_awaited(n->id) && !accept_one(n, listener, socket.fd)) {
		if (fcntl(socket.fd, F_GETFL) & O_NONBLOCK) {
			(void)answer_value(n->id, -EAGAIN);
		} else {
			park(n, socket.inode, socket.fd);
			socket.fd = -1;
		}
	}
	net_unlock();
	if (!is_done)
		(void)answer_continue(n->id);
	if (socket.fd >= 0)
		close(socket.fd);
}

/* What getsockname or getpeername shall say of it; NULL: what the kernel says. */
static const struct net_addr *name_of(const struct net_socket *socket, bool is_peer)
{
	struct net_addr peer = net_socket_peer(socket->fd);
	const struct in_arrival *arrival = in_arrival_find(&peer);
	const struct in_listener *listener;

	if (arrival)
		return is_peer ? &arrival->peer : &arrival->local;
	listener = is_peer || peer.len ? NULL : in_listener_find(socket->inode);
	return listener && listener->is_moved ? &listener->asked : NULL;
}

bool in_name(const struct seccomp_notif *n)
{
	const struct net_addr *name;
	struct net_socket socket;
	struct net_addr shown;
	bool is_done = false;

	if (in_table_is_empty() || net_socket_take(n, (int)n->data.args[0], &socket) != 0)
		return false;
	net_lock();
	name = name_of(&socket, n->data.nr == SYS_getpeername);
	if (name) {
		int domain = net_socket_option(socket.fd, SOL_SOCKET, SO_DOMAIN);

		shown = *name;
		net_addr_as(&shown, domain);
		is_done = shown.len && shown.sa.sa_family == domain;
	}
	if (is_done && answer_is_awaited(n->id))
		(void)answer_value(n->id, net_name_write((pid_t)n->pid, n->data.args[1], n->data.args[2], &shown));
	net_unlock();
	close(socket.fd);
	return is_done;
}
