/* Listeners of the local side (net_gate.h). */
#include "net_gate.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "net_diag.h"
#include "net_loop.h"
#include "wire.h"

#define BACKLOG 4096
#define ACCEPT_WAIT_MS 1000

struct gate {
	int family;
	int listener, silent, filler;
	struct net_addr listener_at, silent_at;
};

enum { GATE_V4, GATE_V6, GATE_UNIX, GATES };

static struct gate gates[GATES] = {
	{AF_INET, -1, -1, -1, {0}, {0}},
	{AF_INET6, -1, -1, -1, {0}, {0}},
	{AF_UNIX, -1, -1, -1, {0}, {0}},
};
/* seqpacket sockets connect to seqpacket listeners only. */
static struct gate records = {AF_UNIX, -1, -1, -1, {0}, {0}};

static int listen_at(struct net_addr *at, int type, bool is_shared, int backlog)
{
	int one = 1;
	int fd = socket(at->sa.sa_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (is_shared)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	/* Of those that it accepts, too. */
	net_socket_unpace(fd);
	if (bind(fd, &at->sa, at->len) != 0 || listen(fd, backlog) != 0) {
		int failed = -errno;

		close(fd);
		return failed;
	}
	*at = net_socket_name(fd);
	return fd;
}

/* With a queue for none and one in it, every later SYN is dropped. */
static int fill(struct gate *gate, unsigned int key)
{
	struct pollfd ready = {.events = POLLOUT};
	int fd = socket(gate->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	ready.fd = fd;
	if ((connect(fd, &gate->silent_at.sa, gate->silent_at.len) != 0 && errno != EINPROGRESS) ||
	    poll(&ready, 1, ACCEPT_WAIT_MS) != 1 || net_socket_option(fd, SOL_SOCKET, SO_ERROR) != 0) {
		close(fd);
		return -ECONNREFUSED;
	}
	gate->filler = fd;
	return net_loop_watch(fd, LOOP_GATE, key, EPOLLRDHUP);
}

void net_gate_refill(unsigned int key)
{
	int stray;

	if (key >= GATES || gates[key].filler < 0)
		return;
	while ((stray = accept4(gates[key].silent, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		close(stray);
	close(gates[key].filler);
	gates[key].filler = -1;
	(void)fill(&gates[key], key);
}

static int start(unsigned int key)
{
	struct gate *gate = &gates[key];

	gate->listener_at = gate->silent_at = net_addr_loopback(gate->family, 0);
	gate->listener = listen_at(&gate->listener_at, SOCK_STREAM, false, BACKLOG);
	if (gate->listener < 0)
		return gate->listener;
	gate->silent = listen_at(&gate->silent_at, SOCK_STREAM, true, 0);
	if (gate->silent < 0)
		return gate->silent;
	return fill(gate, key);
}

static void start_unix(struct gate *gate, int type)
{
	struct net_addr at = {.len = sizeof(sa_family_t)};

	at.un.sun_family = AF_UNIX;
	gate->listener_at = at; /* an abstract name of the kernel's choice */
	gate->listener = listen_at(&gate->listener_at, type, false, BACKLOG);
}

int net_gate_start(bool has_unix)
{
	int failed = start(GATE_V4);

	if (failed)
		return failed;
	if (start(GATE_V6) != 0)
		gates[GATE_V6].listener = -1;
	if (has_unix) {
		start_unix(&gates[GATE_UNIX], SOCK_STREAM);
		start_unix(&records, SOCK_SEQPACKET);
	}
	net_diag_start(&gates[GATE_V4].silent_at, gates[GATE_V4].filler);
	return 0;
}

/* A socket that is bound keeps its family; else v6 serves v6, and v4 serves where this machine has no v6. */
static struct gate *gate_of(const struct flow *flow)
{
	struct net_addr bound;
	int zero = 0;

	if (flow->transport == WIRE_TRANSPORT_UNIX_STREAM)
		return &gates[GATE_UNIX];
	if (flow->transport == WIRE_TRANSPORT_UNIX_SEQPACKET)
		return &records;
	if (flow->domain == AF_INET)
		return &gates[GATE_V4];
	bound = net_socket_name(flow->app_fd);
	if (net_addr_is_mapped(&bound) || (net_addr_is_mapped(&flow->asked) && net_addr_is_any(&bound)))
		return &gates[GATE_V4];
	if (gates[GATE_V6].listener >= 0)
		return &gates[GATE_V6];
	(void)setsockopt(flow->app_fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	return &gates[GATE_V4];
}

/* The end of the connection that was just made. Strangers who found the listener are sent away. */
static int accept_from(const struct gate *gate, const struct net_addr *app)
{
	struct pollfd ready = {.fd = gate->listener, .events = POLLIN};

	for (;;) {
		struct net_addr from = {.len = sizeof(from.un)};
		struct ucred who = {0};
		socklen_t len = sizeof(who);
		int fd = accept4(gate->listener, &from.sa, &from.len, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0 && errno == EAGAIN && poll(&ready, 1, ACCEPT_WAIT_MS) == 1)
			continue;
		if (fd < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		/* The app's socket was connected by this process. */
		if (gate->family == AF_UNIX
			    ? getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 && who.pid == getpid()
			    : net_addr_equal(&from, app))
			return fd;
		close(fd);
	}
}

static int connect_app(struct flow *flow, const struct net_addr *to)
{
	struct net_addr at = *to;
	int zero = 0;

	if (at.sa.sa_family != AF_UNIX) {
		net_addr_as(&at, flow->domain);
		/* A connect that is put off until the first write would never reach us. */
		(void)setsockopt(flow->app_fd, IPPROTO_TCP, 30 /* TCP_FASTOPEN_CONNECT */, &zero,
				 sizeof(zero));
		net_socket_unpace(flow->app_fd);
	}
	return connect(flow->app_fd, &at.sa, at.len) == 0 ? 0 : -errno;
}

int net_gate_open(struct flow *flow)
{
	struct gate *gate = gate_of(flow);
	int result;

	if (gate->listener < 0)
		return -EAFNOSUPPORT;
	result = connect_app(flow, &gate->listener_at);
	if (result != 0 && result != -EINPROGRESS)
		return result;
	flow->here = net_socket_name(flow->app_fd);
	flow->fd = accept_from(gate, &flow->here);
	return flow->fd < 0 ? flow->fd : 0;
}

int net_gate_begin(struct flow *flow)
{
	struct gate *gate = gate_of(flow);
	int result;

	if (gate->silent < 0 || gate->filler < 0)
		return -EAFNOSUPPORT;
	result = connect_app(flow, &gate->silent_at);
	flow->here = net_socket_name(flow->app_fd);
	flow->meets_v6 = gate == &gates[GATE_V6];
	return result == 0 ? -EISCONN : result;
}

int net_gate_meet(struct flow *flow)
{
	struct gate *gate = &gates[flow->meets_v6 ? GATE_V6 : GATE_V4];
	struct net_addr app = flow->here;
	int one = 1, fd;

	net_addr_as(&app, AF_INET);
	/* Else whoever has that port by now would be connected to. */
	if (!net_diag_is(IPPROTO_TCP, &app, &gate->silent_at, flow->inode))
		return -ECONNABORTED;
	fd = socket(gate->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	net_socket_unpace(fd);
	if (bind(fd, &gate->silent_at.sa, gate->silent_at.len) != 0 ||
	    (connect(fd, &app.sa, app.len) != 0 && errno != EINPROGRESS)) {
		int failed = -errno;

		close(fd);
		return failed;
	}
	flow->fd = fd;
	return 0;
}
