/* Listeners and arrivals (in_table.h). */
#include "in_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUCKETS 4096u
/* Live ones are the client's to limit; this is against one that does not. */
#define ARRIVALS_MAX 262144u
/* Over, and still known to processes that ask late. */
#define OVER_MAX 8192u

static struct in_listener *listeners;
static struct in_arrival *buckets[BUCKETS], *peer_buckets[BUCKETS];
static struct in_arrival *oldest_over, *newest_over;
static unsigned int arrivals, over;
static unsigned int entries;

static void count(int more)
{
	__atomic_add_fetch(&entries, (unsigned int)more, __ATOMIC_RELAXED);
}

bool in_table_is_empty(void)
{
	return __atomic_load_n(&entries, __ATOMIC_RELAXED) == 0;
}

struct in_listener *in_listener_new(const struct net_socket *socket, int number, const struct net_addr *asked)
{
	struct in_listener *listener = calloc(1, sizeof(*listener));

	if (!listener)
		return NULL;
	listener->inode = socket->inode;
	listener->process = socket->process;
	listener->number = number;
	listener->domain = socket->domain;
	listener->fd = -1;
	listener->since_ms = net_now_ms();
	listener->asked = *asked;
	listener->next = listeners;
	listeners = listener;
	count(1);
	return listener;
}

struct in_listener *in_listener_find(uint64_t inode)
{
	struct in_listener *listener = listeners;

	while (listener && listener->inode != inode)
		listener = listener->next;
	return listener;
}

struct in_listener *in_listener_first(void)
{
	return listeners;
}

void in_listener_destroy(struct in_listener *listener)
{
	struct in_listener **at = &listeners;
	struct in_ready *ready;

	while (*at != listener)
		at = &(*at)->next;
	*at = listener->next;
	(void)held_answer(held_take(&listener->held), -ECONNABORTED, false);
	while ((ready = listener->ready)) {
		listener->ready = ready->next;
		close(ready->fd);
		free(ready);
	}
	if (listener->fd >= 0)
		close(listener->fd);
	free(listener);
	count(-1);
}

static unsigned int bucket_of(const struct net_addr *source)
{
	struct net_addr plain = *source;
	uint32_t hash;

	net_addr_as(&plain, AF_INET);
	hash = net_addr_port(&plain) * 2654435761u;
	if (plain.sa.sa_family == AF_INET)
		hash ^= ntohl(plain.in.sin_addr.s_addr) * 40503u;
	return hash % BUCKETS;
}

static struct in_arrival **place_of(const struct net_addr *source)
{
	struct in_arrival **at = &buckets[bucket_of(source)];

	while (*at && !net_addr_equal(&(*at)->source, source))
		at = &(*at)->next;
	return at;
}

static void leave_over(struct in_arrival *arrival)
{
	if (!arrival->is_over)
		return;
	*(arrival->older ? &arrival->older->newer : &oldest_over) = arrival->newer;
	*(arrival->newer ? &arrival->newer->older : &newest_over) = arrival->older;
	arrival->older = arrival->newer = NULL;
	arrival->is_over = false;
	over--;
}

static void forget(struct in_arrival **at)
{
	struct in_arrival *arrival = *at;

	struct in_arrival **of_peer = &peer_buckets[bucket_of(&arrival->peer)];

	leave_over(arrival);
	*at = arrival->next;
	while (*of_peer != arrival)
		of_peer = &(*of_peer)->next_of_peer;
	*of_peer = arrival->next_of_peer;
	free(arrival);
	arrivals--;
	count(-1);
}

bool in_arrival_add(const struct net_addr *source, const struct net_addr *peer, const struct net_addr *local)
{
	struct in_arrival **at = place_of(source), *arrival;

	if (*at)
		forget(at);
	if (arrivals >= ARRIVALS_MAX)
		return false;
	arrival = calloc(1, sizeof(*arrival));
	if (!arrival)
		return false;
	arrival->source = *source;
	arrival->peer = *peer;
	arrival->local = *local;
	at = &buckets[bucket_of(source)];
	arrival->next = *at;
	*at = arrival;
	at = &peer_buckets[bucket_of(peer)];
	arrival->next_of_peer = *at;
	*at = arrival;
	arrivals++;
	count(1);
	return true;
}

void in_arrival_over(const struct net_addr *source)
{
	struct in_arrival *arrival = *place_of(source);

	if (!arrival || arrival->is_over)
		return;
	arrival->is_over = true;
	arrival->older = newest_over;
	*(newest_over ? &newest_over->newer : &oldest_over) = arrival;
	newest_over = arrival;
	if (++over > OVER_MAX)
		forget(place_of(&oldest_over->source));
}

const struct in_arrival *in_arrival_find(const struct net_addr *source)
{
	return source->len ? *place_of(source) : NULL;
}

const struct in_arrival *in_arrival_find_peer(const struct net_addr *peer, uint16_t port)
{
	const struct in_arrival *arrival = peer->len ? peer_buckets[bucket_of(peer)] : NULL;

	while (arrival && (!net_addr_equal(&arrival->peer, peer) || net_addr_port(&arrival->local) != port))
		arrival = arrival->next_of_peer;
	return arrival;
}
