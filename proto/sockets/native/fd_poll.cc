/* FdPoll: tells JavaScript when a descriptor is ready, on the loop of the thread that made it. */
#include "addon.h"
#include "uv_poll.h"

#include <cerrno>
#include <cstdlib>
#include <unistd.h>

namespace
{

/* Owned by the loop from uv_poll_init to the end of uv_close: the JavaScript object may be
 * collected before. */
struct Handle {
	struct uv_poll_s *poll;
	class FdPoll *owner;
};

class FdPoll : public Napi::ObjectWrap<FdPoll>
{
      public:
	explicit FdPoll(const Napi::CallbackInfo &info);
	~FdPoll() override
	{
		release();
	}
	Napi::Value start(const Napi::CallbackInfo &info);
	Napi::Value close(const Napi::CallbackInfo &info);
	Napi::Value detach(const Napi::CallbackInfo &info);

      private:
	static void on_ready(uv_poll_s *poll, int status, int events);
	static void on_closed(uv_handle_s *poll);
	static void on_environment_end(void *self);
	int release_handle();
	void release();

	Handle *handle_ = nullptr;
	int fd_ = -1;
	Napi::FunctionReference callback_;
};

/* (fd, callback(status, events)): owns the descriptor from here on, also when the thread is ended;
 * status is 0 or -errno, events a mask of 1 readable and 2 writable. */
FdPoll::FdPoll(const Napi::CallbackInfo &info) : Napi::ObjectWrap<FdPoll>(info)
{
	struct uv_loop_s *loop = nullptr;
	uv_poll_s *poll;
	int status;

	if (napi_get_uv_event_loop(info.Env(), reinterpret_cast<::uv_loop_s **>(&loop)) != napi_ok)
		return;
	poll = static_cast<uv_poll_s *>(calloc(1, uv_handle_size(UV_POLL_TYPE)));
	status = uv_poll_init(loop, poll, info[0].As<Napi::Number>().Int32Value());
	if (status < 0) {
		free(poll);
		errno = -status;
		fail(info.Env(), "epoll");
		return;
	}
	handle_ = new Handle{poll, this};
	fd_ = info[0].As<Napi::Number>().Int32Value();
	uv_handle_set_data(as_handle(poll), handle_);
	callback_ = Napi::Persistent(info[1].As<Napi::Function>());
	napi_add_env_cleanup_hook(info.Env(), on_environment_end, this);
}

/* (events): what to wait for from here on; 0 for nothing. Nothing after close. */
Napi::Value FdPoll::start(const Napi::CallbackInfo &info)
{
	int events = info[0].As<Napi::Number>().Int32Value() & UV_POLL_EVENTS;

	if (handle_ != nullptr) {
		if (events == 0)
			uv_poll_stop(handle_->poll);
		else
			uv_poll_start(handle_->poll, events, on_ready);
	}
	return info.Env().Undefined();
}

/* Closes the descriptor too. Idempotent, also inside the callback. */
Napi::Value FdPoll::close(const Napi::CallbackInfo &info)
{
	release();
	return info.Env().Undefined();
}

/* Ends the watch; the descriptor is the caller's from here on. -1 when there is none any more. */
Napi::Value FdPoll::detach(const Napi::CallbackInfo &info)
{
	return Napi::Number::New(info.Env(), release_handle());
}

void FdPoll::on_ready(uv_poll_s *poll, int status, int events)
{
	Handle *handle = static_cast<Handle *>(uv_handle_get_data(as_handle(poll)));
	FdPoll *self = handle->owner;

	if (self == nullptr)
		return;
	Napi::Env env = self->Env();
	Napi::HandleScope scope(env);
	self->callback_.MakeCallback(
	    env.Global(), {Napi::Number::New(env, status), Napi::Number::New(env, events)});
}

void FdPoll::on_closed(uv_handle_s *poll)
{
	delete static_cast<Handle *>(uv_handle_get_data(poll));
	free(poll);
}

void FdPoll::on_environment_end(void *self)
{
	FdPoll *poll = static_cast<FdPoll *>(self);

	poll->release();
}

int FdPoll::release_handle()
{
	int fd = fd_;

	if (handle_ == nullptr)
		return -1;
	napi_remove_env_cleanup_hook(Env(), on_environment_end, this);
	handle_->owner = nullptr;
	uv_close(as_handle(handle_->poll), on_closed);
	handle_ = nullptr;
	callback_.Reset();
	return fd;
}

void FdPoll::release()
{
	int fd = release_handle();

	/* Allowed right after uv_close (libuv, "uv_poll_t"). */
	if (fd >= 0)
		::close(fd);
}

} // namespace

Napi::Function define_fd_poll(Napi::Env env)
{
	return FdPoll::DefineClass(env, "FdPoll",
				   {FdPoll::InstanceMethod<&FdPoll::start>("start"),
				    FdPoll::InstanceMethod<&FdPoll::close>("close"),
				    FdPoll::InstanceMethod<&FdPoll::detach>("detach")});
}
