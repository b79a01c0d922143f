/* The class Sockets as its files have it: one epoll descriptor on the event loop, and the memory that all of its sockets are read into. */
#ifndef MIRRORD_STEALER_SOCKETS_ADDON_H
#define MIRRORD_STEALER_SOCKETS_ADDON_H

#include <memory>

#include "addon.h"
#include "arrivals.h"
#include "exchanges.h"
#include "judge_addon.h"
#include "sockets.h"
#include "tls.h"
#include "loop_watch.h"

class Sockets : public Napi::ObjectWrap<Sockets> {
public:
	explicit Sockets(const Napi::CallbackInfo &info);
	~Sockets() override { release(); }
	Napi::Value watch(const Napi::CallbackInfo &info);
	Napi::Value add(const Napi::CallbackInfo &info);
	Napi::Value secure(const Napi::CallbackInfo &info);
	Napi::Value handshake(const Napi::CallbackInfo &info);
	Napi::Value has_end(const Napi::CallbackInfo &info);
	Napi::Value agreed(const Napi::CallbackInfo &info);
	Napi::Value more(const Napi::CallbackInfo &info);
	Napi::Value set_screen(const Napi::CallbackInfo &info);
	Napi::Value learn_head(const Napi::CallbackInfo &info);
	Napi::Value take_count(const Napi::CallbackInfo &info);
	Napi::Value join(const Napi::CallbackInfo &info);
	Napi::Value part(const Napi::CallbackInfo &info);
	Napi::Value take_left(const Napi::CallbackInfo &info);
	Napi::Value join_streams(const Napi::CallbackInfo &info);
	Napi::Value take_streams(const Napi::CallbackInfo &info);
	Napi::Value open_door(const Napi::CallbackInfo &info);
	Napi::Value set_door_port(const Napi::CallbackInfo &info);
	Napi::Value resume_door(const Napi::CallbackInfo &info);
	Napi::Value close_door(const Napi::CallbackInfo &info);
	Napi::Value take_arrival(const Napi::CallbackInfo &info);
	Napi::Value arrivals_of(const Napi::CallbackInfo &info);
	Napi::Value sweep(const Napi::CallbackInfo &info);
	Napi::Value read(const Napi::CallbackInfo &info);
	Napi::Value write_read(const Napi::CallbackInfo &info);
	Napi::Value write(const Napi::CallbackInfo &info);
	Napi::Value end(const Napi::CallbackInfo &info);
	Napi::Value is_torn(const Napi::CallbackInfo &info);
	Napi::Value close(const Napi::CallbackInfo &info);

private:
	static int to_int(const Napi::Value &value) { return value.As<Napi::Number>().Int32Value(); }
	static size_t to_size(const Napi::Value &value) { return value.As<Napi::Number>().Uint32Value(); }
	static Napi::Value to_value(const Napi::CallbackInfo &info, int64_t number)
	{
		return Napi::Number::New(info.Env(), static_cast<double>(number));
	}

	static void on_ready(void *self, const struct ready_socket *ready, size_t count);
	static void on_environment_end(void *self) { static_cast<Sockets *>(self)->release(); }
	/* How many lie in `told`, and TOLD_MORE when others are left. */
	uint32_t turn();
	void release();

	int epoll_fd_ = -1;
	/* Its own owner: the JavaScript object may be collected before the loop knows. */
	LoopWatch *watch_ = nullptr;
	Napi::FunctionReference callback_;
	/* Held, so that their memory stays. */
	Napi::ObjectReference bytes_object_;
	Napi::ObjectReference told_object_;
	uint8_t *bytes_ = nullptr;
	size_t size_ = 0;
	struct told_socket *told_ = nullptr;
	const struct ready_socket *ready_ = nullptr;
	size_t ready_count_ = 0;
	size_t next_ = 0;
	Streams streams_;
	Exchanges exchanges_{streams_};
	std::unique_ptr<FilterJudge> judge_;
	std::unique_ptr<Arrivals> arrivals_;
};

#endif
