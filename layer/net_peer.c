/* Peers (net_peer.h). */
#include "net_peer.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define RECEIVE_BYTES (1 << 20)

/* Found ones move to the front, so that the last is the one to forget. */
struct net_peer *net_peer_find(struct flow *flow, const struct net_addr *asked)
{
	for (struct net_peer **at = &flow->peers; *at; at = &(*at)->next) {
		struct net_peer *peer = *at;

		if (!net_addr_equal(&peer->asked, asked))
			continue;
		*at = peer->next;
		peer->next = flow->peers;
		flow->peers = peer;
		return peer;
	}
	return NULL;
}

static void forget_last(struct flow *flow)
{
	struct net_peer **at = &flow->peers, *peer;

	while ((*at)->next)
		at = &(*at)->next;
	peer = *at;
	*at = NULL;
	if (peer->fd >= 0)
		close(peer->fd);
	(void)held_answer(held_take(&peer->held), -ENOBUFS, false);
	free(peer);
	flow->peer_count--;
}

struct net_peer *net_peer_add(struct flow *flow, const struct net_addr *asked)
{
	struct net_peer *peer = calloc(1, sizeof(*peer));

	if (!peer)
		return NULL;
	if (flow->peer_count >= NET_PEERS_MAX)
		forget_last(flow);
	peer->asked = *asked;
	peer->fd = -1;
	peer->next = flow->peers;
	flow->peers = peer;
	flow->peer_count++;
	return peer;
}

const struct net_addr *net_peer_source(const struct flow *flow, const struct net_addr *from)
{
	if (!flow->is_unconnected)
		return net_addr_equal(&flow->here, from) ? &flow->asked : NULL;
	for (const struct net_peer *peer = flow->peers; peer; peer = peer->next) {
		if (peer->here.len && net_addr_equal(&peer->here, from))
			return &peer->asked;
	}
	return NULL;
}

bool net_peer_is_any_remote(const struct flow *flow)
{
	for (const struct net_peer *peer = flow->peers; peer; peer = peer->next) {
		if (peer->here.len)
			return true;
	}
	return false;
}

int net_peer_socket(const struct net_addr *app, struct net_addr *at)
{
	struct net_addr to = *app;
	int large = RECEIVE_BYTES, fd;

	net_addr_as(&to, AF_INET);
	/* Bound to every address means reachable on loopback. */
	if (net_addr_is_any(&to))
		to = net_addr_loopback(to.sa.sa_family, net_addr_port(&to));
	*at = net_addr_loopback(to.sa.sa_family, 0);
	fd = socket(to.sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &large, sizeof(large));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &large, sizeof(large));
	if (bind(fd, &at->sa, at->len) != 0 || connect(fd, &to.sa, to.len) != 0) {
		int failed = -errno;

		close(fd);
		return failed;
	}
	*at = net_socket_name(fd);
	return fd;
}

int net_peer_deliver(struct flow *flow, const struct net_addr *from, const void *data, size_t len)
{
	struct net_peer *peer = net_peer_find(flow, from);

	if (!peer) {
		peer = net_peer_add(flow, from);
		if (!peer)
			return -ENOMEM;
		peer->is_known = true;
	}
	if (peer->fd < 0)
		peer->fd = net_peer_socket(&flow->here, &peer->here);
	if (peer->fd < 0) {
		peer->here.len = 0;
		return peer->fd;
	}
	return send(peer->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}
