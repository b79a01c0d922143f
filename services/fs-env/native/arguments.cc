// Objects carry a type tag: one made elsewhere, or of the other kind, is refused instead of being misread.
#include "arguments.h"

#include <cmath>

#include "pool.h"

namespace fs_env {

namespace {

constexpr int64_t NS_PER_SECOND = 1'000'000'000;

// Smaller data is copied into a buffer of Node's: cheaper than one with a finalizer.
constexpr size_t COPIED_BYTES = 8 * 1024;

template <typename T> struct Tag;
template <> struct Tag<Target> {
	static constexpr napi_type_tag value = {0x9c1f3c9b6b2a4e07, 0xa1d5f0c2e3b44871};
	static constexpr const char *name = "a target";
};
template <> struct Tag<Descriptor> {
	static constexpr napi_type_tag value = {0x4be0a7d1c7f94c35, 0x8f6d2b90317ac5e2};
	static constexpr const char *name = "an open file";
};

template <typename T> struct Holder {
	std::shared_ptr<T> held;
};

[[noreturn]] void refuse(Arguments info, size_t index, const std::string &wanted)
{
	throw Napi::TypeError::New(info.Env(), "argument " + std::to_string(index + 1) + " must be " + wanted);
}

// close(2) of a file on a network may take its time.
template <typename T> void release_in_pool(std::shared_ptr<T> held)
{
	if (held)
		run_in_pool([held = std::move(held)]() mutable { held.reset(); });
}

template <typename T> Napi::Value wrap(Napi::Env env, std::shared_ptr<T> held)
{
	Napi::Object object = Napi::Object::New(env);
	auto *holder = new Holder<T>{std::move(held)};
	napi_status status = napi_wrap(
	    env, object, holder,
	    [](napi_env, void *data, void *) {
		    auto *own = static_cast<Holder<T> *>(data);
		    release_in_pool(std::move(own->held));
		    delete own;
	    },
	    nullptr, nullptr);
	if (status != napi_ok)
		delete holder;
	if (status != napi_ok || napi_type_tag_object(env, object, &Tag<T>::value) != napi_ok)
		throw Napi::Error::New(env);
	return object;
}

template <typename T> bool is_tagged(Arguments info, size_t index)
{
	bool is_ours = false;
	return info[index].IsObject() &&
	       napi_check_object_type_tag(info.Env(), info[index], &Tag<T>::value, &is_ours) == napi_ok && is_ours;
}

template <typename T> Holder<T> &holder_at(Arguments info, size_t index)
{
	void *holder = nullptr;
	if (!is_tagged<T>(info, index) || napi_unwrap(info.Env(), info[index], &holder) != napi_ok)
		refuse(info, index, Tag<T>::name);
	return *static_cast<Holder<T> *>(holder);
}

template <typename T> std::shared_ptr<T> open_at(Arguments info, size_t index)
{
	auto &holder = holder_at<T>(info, index);
	if (!holder.held)
		refuse(info, index, std::string(Tag<T>::name) + " that is not closed");
	return holder.held;
}

Napi::Value make_data(Napi::Env env, std::vector<uint8_t> data)
{
	if (data.size() <= COPIED_BYTES)
		return Napi::Buffer<uint8_t>::Copy(env, data.data(), data.size());
	auto *owned = new std::vector<uint8_t>(std::move(data));
	return Napi::Buffer<uint8_t>::New(
	    env, owned->data(), owned->size(),
	    [](Napi::Env, uint8_t *, std::vector<uint8_t> *finished) { delete finished; }, owned);
}

Napi::Value make_reply(Napi::Env env, Reply &reply)
{
	Napi::Object result = Napi::Object::New(env);
	result.Set("head", Napi::Buffer<char>::Copy(env, reply.head.data(), reply.head.size()));
	result.Set("data", make_data(env, std::move(reply.data)));
	result.Set("file", reply.file ? wrap<Descriptor>(env, std::move(reply.file)) : env.Null());
	return result;
}

} // namespace

uint32_t number_at(Arguments info, size_t index)
{
	double value = info[index].IsNumber() ? info[index].As<Napi::Number>().DoubleValue() : -1;
	if (!(value >= 0 && value <= UINT32_MAX && std::floor(value) == value))
		refuse(info, index, "a whole number of 32 bits");
	return static_cast<uint32_t>(value);
}

uint64_t bigint_at(Arguments info, size_t index)
{
	bool is_lossless = false;
	uint64_t value = info[index].IsBigInt() ? info[index].As<Napi::BigInt>().Uint64Value(&is_lossless) : 0;
	if (!is_lossless)
		refuse(info, index, "a bigint of 64 bits");
	return value;
}

bool boolean_at(Arguments info, size_t index)
{
	if (!info[index].IsBoolean())
		refuse(info, index, "a boolean");
	return info[index].As<Napi::Boolean>();
}

std::string bytes_at(Arguments info, size_t index)
{
	if (!info[index].IsBuffer())
		refuse(info, index, "a buffer");
	auto buffer = info[index].As<Napi::Buffer<char>>();
	return std::string(buffer.Data(), buffer.Length());
}

std::optional<uint32_t> optional_number_at(Arguments info, size_t index)
{
	if (info[index].IsNull())
		return std::nullopt;
	return number_at(info, index);
}

std::optional<uint64_t> optional_bigint_at(Arguments info, size_t index)
{
	if (info[index].IsNull())
		return std::nullopt;
	return bigint_at(info, index);
}

struct timespec time_at(Arguments info, size_t index)
{
	struct timespec time = {0, UTIME_OMIT};
	if (info[index].IsNull())
		return time;
	time.tv_nsec = UTIME_NOW;
	if (info[index].IsString() && info[index].As<Napi::String>().Utf8Value() == "now")
		return time;
	bool is_lossless = false;
	int64_t value = info[index].IsBigInt() ? info[index].As<Napi::BigInt>().Int64Value(&is_lossless) : 0;
	if (!is_lossless)
		refuse(info, index, "null, 'now' or a bigint of 64 bits");
	// Rounds down, before the epoch too: tv_nsec is never negative.
	time.tv_sec = value / NS_PER_SECOND - (value % NS_PER_SECOND < 0 ? 1 : 0);
	time.tv_nsec = value - time.tv_sec * NS_PER_SECOND;
	return time;
}

std::shared_ptr<Target> target_at(Arguments info, size_t index)
{
	return open_at<Target>(info, index);
}

SharedDescriptor file_at(Arguments info, size_t index)
{
	return open_at<Descriptor>(info, index);
}

void close_target_at(Arguments info, size_t index)
{
	release_in_pool(std::move(holder_at<Target>(info, index).held));
}

void close_file_at(Arguments info, size_t index)
{
	release_in_pool(std::move(holder_at<Descriptor>(info, index).held));
}

Napi::Value wrap_target(Napi::Env env, std::shared_ptr<Target> target)
{
	return wrap<Target>(env, std::move(target));
}

Napi::Value run_operation(Napi::Env env, std::function<Reply()> operation)
{
	return run_task(env, [operation = std::move(operation)]() -> Settle {
		auto reply = std::make_shared<Reply>(operation());
		return [reply](Napi::Env at) { return make_reply(at, *reply); };
	});
}

} // namespace fs_env
