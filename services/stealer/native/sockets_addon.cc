/* The class Sockets: one epoll descriptor, and the memory that all of its sockets are read into. */
#include "addon.h"
#include "sockets.h"

#include <algorithm>
#include <cerrno>

namespace
{

class Sockets : public Napi::ObjectWrap<Sockets> {
public:
	explicit Sockets(const Napi::CallbackInfo &info);
	Napi::Value add(const Napi::CallbackInfo &info);
	Napi::Value ready(const Napi::CallbackInfo &info);
	Napi::Value read(const Napi::CallbackInfo &info);
	Napi::Value write_read(const Napi::CallbackInfo &info);
	Napi::Value write(const Napi::CallbackInfo &info);
	Napi::Value end(const Napi::CallbackInfo &info);
	Napi::Value close(const Napi::CallbackInfo &info);

private:
	static int to_int(const Napi::Value &value) { return value.As<Napi::Number>().Int32Value(); }
	static size_t to_size(const Napi::Value &value) { return value.As<Napi::Number>().Uint32Value(); }
	static Napi::Value to_value(const Napi::CallbackInfo &info, int64_t number)
	{
		return Napi::Number::New(info.Env(), static_cast<double>(number));
	}

	int epoll_fd_ = -1;
	/* Held, so that their memory stays. */
	Napi::ObjectReference bytes_object_;
	Napi::ObjectReference ready_object_;
	uint8_t *bytes_ = nullptr;
	size_t size_ = 0;
	uint32_t *ready_ = nullptr;
};

/* (bytes: Uint8Array, ready: Uint32Array): `epollFd` is the caller's, who watches and closes it. */
Sockets::Sockets(const Napi::CallbackInfo &info) : Napi::ObjectWrap<Sockets>(info)
{
	Napi::Uint8Array bytes = info[0].As<Napi::Uint8Array>();
	Napi::Uint32Array ready = info[1].As<Napi::Uint32Array>();

	if (ready.ElementLength() < SOCKETS_PER_WAIT * 2) {
		fail(info.Env(), -EINVAL, "epoll_wait");
		return;
	}
	epoll_fd_ = sockets_open();
	if (epoll_fd_ < 0) {
		fail(info.Env(), epoll_fd_, "epoll_create1");
		return;
	}
	bytes_object_ = Napi::Persistent(bytes.As<Napi::Object>());
	ready_object_ = Napi::Persistent(ready.As<Napi::Object>());
	bytes_ = bytes.Data();
	size_ = bytes.ByteLength();
	ready_ = ready.Data();
	info.This().As<Napi::Object>().Set("epollFd", Napi::Number::New(info.Env(), epoll_fd_));
}

/* (fd, id): 0 or -errno. */
Napi::Value Sockets::add(const Napi::CallbackInfo &info)
{
	return to_value(info, sockets_add(epoll_fd_, to_int(info[0]), info[1].As<Napi::Number>().Uint32Value()));
}

/* (): how many have become ready; their ids and masks lie in `ready`. */
Napi::Value Sockets::ready(const Napi::CallbackInfo &info)
{
	return to_value(info, sockets_ready(epoll_fd_, ready_));
}

/* (fd, most): how many bytes lie in `bytes`, or -errno. */
Napi::Value Sockets::read(const Napi::CallbackInfo &info)
{
	return to_value(info, socket_read(to_int(info[0]), bytes_, std::min(to_size(info[1]), size_)));
}

/* (fd, start, length): writes what lies in `bytes`. How many bytes the kernel took, or -errno. */
Napi::Value Sockets::write_read(const Napi::CallbackInfo &info)
{
	size_t start = std::min(to_size(info[1]), size_);

	return to_value(info, socket_write(to_int(info[0]), bytes_ + start, std::min(to_size(info[2]), size_ - start)));
}

/* (fd, other: Uint8Array) */
Napi::Value Sockets::write(const Napi::CallbackInfo &info)
{
	Napi::Uint8Array other = info[1].As<Napi::Uint8Array>();

	return to_value(info, socket_write(to_int(info[0]), other.Data(), other.ByteLength()));
}

/* (fd) */
Napi::Value Sockets::end(const Napi::CallbackInfo &info)
{
	return to_value(info, socket_end(to_int(info[0])));
}

/* (fd, isReset) */
Napi::Value Sockets::close(const Napi::CallbackInfo &info)
{
	socket_close(to_int(info[0]), info[1].ToBoolean());
	return info.Env().Undefined();
}

} // namespace

Napi::Function define_sockets(Napi::Env env)
{
	return Sockets::DefineClass(env, "Sockets",
	                            {
	                                    Sockets::InstanceMethod<&Sockets::add>("add"),
	                                    Sockets::InstanceMethod<&Sockets::ready>("ready"),
	                                    Sockets::InstanceMethod<&Sockets::read>("read"),
	                                    Sockets::InstanceMethod<&Sockets::write_read>("writeRead"),
	                                    Sockets::InstanceMethod<&Sockets::write>("write"),
	                                    Sockets::InstanceMethod<&Sockets::end>("end"),
	                                    Sockets::InstanceMethod<&Sockets::close>("close"),
	                            });
}
