/* Datagram sockets (net_datagram.h). */
#include "net_datagram.h"

#include <errno.h>
#include <netinet/udp.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/stat.h>
#include <unistd.h>

#include "link.h"
#include "net_dial.h"
#include "net_diag.h"
#include "net_loop.h"
#include "net_peer.h"

#define DATAGRAM_BYTES 65536u
#define IDLE_MS 120000

static uint8_t buffer[DATAGRAM_BYTES];

/* IPv6 sockets get an IPv6 companion unless they cannot speak it, or the machine cannot. */
static struct net_addr loopback_for(const struct flow *flow)
{
	struct net_addr bound = net_socket_name(flow->app_fd), v6 = net_addr_loopback(AF_INET6, 0);
	int zero = 0, fd;
	bool has_v6;

	if (flow->domain == AF_INET || net_addr_is_mapped(&bound) ||
	    (flow->asked.sa.sa_family == AF_INET || net_addr_is_mapped(&flow->asked)))
		return net_addr_loopback(AF_INET, 0);
	fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	has_v6 = fd >= 0 && bind(fd, &v6.sa, v6.len) == 0;
	if (fd >= 0)
		close(fd);
	if (has_v6)
		return v6;
	(void)setsockopt(flow->app_fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	return net_addr_loopback(AF_INET, 0);
}

int net_datagram_open(struct flow *flow)
{
	struct net_addr at, to, app;
	int large = 1 << 20;

	flow_set_state(flow, FLOW_OPEN);
	if (flow->fd >= 0) { /* only the client's side was opened again */
		net_datagram_pump(flow);
		return 0;
	}
	at = loopback_for(flow);
	flow->fd = socket(at.sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (flow->fd < 0 || bind(flow->fd, &at.sa, at.len) != 0)
		return -errno;
	(void)setsockopt(flow->fd, SOL_SOCKET, SO_RCVBUF, &large, sizeof(large));
	(void)setsockopt(flow->fd, SOL_SOCKET, SO_SNDBUF, &large, sizeof(large));
	at = to = net_socket_name(flow->fd);
	net_addr_as(&to, flow->domain);
	if (connect(flow->app_fd, &to.sa, to.len) != 0)
		return -errno;
	app = net_socket_name(flow->app_fd);
	net_addr_as(&app, AF_INET);
	if (connect(flow->fd, &app.sa, app.len) != 0)
		return -errno;
	/* Of a connected one: what its datagrams seem to come from. */
	flow->here = at;
	return net_loop_watch(flow->fd, LOOP_FLOW, flow->inode, EPOLLIN);
}

static void forget_client(struct flow *flow, bool tell)
{
	uint8_t none[4] = {0};

	if (tell && flow->id && flow->is_linked)
		link_tell(WIRE_FLOW_RESET, flow->id, none, sizeof(none));
	flow_set_id(flow, 0);
	flow->is_linked = false;
}

static void destroy(struct flow *flow)
{
	forget_client(flow, true);
	flow_destroy(flow);
}

void net_datagram_tell(const struct flow *flow, const struct net_addr *to, const void *data, size_t len)
{
	uint8_t head[WIRE_ADDR_BYTES];
	struct wire_writer w = {head, head + sizeof(head), 0};
	struct wire_addr addr = {.family = AF_UNSPEC};

	if (to)
		net_addr_to_wire(&addr, to);
	wire_put_addr(&w, &addr);
	link_tell_bulk(WIRE_FLOW_DATA, flow->id, head, (size_t)(w.at - head), data, len);
}

void net_datagram_pump(struct flow *flow)
{
	flow->waits_for_room = false;
	if (flow->is_unconnected || flow->fd < 0 || flow->state != FLOW_OPEN)
		return;
	for (;;) {
		ssize_t n;

		if (!link_has_room()) {
			flow->waits_for_room = true;
			return;
		}
		if (!flow->id) {
			/* Nobody at the other end since it was idle or refused: ask again, once there is something to say. */
			n = recv(flow->fd, buffer, 1, MSG_DONTWAIT | MSG_PEEK);
			if (n >= 0) {
				flow_set_state(flow, FLOW_ASKED);
				net_dial_ask(flow);
				return;
			}
		} else {
			n = recv(flow->fd, buffer, sizeof(buffer), MSG_DONTWAIT);
		}
		if (n < 0 && errno == ECONNREFUSED) {
			destroy(flow); /* a socket that is closed */
			return;
		}
		if (n < 0 && errno != EINTR)
			return;
		if (n >= 0) {
			flow->since_ms = net_now_ms();
			net_datagram_tell(flow, NULL, buffer, (size_t)n);
		}
	}
}

/* The app's socket once more, if the process still has it at the same number. */
static int take_again(const struct flow *flow)
{
	int pidfd = (int)syscall(SYS_pidfd_open, flow->process, 0), fd = -1;
	struct stat st;

	if (pidfd < 0)
		return -1;
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, flow->number, 0);
	close(pidfd);
	if (fd >= 0 && (fstat(fd, &st) != 0 || st.st_ino != flow->inode)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/*
 * An ICMP error from the target. Only the kernel can give one to the app's socket: for a moment our end listens to nobody
 * but itself, and an empty datagram of the app's socket finds its port unreachable.
 */
static void refuse(struct flow *flow)
{
	struct net_addr app = net_socket_peer(flow->fd), at = net_socket_name(flow->fd);
	int fd = take_again(flow);

	if (fd < 0)
		return;
	if (app.len && connect(flow->fd, &at.sa, at.len) == 0) {
		(void)send(fd, "", 0, MSG_DONTWAIT | MSG_NOSIGNAL);
		(void)connect(flow->fd, &app.sa, app.len);
	}
	close(fd);
}

static void receive_reset(struct flow *flow, int error)
{
	if (!flow->is_linked)
		return;
	forget_client(flow, false);
	if (error == 0 || flow->is_unconnected || flow->fd < 0)
		return;
	refuse(flow);
	net_datagram_pump(flow);
}

void net_datagram_frame(struct flow *flow, const struct wire_frame *frame)
{
	struct wire_reader r = {frame->body, frame->body + frame->body_len, 0};
	struct wire_addr addr;
	struct net_addr from;
	int failed = 0;

	if (frame->kind == WIRE_FLOW_RESET) {
		receive_reset(flow, (int)wire_get_u32(&r));
		return;
	}
	if (frame->kind != WIRE_FLOW_DATA || flow->state != FLOW_OPEN)
		return;
	wire_get_addr(&r, &addr);
	if (r.bad)
		return;
	flow->since_ms = net_now_ms();
	net_addr_from_wire(&from, &addr);
	if (!flow->is_unconnected)
		failed = send(flow->fd, r.at, (size_t)(r.end - r.at), MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
	else if (addr.family && addr.family != AF_UNIX)
		failed = net_peer_deliver(flow, &from, r.at, (size_t)(r.end - r.at));
	/* What does not fit is lost, as on any network. */
	if (failed == -ECONNREFUSED)
		destroy(flow);
}

static bool is_gone(const struct flow *flow, int64_t idle_ms)
{
	struct net_addr app, at;
	int fd;

	if (!flow->is_unconnected) {
		app = net_socket_peer(flow->fd);
		at = net_socket_name(flow->fd);
		return net_diag_works() ? !net_diag_is(IPPROTO_UDP, &app, &at, flow->inode) : idle_ms > IDLE_MS;
	}
	fd = take_again(flow);
	if (fd >= 0) {
		close(fd);
		return false;
	}
	at.len = 0;
	return !net_diag_works() || !flow->here.len || !net_diag_is(IPPROTO_UDP, &flow->here, &at, flow->inode);
}

void net_datagram_look(struct flow *flow, int64_t now_ms)
{
	int64_t idle_ms = now_ms - flow->since_ms;

	if (flow->state == FLOW_ASKED || flow->held)
		return;
	if (flow->state != FLOW_OPEN || is_gone(flow, idle_ms))
		destroy(flow);
	else if (idle_ms > IDLE_MS && flow->id)
		forget_client(flow, true);
}

void net_datagram_lost(struct flow *flow)
{
	if (flow->state == FLOW_ASKED && flow->fd < 0 && !flow->is_unconnected) {
		net_dial_lost(flow, ENETDOWN);
		return;
	}
	(void)held_answer(held_take(&flow->held), -ENETDOWN, false);
	if (!flow->is_unconnected && flow->fd >= 0)
		refuse(flow);
	for (struct net_peer *peer = flow->peers; peer; peer = peer->next)
		(void)held_answer(held_take(&peer->held), -ENETDOWN, false);
	flow_destroy(flow);
}
