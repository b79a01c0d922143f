/* The door of stealer.node: a redirect in one namespace with its listener, and the sockets of the relay. A failed system call throws an Error
 * with `errno` (a number) and `syscall`. */
#include "addon.h"
#include "judge_addon.h"
#include "tls_addon.h"
#include "plain_message.h"
#include "stealer.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <unistd.h>

void fail(Napi::Env env, int error, const char *syscall, const std::string &message)
{
	Napi::Error thrown = Napi::Error::New(env, std::string(syscall) + ": " + strerror(-error) + message);

	thrown.Set("errno", Napi::Number::New(env, -error));
	thrown.Set("syscall", Napi::String::New(env, syscall));
	thrown.ThrowAsJavaScriptException();
}

Napi::Object to_object(Napi::Env env, const struct endpoint &endpoint)
{
	Napi::Object object = Napi::Object::New(env);

	object.Set("address", Napi::Buffer<uint8_t>::Copy(env, endpoint.address, sizeof endpoint.address));
	object.Set("port", Napi::Number::New(env, endpoint.port));
	return object;
}

struct endpoint from_object(const Napi::Object &object)
{
	Napi::Buffer<uint8_t> address = object.Get("address").As<Napi::Buffer<uint8_t>>();
	struct endpoint endpoint = {};

	memcpy(endpoint.address, address.Data(), std::min(address.Length(), sizeof endpoint.address));
	endpoint.port = static_cast<uint16_t>(object.Get("port").As<Napi::Number>().Uint32Value());
	return endpoint;
}

class Redirect : public Napi::ObjectWrap<Redirect> {
public:
	/* (namespaceFd, listenerFd): both stay the caller's. */
	explicit Redirect(const Napi::CallbackInfo &info) : Napi::ObjectWrap<Redirect>(info)
	{
		std::string message;
		int error = redirect_open(to_fd(info[0]), to_fd(info[1]), &redirect_, &message);

		if (error < 0)
			fail(info.Env(), error, "bpf", message.empty() ? message : ": " + message);
	}

	~Redirect() override { release(); }

	struct redirect *raw() const { return redirect_; }

	/* (port, isStolen) */
	Napi::Value set_port(const Napi::CallbackInfo &info)
	{
		uint32_t port = info[0].As<Napi::Number>().Uint32Value();
		int error = redirect_ == nullptr ? -EBADF : redirect_port(redirect_, static_cast<uint16_t>(port), info[1].ToBoolean());

		if (error < 0)
			fail(info.Env(), error, "bpf");
		return info.Env().Undefined();
	}

	/* (namespaceFd, acceptedFd): connects to where the accepted connection was meant to go, past the redirect. Returns the
	 * descriptor and where it comes from, to be forgotten later. */
	Napi::Value dial(const Napi::CallbackInfo &info)
	{
		struct sockaddr_storage address;
		socklen_t length = sizeof address;
		struct endpoint bound = {};

		if (getsockname(to_fd(info[1]), reinterpret_cast<struct sockaddr *>(&address), &length) < 0)
			return failed(info, -errno, "getsockname");
		struct endpoint peer = to_endpoint(address);
		int fd = bind_in(to_fd(info[0]), peer, &bound);

		if (fd < 0)
			return failed(info, fd, "bind");
		/* For a sniffer to know that it has seen what we pass on; without the right to it that is copied twice. */
		setsockopt(fd, SOL_SOCKET, SO_MARK, &own_mark, sizeof own_mark);
		int error = redirect_ == nullptr ? 0 : redirect_dial(redirect_, bound, true);

		if (error == 0)
			error = connect_to(fd, peer);
		if (error < 0) {
			if (redirect_ != nullptr)
				redirect_dial(redirect_, bound, false);
			::close(fd);
			return failed(info, error, "connect");
		}
		Napi::Object result = to_object(info.Env(), bound);

		result.Set("fd", Napi::Number::New(info.Env(), fd));
		return result;
	}

	/* (address, port): the connection is established or over; its port may be another's next. */
	Napi::Value forget(const Napi::CallbackInfo &info)
	{
		struct endpoint source = {};
		Napi::Buffer<uint8_t> address = info[0].As<Napi::Buffer<uint8_t>>();

		if (redirect_ == nullptr || address.Length() != sizeof source.address)
			return info.Env().Undefined();
		memcpy(source.address, address.Data(), sizeof source.address);
		source.port = static_cast<uint16_t>(info[1].As<Napi::Number>().Uint32Value());
		redirect_dial(redirect_, source, false);
		return info.Env().Undefined();
	}

	Napi::Value close(const Napi::CallbackInfo &info)
	{
		release();
		return info.Env().Undefined();
	}

private:
	static int to_fd(const Napi::Value &value) { return value.As<Napi::Number>().Int32Value(); }

	static Napi::Value failed(const Napi::CallbackInfo &info, int error, const char *syscall)
	{
		fail(info.Env(), error, syscall);
		return info.Env().Undefined();
	}

	void release()
	{
		if (redirect_ != nullptr)
			redirect_close(redirect_);
		redirect_ = nullptr;
	}

	struct redirect *redirect_ = nullptr;
};

struct redirect *redirect_of(const Napi::Value &value)
{
	return value.IsObject() ? Redirect::Unwrap(value.As<Napi::Object>())->raw() : nullptr;
}

/* (namespaceFd, backlog): a listening descriptor, the caller's; -1 is the namespace of this process. */
static Napi::Value open_listener(const Napi::CallbackInfo &info)
{
	int fd = listen_in(info[0].As<Napi::Number>().Int32Value(), info[1].As<Napi::Number>().Int32Value());

	if (fd >= 0)
		return Napi::Number::New(info.Env(), fd);
	fail(info.Env(), fd, "listen");
	return info.Env().Undefined();
}

/* (namespaceFd, name): a descriptor that listens at the name there, the caller's. */
static Napi::Value claim(const Napi::CallbackInfo &info)
{
	int fd = claim_in(info[0].As<Napi::Number>().Int32Value(), info[1].As<Napi::String>().Utf8Value());

	if (fd >= 0)
		return Napi::Number::New(info.Env(), fd);
	fail(info.Env(), fd, "bind");
	return info.Env().Undefined();
}

/* (namespaceFd, name): a descriptor that is connected to who listens there, the caller's. */
static Napi::Value join(const Napi::CallbackInfo &info)
{
	int fd = join_in(info[0].As<Napi::Number>().Int32Value(), info[1].As<Napi::String>().Utf8Value());

	if (fd >= 0)
		return Napi::Number::New(info.Env(), fd);
	fail(info.Env(), fd, "connect");
	return info.Env().Undefined();
}

/* (listenerFd): the next connection to a claimed name, the caller's, or null when none waits. */
static Napi::Value accept_peer(const Napi::CallbackInfo &info)
{
	int fd;

	do {
		fd = accept4(info[0].As<Napi::Number>().Int32Value(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
	} while (fd < 0 && (errno == ECONNABORTED || errno == EINTR));
	if (fd >= 0)
		return Napi::Number::New(info.Env(), fd);
	if (errno == EAGAIN || errno == EWOULDBLOCK)
		return info.Env().Null();
	fail(info.Env(), -errno, "accept");
	return info.Env().Undefined();
}

/* (fd): who is at the other end of a unix socket; the pidfd is the caller's, -1 for a process that we cannot see. */
static Napi::Value peer_of_socket(const Napi::CallbackInfo &info)
{
	struct peer peer = {};
	int error = peer_of(info[0].As<Napi::Number>().Int32Value(), &peer);

	if (error < 0) {
		fail(info.Env(), error, "getsockopt");
		return info.Env().Undefined();
	}
	Napi::Object result = Napi::Object::New(info.Env());

	result.Set("pid", Napi::Number::New(info.Env(), peer.pid));
	result.Set("uid", Napi::Number::New(info.Env(), peer.uid));
	result.Set("pidFd", Napi::Number::New(info.Env(), peer.pid_fd));
	return result;
}

/* (pidFd): the process is killed. */
static Napi::Value end_peer(const Napi::CallbackInfo &info)
{
	int error = end_process(info[0].As<Napi::Number>().Int32Value());

	if (error < 0)
		fail(info.Env(), error, "pidfd_send_signal");
	return info.Env().Undefined();
}

/* (fd): its two ends, and itself. */
static Napi::Value ends_of(const Napi::CallbackInfo &info)
{
	struct sockaddr_storage peer = {};
	struct sockaddr_storage local = {};
	socklen_t length = sizeof peer;
	int fd = info[0].As<Napi::Number>().Int32Value();

	/* One that was reset already has no peer. */
	(void)getpeername(fd, reinterpret_cast<struct sockaddr *>(&peer), &length);
	length = sizeof local;
	if (getsockname(fd, reinterpret_cast<struct sockaddr *>(&local), &length) < 0) {
		fail(info.Env(), -errno, "getsockname");
		return info.Env().Undefined();
	}
	Napi::Object result = Napi::Object::New(info.Env());

	result.Set("fd", Napi::Number::New(info.Env(), fd));
	result.Set("peer", to_object(info.Env(), to_endpoint(peer)));
	result.Set("local", to_object(info.Env(), to_endpoint(local)));
	return result;
}

/* (listenerFd): the next connection, or null when none waits. Errors of the connection itself are skipped, as its manual page says. */
static Napi::Value accept_next(const Napi::CallbackInfo &info)
{
	struct sockaddr_storage peer;
	struct sockaddr_storage local;

	for (;;) {
		socklen_t length = sizeof peer;
		int fd = accept4(info[0].As<Napi::Number>().Int32Value(), reinterpret_cast<struct sockaddr *>(&peer), &length,
		                 SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return info.Env().Null();
		if (fd < 0 && (errno == ECONNABORTED || errno == EINTR || errno == EPROTO))
			continue;
		if (fd < 0) {
			fail(info.Env(), -errno, "accept");
			return info.Env().Undefined();
		}
		length = sizeof local;
		if (getsockname(fd, reinterpret_cast<struct sockaddr *>(&local), &length) < 0) {
			close(fd);
			continue;
		}
		Napi::Object result = Napi::Object::New(info.Env());

		result.Set("fd", Napi::Number::New(info.Env(), fd));
		result.Set("peer", to_object(info.Env(), to_endpoint(peer)));
		result.Set("local", to_object(info.Env(), to_endpoint(local)));
		return result;
	}
}

/* (namespaceFd, endpoint): a descriptor that is being connected, the caller's. Without a redirect, so nothing is past it. */
static Napi::Value open_connection(const Napi::CallbackInfo &info)
{
	struct endpoint peer = from_object(info[1].As<Napi::Object>());
	struct endpoint bound = {};

	int fd = bind_in(info[0].As<Napi::Number>().Int32Value(), peer, &bound);
	int error = fd < 0 ? fd : connect_to(fd, peer);

	if (error >= 0)
		return Napi::Number::New(info.Env(), fd);
	if (fd >= 0)
		close(fd);
	fail(info.Env(), error, "connect");
	return info.Env().Undefined();
}

/* (fd): what it is bound to. */
static Napi::Value local_of(const Napi::CallbackInfo &info)
{
	struct sockaddr_storage local = {};
	socklen_t length = sizeof local;

	if (getsockname(info[0].As<Napi::Number>().Int32Value(), reinterpret_cast<struct sockaddr *>(&local), &length) == 0)
		return to_object(info.Env(), to_endpoint(local));
	fail(info.Env(), -errno, "getsockname");
	return info.Env().Undefined();
}

/* (bytes): 'kept' when they are one plain request, 'last' when no other one may follow it, else null. */
static Napi::Value is_plain_request(const Napi::CallbackInfo &info)
{
	Napi::Uint8Array bytes = info[0].As<Napi::Uint8Array>();
	struct plain_message message;

	if (!read_plain_request(bytes.Data(), bytes.ByteLength(), &message))
		return info.Env().Null();
	return Napi::String::New(info.Env(), message.closes ? "last" : "kept");
}

/* (bytes, isToHead): the same of a response. */
static Napi::Value is_plain_response(const Napi::CallbackInfo &info)
{
	Napi::Uint8Array bytes = info[0].As<Napi::Uint8Array>();
	struct plain_message message;

	if (!read_plain_response(bytes.Data(), bytes.ByteLength(), info[1].ToBoolean(), &message))
		return info.Env().Null();
	return Napi::String::New(info.Env(), message.closes ? "last" : "kept");
}

static Napi::Object init(Napi::Env env, Napi::Object exports)
{
	exports.Set("Redirect", Redirect::DefineClass(env, "Redirect",
	                                              {
	                                                      Redirect::InstanceMethod<&Redirect::set_port>("setPort"),
	                                                      Redirect::InstanceMethod<&Redirect::dial>("dial"),
	                                                      Redirect::InstanceMethod<&Redirect::forget>("forget"),
	                                                      Redirect::InstanceMethod<&Redirect::close>("close"),
	                                              }));
	exports.Set("Sockets", define_sockets(env));
	exports.Set("TlsContext", define_tls(env));
	define_looks(env, exports);
	define_heads(env, exports);
	define_judge(env, exports);
	define_nat(env, exports);
	exports.Set("isPlainRequest", Napi::Function::New(env, is_plain_request));
	exports.Set("isPlainResponse", Napi::Function::New(env, is_plain_response));
	exports.Set("listen", Napi::Function::New(env, open_listener));
	exports.Set("claim", Napi::Function::New(env, claim));
	exports.Set("join", Napi::Function::New(env, join));
	exports.Set("acceptPeer", Napi::Function::New(env, accept_peer));
	exports.Set("peerOf", Napi::Function::New(env, peer_of_socket));
	exports.Set("endPeer", Napi::Function::New(env, end_peer));
	exports.Set("connect", Napi::Function::New(env, open_connection));
	exports.Set("localOf", Napi::Function::New(env, local_of));
	exports.Set("endsOf", Napi::Function::New(env, ends_of));
	exports.Set("accept", Napi::Function::New(env, accept_next));
	return exports;
}

NODE_API_MODULE(stealer, init)
