/* Of the class Sockets: doors, and what comes in there. */
#include "sockets_addon.h"

/* (listenerFd, namespaceFd, redirect | null, isTranslated, to | null): its id, or -errno. All stay the caller's until it is closed. */
Napi::Value Sockets::open_door(const Napi::CallbackInfo &info)
{
	struct endpoint to = {};
	struct door door = {to_int(info[0]), to_int(info[1]), redirect_of(info[2]), info[3].ToBoolean(), nullptr};
	int error = 0;

	if (info[4].IsObject()) {
		to = from_object(info[4].As<Napi::Object>());
		door.to = &to;
	}
	uint32_t id = arrivals_->open_door(door, &error);

	return to_value(info, error < 0 ? error : static_cast<int64_t>(id));
}

/* (door, port, screen): -1, nothing of it passes by itself any more. */
Napi::Value Sockets::set_door_port(const Napi::CallbackInfo &info)
{
	arrivals_->set_port(info[0].As<Napi::Number>().Uint32Value(), static_cast<uint16_t>(to_size(info[1])), to_int(info[2]));
	return info.Env().Undefined();
}

/* (door): after a shortage. */
Napi::Value Sockets::resume_door(const Napi::CallbackInfo &info)
{
	arrivals_->resume(info[0].As<Napi::Number>().Uint32Value());
	return info.Env().Undefined();
}

/* (door): descriptors of clients that have to be taken over. */
Napi::Value Sockets::close_door(const Napi::CallbackInfo &info)
{
	std::vector<int> left;

	if (watch_ != nullptr)
		left = arrivals_->close_door(info[0].As<Napi::Number>().Uint32Value());
	Napi::Array result = Napi::Array::New(info.Env(), left.size());

	for (size_t at = 0; at < left.size(); at++)
		result.Set(static_cast<uint32_t>(at), Napi::Number::New(info.Env(), left[at]));
	return result;
}

/* (clientFd): what index.ts says of an arrival, which is the caller's from here on; null for what is none. */
Napi::Value Sockets::take_arrival(const Napi::CallbackInfo &info)
{
	struct arrival taken;

	if (!arrivals_->take(to_int(info[0]), &taken))
		return info.Env().Null();
	Napi::Object result = Napi::Object::New(info.Env());
	const auto number = [&](const char *name, uint32_t value) { result.Set(name, Napi::Number::New(info.Env(), value)); };

	number("clientFd", static_cast<uint32_t>(taken.client));
	number("clientId", taken.client_id);
	number("originFd", static_cast<uint32_t>(taken.origin));
	number("originId", taken.origin_id);
	number("door", taken.door_id);
	number("clientMask", taken.client_mask);
	result.Set("peer", to_object(info.Env(), taken.peer));
	result.Set("local", to_object(info.Env(), taken.local));
	result.Set("bound", to_object(info.Env(), taken.bound));
	result.Set("isDialling", Napi::Boolean::New(info.Env(), taken.is_dialling));
	result.Set("wasAsked", Napi::Boolean::New(info.Env(), taken.was_asked));
	return result;
}

/* (screen): connections of it that nobody has taken over. */
Napi::Value Sockets::arrivals_of(const Napi::CallbackInfo &info)
{
	return to_value(info, static_cast<int64_t>(arrivals_->count_of(info[0].As<Napi::Number>().Uint32Value())));
}

/* (): how many are told of. */
Napi::Value Sockets::sweep(const Napi::CallbackInfo &info)
{
	return to_value(info, watch_ == nullptr ? 0 : static_cast<int64_t>(arrivals_->sweep(told_, SOCKETS_PER_WAIT)));
}
