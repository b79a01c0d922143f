/*
 * TCP and UDP sockets of a namespace, by address. An endpoint is 23 bytes (netns.ts): the
 * length of the address (4 or 16; 0 for none), the address in 16, the port in 2, both in network
 * order; and, 4 bytes in the machine's order at OFFSET_SCOPE, the interface of a link-local one.
 */
#include "addon.h"

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

static constexpr size_t OFFSET_IP = 1;
static constexpr size_t OFFSET_PORT = 17;
static constexpr size_t OFFSET_SCOPE = 19;
static constexpr size_t ENDPOINT_BYTES = 23;
static constexpr uint8_t MAPPED_PREFIX[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

struct sockaddr_any {
	union {
		struct sockaddr head;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	};
};

/* Length of the address, 0 for an endpoint that is none. An IPv6 socket takes IPv4 as mapped. */
static socklen_t to_address(const uint8_t *from, int family, struct sockaddr_any *to)
{
	size_t length = from[0];

	memset(to, 0, sizeof(*to));
	if (length == 4 && family == AF_INET) {
		to->v4.sin_family = AF_INET;
		memcpy(&to->v4.sin_addr, from + OFFSET_IP, 4);
		memcpy(&to->v4.sin_port, from + OFFSET_PORT, 2);
		return sizeof(to->v4);
	}
	if (length == 0 || family != AF_INET6)
		return 0;
	to->v6.sin6_family = AF_INET6;
	if (length == 4) {
		memcpy(to->v6.sin6_addr.s6_addr, MAPPED_PREFIX, sizeof(MAPPED_PREFIX));
		memcpy(to->v6.sin6_addr.s6_addr + sizeof(MAPPED_PREFIX), from + OFFSET_IP, 4);
	} else {
		memcpy(&to->v6.sin6_addr, from + OFFSET_IP, 16);
	}
	memcpy(&to->v6.sin6_port, from + OFFSET_PORT, 2);
	memcpy(&to->v6.sin6_scope_id, from + OFFSET_SCOPE, 4);
	return sizeof(to->v6);
}

static void from_address(const struct sockaddr_any &from, uint8_t *to)
{
	memset(to, 0, ENDPOINT_BYTES);
	if (from.head.sa_family == AF_INET) {
		to[0] = 4;
		memcpy(to + OFFSET_IP, &from.v4.sin_addr, 4);
		memcpy(to + OFFSET_PORT, &from.v4.sin_port, 2);
	} else if (from.head.sa_family == AF_INET6) {
		to[0] = 16;
		memcpy(to + OFFSET_IP, &from.v6.sin6_addr, 16);
		memcpy(to + OFFSET_PORT, &from.v6.sin6_port, 2);
		memcpy(to + OFFSET_SCOPE, &from.v6.sin6_scope_id, 4);
	}
}

static Napi::Value failed(Napi::Env env, int fd, const char *syscall)
{
	int error = errno;

	if (fd >= 0)
		close(fd);
	errno = error;
	return fail(env, syscall);
}

/* (namespaceFd, endpoint): a TCP socket on its way; writable when the dial has an end. */
Napi::Value connect_tcp(const Napi::CallbackInfo &info)
{
	const uint8_t *peer = info[1].As<Napi::Uint8Array>().Data();
	int family = peer[0] == 4 ? AF_INET : AF_INET6;
	int fd = socket_in(info[0].As<Napi::Number>().Int32Value(), family, SOCK_STREAM);
	int on = 1;
	struct sockaddr_any address;
	socklen_t length = to_address(peer, family, &address);

	if (fd < 0) {
		errno = -fd;
		return fail(info.Env(), "socket");
	}
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0 ||
	    (connect(fd, &address.head, length) < 0 && errno != EINPROGRESS))
		return failed(info.Env(), fd, "connect");
	return Napi::Number::New(info.Env(), fd);
}

/* (fd): the errno a dial ended with, or that waits; 0 for none. */
Napi::Value socket_error(const Napi::CallbackInfo &info)
{
	int error = 0;
	socklen_t length = sizeof(error);

	if (getsockopt(info[0].As<Napi::Number>().Int32Value(), SOL_SOCKET, SO_ERROR, &error,
		       &length) < 0)
		error = errno;
	return Napi::Number::New(info.Env(), error);
}

/* (fd, local, peer): lays getsockname(2) and getpeername(2) into the two; none for an end that has
 * none. */
Napi::Value internet_names(const Napi::CallbackInfo &info)
{
	int fd = info[0].As<Napi::Number>().Int32Value();
	struct sockaddr_any local = {}, peer = {};
	socklen_t local_length = sizeof(local), peer_length = sizeof(peer);

	if (getsockname(fd, &local.head, &local_length) < 0)
		return fail(info.Env(), "getsockname");
	if (getpeername(fd, &peer.head, &peer_length) < 0)
		peer.head.sa_family = AF_UNSPEC;
	from_address(local, info[1].As<Napi::Uint8Array>().Data());
	from_address(peer, info[2].As<Napi::Uint8Array>().Data());
	return info.Env().Undefined();
}

/* (namespaceFd, isV6, endpoint, receiveBytes): a UDP socket that is connected to the endpoint, or
 * bound to any port where that is none. Not every kernel gives so large a receive buffer. */
Napi::Value open_udp(const Napi::CallbackInfo &info)
{
	int family = info[1].As<Napi::Boolean>().Value() ? AF_INET6 : AF_INET;
	int fd = socket_in(info[0].As<Napi::Number>().Int32Value(), family, SOCK_DGRAM);
	const uint8_t *peer = info[2].As<Napi::Uint8Array>().Data();
	int bytes = info[3].As<Napi::Number>().Int32Value();
	int off = 0, result;
	struct sockaddr_any address;
	socklen_t length = to_address(peer, family, &address);

	if (fd < 0) {
		errno = -fd;
		return fail(info.Env(), "socket");
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (length > 0) {
		result = connect(fd, &address.head, length);
	} else {
		address.head.sa_family = static_cast<sa_family_t>(family);
		length = family == AF_INET6 ? sizeof(address.v6) : sizeof(address.v4);
		result = bind(fd, &address.head, length);
	}
	if (result < 0)
		return failed(info.Env(), fd, length > 0 ? "connect" : "bind");
	return Napi::Number::New(info.Env(), fd);
}

/* (fd, buffer, endpoint): bytes of one datagram and its source; -errno, -EAGAIN for none. */
Napi::Value receive_datagram(const Napi::CallbackInfo &info)
{
	Napi::Uint8Array buffer = info[1].As<Napi::Uint8Array>();
	struct sockaddr_any from = {};
	socklen_t length = sizeof(from);
	ssize_t bytes;

	do {
		bytes = recvfrom(info[0].As<Napi::Number>().Int32Value(), buffer.Data(),
				 buffer.ByteLength(), MSG_DONTWAIT, &from.head, &length);
	} while (bytes < 0 && errno == EINTR);
	if (bytes < 0)
		return Napi::Number::New(info.Env(), -errno);
	from_address(from, info[2].As<Napi::Uint8Array>().Data());
	return Napi::Number::New(info.Env(), static_cast<double>(bytes));
}

/* (fd, isV6, datagram, endpoint): 0, or -errno; -EAGAIN while the send buffer is full. Without an
 * endpoint to the peer that the socket is connected to. */
Napi::Value send_datagram(const Napi::CallbackInfo &info)
{
	int family = info[1].As<Napi::Boolean>().Value() ? AF_INET6 : AF_INET;
	Napi::Uint8Array data = info[2].As<Napi::Uint8Array>();
	const uint8_t *endpoint = info[3].As<Napi::Uint8Array>().Data();
	struct sockaddr_any to;
	socklen_t length = to_address(endpoint, family, &to);
	ssize_t bytes;

	if (length == 0 && endpoint[0] != 0)
		return Napi::Number::New(info.Env(), -EAFNOSUPPORT);
	do {
		bytes = sendto(info[0].As<Napi::Number>().Int32Value(), data.Data(),
			       data.ByteLength(), MSG_DONTWAIT | MSG_NOSIGNAL,
			       length > 0 ? &to.head : nullptr, length);
	} while (bytes < 0 && errno == EINTR);
	return Napi::Number::New(info.Env(), bytes < 0 ? -errno : 0);
}
