/* Names of sockets (net_name.h). */
#include "net_name.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "answer.h"
#include "link.h"
#include "net_flow.h"
#include "net_loop.h"
#include "tracee.h"

int net_name_write(pid_t tid, uint64_t addr_at, uint64_t len_at, const struct net_addr *addr)
{
	int32_t room = 0;
	socklen_t len = addr->len;
	int failed = tracee_read(tid, len_at, &room, sizeof(room));

	if (failed)
		return failed;
	if (room < 0)
		return -EINVAL;
	if (len > (socklen_t)room)
		len = (socklen_t)room;
	if (len)
		failed = tracee_write(tid, addr_at, &addr->sa, len);
	if (!failed)
		failed = tracee_write(tid, len_at, &addr->len, sizeof(addr->len));
	return failed;
}

static void answer_name(const struct seccomp_notif *n, const struct flow *flow, const struct net_addr *addr)
{
	struct net_addr shown = *addr;

	net_addr_as(&shown, flow->domain);
	if (shown.len == 0) { /* the unnamed unix socket */
		shown.sa.sa_family = (sa_family_t)flow->domain;
		shown.len = sizeof(sa_family_t);
	}
	if (answer_is_awaited(n->id))
		(void)answer_value(n->id, net_name_write((pid_t)n->pid, n->data.args[1], n->data.args[2], &shown));
}

static void address_done(void *arg, int32_t result, const uint8_t *body, size_t len)
{
	struct wire_reader r = {body, body + len, 0};
	struct wire_addr local;
	struct flow *flow;

	if (!body) {
		net_loop_wake();
		return;
	}
	net_lock();
	flow = flow_of_id((uintptr_t)arg);
	if (flow) {
		wire_get_addr(&r, &local);
		if (result == 0 && !r.bad && local.family)
			net_addr_from_wire(&flow->local, &local);
		else
			flow->local = flow->fd >= 0 ? net_socket_peer(flow->fd) : flow->here;
		held_retry(held_take(&flow->names));
	}
	net_unlock();
}

static void ask_address(struct flow *flow, const struct seccomp_notif *n)
{
	uint8_t body[8];
	struct wire_writer w = {body, body + sizeof(body), 0};
	bool is_asked = flow->names != NULL;

	if (!held_add(&flow->names, n) || is_asked)
		return;
	wire_put_u64(&w, flow->id);
	link_request(WIRE_FLOW_ADDRESS, body, sizeof(body), NULL, 0, address_done,
		     (void *)(uintptr_t)flow->id);
}

/* False: the kernel knows. */
static bool tell_name(struct flow *flow, const struct seccomp_notif *n, int fd)
{
	bool is_peer = n->data.nr == SYS_getpeername;

	if (flow->is_unconnected)
		return false;
	if (flow->state == FLOW_MEETING) {
		if (flow->error || !is_peer)
			return false;
		(void)held_add(&flow->names, n);
		return true;
	}
	if (flow->state != FLOW_OPEN && (flow->state != FLOW_ENDED || (is_peer && net_socket_peer(fd).len == 0)))
		return false;
	if (is_peer)
		answer_name(n, flow, flow->peer.len ? &flow->peer : &flow->asked);
	else if (flow->local.len || flow->domain == AF_UNIX)
		answer_name(n, flow, &flow->local);
	else if (flow->id && link_is_alive())
		ask_address(flow, n);
	else
		return false;
	return true;
}

/* Asks `tell` where the call's socket is a flow's; false of it, as any other socket: the kernel knows. */
static void tell_of_flow(const struct seccomp_notif *n,
			 bool (*tell)(struct flow *, const struct seccomp_notif *, int fd))
{
	struct net_socket socket;
	struct flow *flow;
	bool is_done = false;

	if (flow_count() == 0 || net_socket_take(n, (int)n->data.args[0], &socket) != 0) {
		(void)answer_continue(n->id);
		return;
	}
	net_lock();
	flow = flow_of_inode(socket.inode);
	if (flow)
		is_done = tell(flow, n, socket.fd);
	net_unlock();
	if (!is_done)
		(void)answer_continue(n->id);
	close(socket.fd);
}

void net_name(const struct seccomp_notif *n)
{
	tell_of_flow(n, tell_name);
}

/* False: the kernel knows. */
static bool tell_error(struct flow *flow, const struct seccomp_notif *n, int fd)
{
	pid_t tid = (pid_t)n->pid;
	int error = flow->error;
	socklen_t room = 0;
	int failed;

	if (error == 0 || flow->state == FLOW_DIALING || flow->state == FLOW_ASKED || !flow->is_told)
		return false;
	failed = tracee_read(tid, n->data.args[4], &room, sizeof(room));
	if (failed || (int)room < 0 || !answer_is_awaited(n->id))
		return false;
	if (room > sizeof(error))
		room = sizeof(error);
	failed = tracee_write(tid, n->data.args[3], &error, room);
	if (!failed)
		failed = tracee_write(tid, n->data.args[4], &room, sizeof(room));
	(void)answer_value(n->id, failed);
	/* It is told once, and what stands for it in the kernel with it. */
	(void)net_socket_option(fd, SOL_SOCKET, SO_ERROR);
	if (flow->state == FLOW_FAILED)
		flow_destroy(flow);
	else if (flow->state != FLOW_MEETING)
		flow->error = 0;
	return true;
}

void net_error(const struct seccomp_notif *n)
{
	tell_of_flow(n, tell_error);
}
