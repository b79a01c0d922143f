/* Sockets of a target's network namespace. A socket belongs to the namespace it was made in, whoever uses it afterwards. */
#include "stealer.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

/* The namespace this process was started in; kept open, as /proc may be hidden later. */
static int own_namespace()
{
	static int fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	return fd;
}

int socket_in(int namespace_fd, int family, int type, int protocol)
{
	int own = own_namespace();
	int fd;

	if (namespace_fd < 0) {
		fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		return fd < 0 ? -errno : fd;
	}
	if (own < 0 || setns(namespace_fd, CLONE_NEWNET) < 0)
		return -errno;
	fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
	if (fd < 0)
		fd = -errno;
	/* A thread that stays in a target's network would dial and listen there for everybody. */
	if (setns(own, CLONE_NEWNET) < 0)
		abort();
	return fd;
}

int file_in(int namespace_fd, const char *name)
{
	const std::string path = std::string("/proc/thread-self/net/") + name;
	int own = own_namespace();

	if (own < 0 || setns(namespace_fd, CLONE_NEWNET) < 0)
		return -errno;
	int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		fd = -errno;
	if (setns(own, CLONE_NEWNET) < 0)
		abort();
	return fd;
}

static bool is_mapped(const struct endpoint &endpoint)
{
	return memcmp(endpoint.address, mapped_prefix, sizeof mapped_prefix) == 0;
}

bool is_loopback(const struct endpoint &endpoint)
{
	static const uint8_t loopback[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};

	if (is_mapped(endpoint))
		return endpoint.address[sizeof mapped_prefix] == IN_LOOPBACKNET;
	return memcmp(endpoint.address, loopback, sizeof loopback) == 0;
}

static socklen_t to_sockaddr(const struct endpoint &from, struct sockaddr_storage *to)
{
	memset(to, 0, sizeof *to);
	if (is_mapped(from)) {
		struct sockaddr_in *v4 = reinterpret_cast<struct sockaddr_in *>(to);

		v4->sin_family = AF_INET;
		v4->sin_port = htons(from.port);
		memcpy(&v4->sin_addr, from.address + sizeof mapped_prefix, sizeof v4->sin_addr);
		return sizeof *v4;
	}
	struct sockaddr_in6 *v6 = reinterpret_cast<struct sockaddr_in6 *>(to);

	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(from.port);
	v6->sin6_scope_id = from.scope;
	memcpy(&v6->sin6_addr, from.address, sizeof v6->sin6_addr);
	return sizeof *v6;
}

struct endpoint to_endpoint(const struct sockaddr_storage &from)
{
	struct endpoint to = {};

	if (from.ss_family == AF_INET) {
		const struct sockaddr_in *v4 = reinterpret_cast<const struct sockaddr_in *>(&from);

		memcpy(to.address, mapped_prefix, sizeof mapped_prefix);
		memcpy(to.address + sizeof mapped_prefix, &v4->sin_addr, sizeof v4->sin_addr);
		to.port = ntohs(v4->sin_port);
	} else {
		const struct sockaddr_in6 *v6 = reinterpret_cast<const struct sockaddr_in6 *>(&from);

		memcpy(to.address, &v6->sin6_addr, sizeof to.address);
		to.port = ntohs(v6->sin6_port);
		to.scope = v6->sin6_scope_id;
	}
	return to;
}

/* Takes the descriptor along when it fails. */
static int closing(int fd)
{
	int error = -errno;

	close(fd);
	return error;
}

int listen_in(int namespace_fd, int backlog)
{
	struct sockaddr_storage any = {};
	int off = 0;
	int on = 1;
	int fd = socket_in(namespace_fd, AF_INET6);

	any.ss_family = AF_INET6;
	if (fd == -EAFNOSUPPORT) {
		fd = socket_in(namespace_fd, AF_INET);
		any.ss_family = AF_INET;
	} else if (fd >= 0 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) < 0) {
		return closing(fd);
	}
	if (fd < 0)
		return fd;
	socklen_t length = any.ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);

	if (bind(fd, reinterpret_cast<struct sockaddr *>(&any), length) < 0)
		return closing(fd);
	/* What is accepted has it from here; without the right to it that may be taken for the target's own. */
	(void)setsockopt(fd, SOL_SOCKET, SO_MARK, &accepted_mark, sizeof accepted_mark);
	/* What it accepts has the stolen port: the target's server could not bind that again while one is open, or for a minute after. */
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 || listen(fd, backlog) < 0)
		return closing(fd);
	return fd;
}

/* netfilter's getsockopt(2), of both families (linux/netfilter_ipv4.h, linux/netfilter_ipv6/ip6_tables.h). */
static const int original_destination = 80;

int original_of(int fd, struct endpoint *original)
{
	struct sockaddr_storage address;
	socklen_t length = sizeof address;

	memset(&address, 0, sizeof address);
	if (getsockopt(fd, IPPROTO_IP, original_destination, &address, &length) < 0) {
		length = sizeof(struct sockaddr_in6);
		if (getsockopt(fd, IPPROTO_IPV6, original_destination, &address, &length) < 0)
			return -errno;
	}
	*original = to_endpoint(address);
	return 0;
}

int bind_in(int namespace_fd, const struct endpoint &source, struct endpoint *bound)
{
	struct sockaddr_storage address;
	struct endpoint any_port = source;
	int fd = socket_in(namespace_fd, is_mapped(source) ? AF_INET : AF_INET6);

	if (fd < 0)
		return fd;
	any_port.port = 0;
	socklen_t length = to_sockaddr(any_port, &address);

	if (bind(fd, reinterpret_cast<struct sockaddr *>(&address), length) < 0)
		return closing(fd);
	length = sizeof address;
	if (getsockname(fd, reinterpret_cast<struct sockaddr *>(&address), &length) < 0)
		return closing(fd);
	*bound = to_endpoint(address);
	return fd;
}

int connect_to(int fd, const struct endpoint &peer)
{
	struct sockaddr_storage address;
	socklen_t length = to_sockaddr(peer, &address);

	if (connect(fd, reinterpret_cast<struct sockaddr *>(&address), length) < 0 && errno != EINPROGRESS)
		return -errno;
	return 0;
}
