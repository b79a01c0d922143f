/* Codec of addresses in the supervisor-client conversation (wire.h). Pure, like wire.c. */
#include "wire.h"

#include <string.h>
#include <sys/socket.h>

#define UNIX_PATH_BYTES 108

static void get_raw(struct wire_reader *r, uint8_t *out, size_t len)
{
	if (r->bad || (size_t)(r->end - r->at) < len) {
		r->bad = 1;
		memset(out, 0, len);
		return;
	}
	memcpy(out, r->at, len);
	r->at += len;
}

void wire_get_addr(struct wire_reader *r, struct wire_addr *addr)
{
	memset(addr, 0, sizeof(*addr));
	addr->family = wire_get_u8(r);
	switch (addr->family) {
	case AF_UNSPEC:
		break;
	case AF_UNIX:
		addr->path = wire_get_str(r);
		if (addr->path.len > UNIX_PATH_BYTES)
			r->bad = 1;
		break;
	case AF_INET:
		addr->port = wire_get_u16(r);
		get_raw(r, addr->ip, 4);
		break;
	case AF_INET6:
		addr->port = wire_get_u16(r);
		get_raw(r, addr->ip, 16);
		addr->scope = wire_get_u32(r);
		break;
	default:
		r->bad = 1;
	}
	if (r->bad)
		memset(addr, 0, sizeof(*addr));
}

void wire_put_addr(struct wire_writer *w, const struct wire_addr *addr)
{
	wire_put_u8(w, addr->family);
	switch (addr->family) {
	case AF_UNIX:
		wire_put_str(w, addr->path.data, addr->path.len);
		break;
	case AF_INET:
		wire_put_u16(w, addr->port);
		wire_put_raw(w, addr->ip, 4);
		break;
	case AF_INET6:
		wire_put_u16(w, addr->port);
		wire_put_raw(w, addr->ip, 16);
		wire_put_u32(w, addr->scope);
		break;
	default:
		break;
	}
}
