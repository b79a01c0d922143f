/* Sockets that stand for a port of datagrams (in_datagram.h). */
#include "in_datagram.h"

#include <stddef.h>

#include "in_table.h"

bool in_datagram_is(uint64_t inode)
{
	const struct in_listener *listener = in_table_is_empty() ? NULL : in_listener_find(inode);

	return listener && listener->is_datagram && listener->is_listening;
}

const struct net_addr *in_datagram_source(const struct net_addr *from)
{
	const struct in_arrival *arrival = in_table_is_empty() ? NULL : in_arrival_find(from);

	return arrival ? &arrival->peer : NULL;
}

const struct net_addr *in_datagram_peer(uint64_t inode, const struct net_addr *to)
{
	const struct in_listener *listener = in_table_is_empty() ? NULL : in_listener_find(inode);
	const struct in_arrival *arrival = NULL;

	if (listener && listener->is_datagram && listener->is_listening)
		arrival = in_arrival_find_peer(to, net_addr_port(&listener->asked));
	return arrival ? &arrival->source : NULL;
}
