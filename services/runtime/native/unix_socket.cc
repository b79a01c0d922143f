/* Unix sockets as node:net does not offer them: addresses as bytes, the abstract namespace,
 * packets. */
#include "addon.h"

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static constexpr int WALKS = 64;

/* An O_PATH descriptor of what the path names for a process whose root that is, or -1. */
static int open_in_root(int root, const char *path)
{
	struct open_how how = {};
	long fd;

	how.flags = O_PATH | O_CLOEXEC;
	how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
	/* A rename beside the walk answers EAGAIN (openat2(2)); the next walk sees one side of it.
	 */
	for (int tries = 0; tries < WALKS; tries++) {
		fd = syscall(SYS_openat2, root, path, &how, sizeof(how));
		if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
			return static_cast<int>(fd);
	}
	errno = ELOOP;
	return -1;
}

/*
 * sun_path for connect(2): an abstract name as it is, for a path that of a descriptor (*path_fd,
 * else -1) of the very socket that the walk found, whatever is renamed meanwhile. Returns the
 * address's length, or -errno.
 */
static int find_peer(int root, const Napi::Uint8Array &name, struct sockaddr_un *address,
		     int *path_fd)
{
	size_t length = offsetof(struct sockaddr_un, sun_path);
	char path[sizeof(address->sun_path) + 1] = {};

	*path_fd = -1;
	if (name.ByteLength() == 0 || name.ByteLength() > sizeof(address->sun_path))
		return -EINVAL;
	address->sun_family = AF_UNIX;
	memcpy(path, name.Data(), name.ByteLength());
	if (path[0] == '\0') {
		memcpy(address->sun_path, path, name.ByteLength());
		return static_cast<int>(length + name.ByteLength());
	}
	*path_fd = open_in_root(root, path);
	if (*path_fd < 0)
		return -errno;
	snprintf(address->sun_path, sizeof(address->sun_path), "/proc/self/fd/%d", *path_fd);
	return static_cast<int>(length + strlen(address->sun_path) + 1);
}

/*
 * (namespaceFd, isSeqpacket, rootFd, sun_path bytes): a connected, non-blocking descriptor of that
 * namespace. A path is walked within the root; a name of the abstract namespace begins
 * with a zero and is taken to its last byte. Throws EAGAIN while the listener's queue is full.
 */
Napi::Value connect_unix(const Napi::CallbackInfo &info)
{
	int type = info[1].As<Napi::Boolean>().Value() ? SOCK_SEQPACKET : SOCK_STREAM;
	int root = info[2].As<Napi::Number>().Int32Value();
	struct sockaddr_un address = {};
	int length, path_fd, fd, error = 0;

	length = find_peer(root, info[3].As<Napi::Uint8Array>(), &address, &path_fd);
	if (length < 0) {
		errno = -length;
		return fail(info.Env(), "connect");
	}
	fd = socket_in(info[0].As<Napi::Number>().Int32Value(), AF_UNIX, type);
	if (fd < 0)
		error = -fd;
	else if (connect(fd, reinterpret_cast<struct sockaddr *>(&address),
			 static_cast<socklen_t>(length)) < 0)
		error = errno;
	if (path_fd >= 0)
		close(path_fd);
	if (error == 0)
		return Napi::Number::New(info.Env(), fd);
	if (fd >= 0)
		close(fd);
	errno = error;
	return fail(info.Env(), "connect");
}

/* The kernel counts the zero after a path, and not one after an abstract name. */
static Napi::Value to_path(Napi::Env env, const struct sockaddr_un &address, socklen_t length)
{
	size_t start = offsetof(struct sockaddr_un, sun_path);
	size_t bytes = length > start ? length - start : 0;

	if (bytes > sizeof(address.sun_path))
		bytes = sizeof(address.sun_path);
	if (bytes > 0 && address.sun_path[0] != '\0')
		bytes = strnlen(address.sun_path, bytes);
	return Napi::Buffer<char>::Copy(env, address.sun_path, bytes);
}

/* (fd): [getsockname(2), getpeername(2)] as sun_path bytes, empty for an unnamed socket. */
Napi::Value unix_names(const Napi::CallbackInfo &info)
{
	int fd = info[0].As<Napi::Number>().Int32Value();
	struct sockaddr_un local = {}, peer = {};
	socklen_t local_length = sizeof(local), peer_length = sizeof(peer);
	Napi::Array names = Napi::Array::New(info.Env(), 2);

	if (getsockname(fd, reinterpret_cast<struct sockaddr *>(&local), &local_length) < 0)
		return fail(info.Env(), "getsockname");
	if (getpeername(fd, reinterpret_cast<struct sockaddr *>(&peer), &peer_length) < 0)
		return fail(info.Env(), "getpeername");
	names.Set(0u, to_path(info.Env(), local, local_length));
	names.Set(1u, to_path(info.Env(), peer, peer_length));
	return names;
}

/*
 * (fd, buffer): bytes of the packet, or -errno: -EAGAIN for none there, -EMSGSIZE for one that did
 * not fit and is lost, -ENODATA for the end. An empty packet is not an end, but recv(2) answers 0
 * to both: a packet comes with its sender's name, which is there because it was dialled by it, and
 * an end comes without.
 */
Napi::Value receive_packet(const Napi::CallbackInfo &info)
{
	int fd = info[0].As<Napi::Number>().Int32Value();
	Napi::Uint8Array buffer = info[1].As<Napi::Uint8Array>();
	ssize_t bytes;
	struct iovec part = {buffer.Data(), buffer.ByteLength()};
	struct sockaddr_un sender = {};
	struct msghdr message = {};

	message.msg_name = &sender;
	message.msg_namelen = sizeof(sender);
	message.msg_iov = &part;
	message.msg_iovlen = 1;
	do {
		bytes = recvmsg(fd, &message, MSG_DONTWAIT);
	} while (bytes < 0 && errno == EINTR);
	if (bytes < 0)
		bytes = -errno;
	else if (message.msg_flags & MSG_TRUNC)
		bytes = -EMSGSIZE;
	else if (bytes == 0 && message.msg_namelen == 0)
		bytes = -ENODATA;
	return Napi::Number::New(info.Env(), static_cast<double>(bytes));
}

/* (fd, packet): 0, or -errno; -EAGAIN while the peer's queue is full. */
Napi::Value send_packet(const Napi::CallbackInfo &info)
{
	int fd = info[0].As<Napi::Number>().Int32Value();
	Napi::Uint8Array packet = info[1].As<Napi::Uint8Array>();
	ssize_t bytes;

	do {
		bytes = send(fd, packet.Data(), packet.ByteLength(), MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (bytes < 0 && errno == EINTR);
	return Napi::Number::New(info.Env(), bytes < 0 ? -errno : 0);
}

/* (fd): shutdown(2) of our direction. */
Napi::Value shutdown_writing(const Napi::CallbackInfo &info)
{
	if (shutdown(info[0].As<Napi::Number>().Int32Value(), SHUT_WR) < 0)
		return fail(info.Env(), "shutdown");
	return info.Env().Undefined();
}
