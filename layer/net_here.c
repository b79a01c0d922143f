/* Connects that stay local (net_here.h). */
#include "net_here.h"

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "answer.h"
#include "net.h"
#include "net_connect.h"
#include "tracee.h"

/* A blocking connect that goes elsewhere may take minutes; it has a thread of its own. */
struct detour {
	struct held *held;
	struct net_addr to;
	int fd;
};

static void *take_detour(void *arg)
{
	struct detour *detour = arg;
	int result = connect(detour->fd, &detour->to.sa, detour->to.len) == 0 ? 0 : -errno;

	close(detour->fd);
	(void)held_answer(detour->held, result, false);
	free(detour);
	return NULL;
}

static bool start_detour(struct flow *flow, const struct net_addr *to)
{
	struct detour *detour = malloc(sizeof(*detour));
	pthread_t thread;

	if (!detour)
		return false;
	*detour = (struct detour){flow->held, *to, flow->app_fd};
	if (pthread_create(&thread, NULL, take_detour, detour) != 0) {
		free(detour);
		return false;
	}
	pthread_detach(thread);
	flow->held = NULL;
	flow->app_fd = -1;
	return true;
}

void net_here_connect(struct flow *flow, const struct wire_addr *instead)
{
	struct net_addr to;
	int result;

	if (!instead) {
		result = -EPROTO;
	} else if (instead->family == AF_UNSPEC) {
		(void)held_answer(held_take(&flow->held), 0, true);
		flow_destroy(flow);
		return;
	} else {
		net_addr_from_wire(&to, instead);
		net_addr_as(&to, flow->domain);
		if (!flow->is_nonblocking && flow->transport != WIRE_TRANSPORT_UDP && start_detour(flow, &to)) {
			flow_destroy(flow);
			return;
		}
		result = connect(flow->app_fd, &to.sa, to.len) == 0 ? 0 : -errno;
	}
	(void)held_answer(held_take(&flow->held), result, false);
	flow_destroy(flow);
}

bool net_here_is_hidden(const void *sockaddr, size_t len)
{
	static const char *const hidden[] = {
		"/var/run/nscd/socket",
		"/run/nscd/socket",
		"/run/systemd/resolve/io.systemd.Resolve",
		"/run/systemd/resolve/io.systemd.Resolve.Monitor",
		"/var/run/systemd/resolve/io.systemd.Resolve",
	};
	const char *path = (const char *)sockaddr + offsetof(struct sockaddr_un, sun_path);

	if (!(net_features() & WIRE_FEATURE_DNS) || len <= offsetof(struct sockaddr_un, sun_path))
		return false;
	len -= offsetof(struct sockaddr_un, sun_path);
	for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++) {
		if (strnlen(path, len) == strlen(hidden[i]) && memcmp(path, hidden[i], strlen(hidden[i])) == 0)
			return true;
	}
	return false;
}

void net_connect_dead(const struct seccomp_notif *n, bool is_connect)
{
	uint8_t bytes[sizeof(struct sockaddr_storage)] = {0};
	int len = (int)n->data.args[2];
	struct net_addr to;

	if (!is_connect || len < 2 || len > (int)sizeof(bytes) ||
	    tracee_read((pid_t)n->pid, n->data.args[1], bytes, (size_t)len) != 0 ||
	    !net_addr_read(&to, bytes, (size_t)len) || to.sa.sa_family == AF_UNIX) {
		(void)answer_continue(n->id);
		return;
	}
	net_addr_as(&to, AF_INET);
	if ((to.sa.sa_family == AF_INET && (ntohl(to.in.sin_addr.s_addr) >> 24) == IN_LOOPBACKNET) ||
	    (to.sa.sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&to.in6.sin6_addr)))
		(void)answer_continue(n->id);
	else
		(void)answer_value(n->id, -ENETDOWN);
}
