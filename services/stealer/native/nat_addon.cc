/* The redirect by translation of addresses, as Node sees it. */
#include "addon.h"

#include <cerrno>
#include <unistd.h>

/* A redirect by translation of addresses. */
class Nat : public Napi::ObjectWrap<Nat> {
public:
	/* (namespaceFd, listenerFd, name, how): by nf_tables, 'owned' or 'guarded', or by ip_tables, 'legacy'. The descriptors stay the caller's. */
	explicit Nat(const Napi::CallbackInfo &info) : Napi::ObjectWrap<Nat>(info)
	{
		struct sockaddr_storage address;
		socklen_t length = sizeof address;

		if (getsockname(info[1].As<Napi::Number>().Int32Value(), reinterpret_cast<struct sockaddr *>(&address), &length) < 0) {
			fail(info.Env(), -errno, "getsockname");
			return;
		}
		const int namespace_fd = info[0].As<Napi::Number>().Int32Value();
		const uint16_t port = to_endpoint(address).port;

		listener_port_ = port;
		const std::string name = info[2].As<Napi::String>().Utf8Value();
		const std::string how = info[3].As<Napi::String>().Utf8Value();
		int error = how == "legacy" ? legacy_open(namespace_fd, name.c_str(), port, &legacy_)
		                            : nat_open(namespace_fd, name.c_str(), port, how == "owned", &nat_);

		if (error < 0) {
			fail(info.Env(), error, how == "legacy" ? "ip_tables" : "nf_tables");
			return;
		}
		/* A kernel without nf_tables keeps at it by itself. */
		(void)kept_open(namespace_fd, ("mirrord-pass-" + name.substr(name.rfind("steal-") + 6)).c_str(), &kept_);
	}

	~Nat() override
	{
		close_rules();
		close_kept();
	}

	/* (port, isStolen) */
	Napi::Value set_port(const Napi::CallbackInfo &info)
	{
		uint32_t port = info[0].As<Napi::Number>().Uint32Value();
		bool is_stolen = info[1].ToBoolean();
		int error = -EBADF;

		if (legacy_ != nullptr)
			error = legacy_port(legacy_, static_cast<uint16_t>(port), is_stolen);
		else if (nat_ != nullptr)
			error = nat_port(nat_, static_cast<uint16_t>(port), is_stolen);
		if (error < 0)
			fail(info.Env(), error, legacy_ != nullptr ? "ip_tables" : "nf_tables");
		return info.Env().Undefined();
	}

	/* (namespaceFd, acceptedFd): as of Redirect. */
	Napi::Value dial(const Napi::CallbackInfo &info)
	{
		struct endpoint peer = {};
		struct endpoint bound = {};
		int error = original_of(info[1].As<Napi::Number>().Int32Value(), &peer);
		int fd = error < 0 ? error : bind_in(info[0].As<Napi::Number>().Int32Value(), peer, &bound);

		if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_MARK, &own_mark, sizeof own_mark) < 0)
			error = -errno;
		else if (fd >= 0)
			error = connect_to(fd, peer);
		if (fd < 0 || error < 0) {
			if (fd >= 0)
				::close(fd);
			fail(info.Env(), fd < 0 ? fd : error, "connect");
			return info.Env().Undefined();
		}
		Napi::Object result = to_object(info.Env(), bound);

		result.Set("fd", Napi::Number::New(info.Env(), fd));
		return result;
	}

	Napi::Value is_owned(const Napi::CallbackInfo &info)
	{
		return Napi::Boolean::New(info.Env(), nat_ != nullptr && nat_is_owned(nat_));
	}

	Napi::Value has_ipv6(const Napi::CallbackInfo &info)
	{
		return Napi::Boolean::New(info.Env(), legacy_ != nullptr ? legacy_has_ipv6(legacy_) : nat_ != nullptr && nat_has_ipv6(nat_));
	}

	Napi::Value close(const Napi::CallbackInfo &info)
	{
		close_rules();
		return info.Env().Undefined();
	}

	/* (namespaceFd): what was translated to the listener, which is closed, and reset. A kernel that will not say has nothing of it, or
	 * forgets it in ten seconds. */
	Napi::Value forget_reset(const Napi::CallbackInfo &info)
	{
		(void)forget_translated(info[0].As<Napi::Number>().Int32Value(), listener_port_);
		return info.Env().Undefined();
	}

	Napi::Value release(const Napi::CallbackInfo &info)
	{
		close_kept();
		return info.Env().Undefined();
	}

private:
	void close_kept()
	{
		if (kept_ != nullptr)
			kept_close(kept_);
		kept_ = nullptr;
	}

	void close_rules()
	{
		if (nat_ != nullptr)
			nat_close(nat_);
		if (legacy_ != nullptr)
			legacy_close(legacy_);
		nat_ = nullptr;
		legacy_ = nullptr;
	}

	/* One of both. */
	struct nat *nat_ = nullptr;
	struct legacy_nat *legacy_ = nullptr;
	struct kept_nat *kept_ = nullptr;
	uint16_t listener_port_ = 0;
};

/* (namespaceFd, name): all of ours when it is empty, of both kinds. */
static Napi::Value sweep(const Napi::CallbackInfo &info)
{
	const int namespace_fd = info[0].As<Napi::Number>().Int32Value();
	const std::string name = info[1].As<Napi::String>().Utf8Value();
	int legacy_error = legacy_sweep(namespace_fd, name);
	int error = nat_sweep(namespace_fd, name);

	if (error < 0 || legacy_error < 0)
		fail(info.Env(), error < 0 ? error : legacy_error, error < 0 ? "nf_tables" : "ip_tables");
	return info.Env().Undefined();
}

/* (acceptedFd): where it was meant to go, or null when no translation brought it. */
static Napi::Value original_destination(const Napi::CallbackInfo &info)
{
	struct endpoint original = {};

	if (original_of(info[0].As<Napi::Number>().Int32Value(), &original) < 0)
		return info.Env().Null();
	return to_object(info.Env(), original);
}

/* (namespaceFd): the caller closes it. */
static Napi::Value open_listening_in(const Napi::CallbackInfo &info)
{
	int fd = open_listening(info[0].As<Napi::Number>().Int32Value());

	if (fd < 0)
		fail(info.Env(), fd, "sock_diag");
	return Napi::Number::New(info.Env(), fd);
}

/* (fd) */
static Napi::Value listening(const Napi::CallbackInfo &info)
{
	std::vector<uint16_t> ports;
	int error = listening_ports(info[0].As<Napi::Number>().Int32Value(), &ports);

	if (error < 0) {
		fail(info.Env(), error, "sock_diag");
		return info.Env().Undefined();
	}
	Napi::Array result = Napi::Array::New(info.Env(), ports.size());

	for (size_t at = 0; at < ports.size(); at++)
		result.Set(static_cast<uint32_t>(at), Napi::Number::New(info.Env(), ports[at]));
	return result;
}

void define_nat(Napi::Env env, Napi::Object exports)
{
	exports.Set("openListening", Napi::Function::New(env, open_listening_in));
	exports.Set("listening", Napi::Function::New(env, listening));
	exports.Set("Nat", Nat::DefineClass(env, "Nat",
	                                    {
	                                            Nat::InstanceMethod<&Nat::set_port>("setPort"),
	                                            Nat::InstanceMethod<&Nat::dial>("dial"),
	                                            Nat::InstanceMethod<&Nat::is_owned>("isOwned"),
	                                            Nat::InstanceMethod<&Nat::has_ipv6>("hasIpv6"),
	                                            Nat::InstanceMethod<&Nat::close>("close"),
	                                            Nat::InstanceMethod<&Nat::forget_reset>("forgetReset"),
	                                            Nat::InstanceMethod<&Nat::release>("release"),
	                                    }));
	exports.Set("sweep", Napi::Function::New(env, sweep));
	exports.Set("originalDestination", Napi::Function::New(env, original_destination));
}
