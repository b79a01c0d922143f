/* Socket addresses (net_addr.h). */
#include "net_addr.h"

#include <stddef.h>
#include <string.h>

/* Without sin6_scope_id, which programs older than RFC 2553 leave out (ipv6(7)). */
#define IN6_MIN 24u

bool net_addr_read(struct net_addr *addr, const void *bytes, size_t len)
{
	memset(addr, 0, sizeof(*addr));
	if (len < sizeof(addr->sa.sa_family))
		return false;
	memcpy(&addr->un, bytes, len < sizeof(addr->un) ? len : sizeof(addr->un));
	switch (addr->sa.sa_family) {
	case AF_INET:
		addr->len = sizeof(addr->in);
		return len >= sizeof(addr->in);
	case AF_INET6:
		addr->len = sizeof(addr->in6);
		return len >= IN6_MIN;
	case AF_UNIX:
		addr->len = (socklen_t)len;
		return len > offsetof(struct sockaddr_un, sun_path) && len <= sizeof(addr->un);
	default:
		return false;
	}
}

void net_addr_from_wire(struct net_addr *addr, const struct wire_addr *from)
{
	memset(addr, 0, sizeof(*addr));
	addr->sa.sa_family = from->family;
	switch (from->family) {
	case AF_INET:
		addr->len = sizeof(addr->in);
		addr->in.sin_port = htons(from->port);
		memcpy(&addr->in.sin_addr, from->ip, 4);
		break;
	case AF_INET6:
		addr->len = sizeof(addr->in6);
		addr->in6.sin6_port = htons(from->port);
		addr->in6.sin6_scope_id = from->scope;
		memcpy(&addr->in6.sin6_addr, from->ip, 16);
		break;
	case AF_UNIX:
		addr->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + from->path.len);
		memcpy(addr->un.sun_path, from->path.data, from->path.len);
		/* A path in the file system ends with NUL, and that is counted (unix(7)). */
		if (from->path.len && from->path.data[0] && from->path.len < sizeof(addr->un.sun_path))
			addr->len++;
		break;
	default:
		break;
	}
}

void net_addr_to_wire(struct wire_addr *to, const struct net_addr *addr)
{
	size_t head = offsetof(struct sockaddr_un, sun_path);

	memset(to, 0, sizeof(*to));
	to->family = addr->len ? (uint8_t)addr->sa.sa_family : AF_UNSPEC;
	if (net_addr_is_mapped(addr)) {
		to->family = AF_INET;
		to->port = net_addr_port(addr);
		memcpy(to->ip, (const uint8_t *)&addr->in6.sin6_addr + 12, 4);
	} else if (to->family == AF_INET) {
		to->port = net_addr_port(addr);
		memcpy(to->ip, &addr->in.sin_addr, 4);
	} else if (to->family == AF_INET6) {
		to->port = net_addr_port(addr);
		to->scope = addr->in6.sin6_scope_id;
		memcpy(to->ip, &addr->in6.sin6_addr, 16);
	} else if (to->family == AF_UNIX && addr->len > head) {
		to->path.data = (const uint8_t *)addr->un.sun_path;
		to->path.len = (uint32_t)(addr->un.sun_path[0]
						  ? strnlen(addr->un.sun_path, addr->len - head)
						  : addr->len - head);
	}
}

void net_addr_as(struct net_addr *addr, int domain)
{
	struct net_addr to = {.len = 0};

	if (addr->len == 0)
		return;
	if (domain == AF_INET6 && addr->sa.sa_family == AF_INET) {
		to.len = sizeof(to.in6);
		to.in6.sin6_family = AF_INET6;
		to.in6.sin6_port = addr->in.sin_port;
		to.in6.sin6_addr.s6_addr[10] = 0xff;
		to.in6.sin6_addr.s6_addr[11] = 0xff;
		memcpy(&to.in6.sin6_addr.s6_addr[12], &addr->in.sin_addr, 4);
		*addr = to;
	} else if (domain == AF_INET && net_addr_is_mapped(addr)) {
		to.len = sizeof(to.in);
		to.in.sin_family = AF_INET;
		to.in.sin_port = addr->in6.sin6_port;
		memcpy(&to.in.sin_addr, &addr->in6.sin6_addr.s6_addr[12], 4);
		*addr = to;
	}
}

bool net_addr_equal(const struct net_addr *a, const struct net_addr *b)
{
	struct net_addr one = *a, other = *b;

	net_addr_as(&one, AF_INET);
	net_addr_as(&other, AF_INET);
	if (one.len != other.len || one.sa.sa_family != other.sa.sa_family)
		return false;
	if (one.len == 0)
		return true;
	if (one.sa.sa_family == AF_INET)
		return one.in.sin_port == other.in.sin_port &&
		       one.in.sin_addr.s_addr == other.in.sin_addr.s_addr;
	if (one.sa.sa_family == AF_INET6)
		return one.in6.sin6_port == other.in6.sin6_port &&
		       one.in6.sin6_scope_id == other.in6.sin6_scope_id &&
		       memcmp(&one.in6.sin6_addr, &other.in6.sin6_addr, 16) == 0;
	return memcmp(&one.un, &other.un, one.len) == 0;
}

bool net_addr_is_any(const struct net_addr *addr)
{
	struct net_addr plain = *addr;

	net_addr_as(&plain, AF_INET);
	if (plain.len && plain.sa.sa_family == AF_INET)
		return plain.in.sin_addr.s_addr == INADDR_ANY;
	return plain.len && plain.sa.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&plain.in6.sin6_addr);
}

bool net_addr_is_mapped(const struct net_addr *addr)
{
	return addr->len && addr->sa.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&addr->in6.sin6_addr);
}

uint16_t net_addr_port(const struct net_addr *addr)
{
	/* The port is at the same place in both families. */
	return addr->len && addr->sa.sa_family != AF_UNIX ? ntohs(addr->in.sin_port) : 0;
}

struct net_addr net_addr_loopback(int family, uint16_t port)
{
	struct net_addr addr = {.len = 0};

	if (family == AF_INET6) {
		addr.len = sizeof(addr.in6);
		addr.in6.sin6_family = AF_INET6;
		addr.in6.sin6_port = htons(port);
		addr.in6.sin6_addr = in6addr_loopback;
	} else {
		addr.len = sizeof(addr.in);
		addr.in.sin_family = AF_INET;
		addr.in.sin_port = htons(port);
		addr.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	}
	return addr;
}
