/* The class Sockets: one epoll descriptor on the event loop, and the memory that all of its sockets are read into. */
#include "sockets_addon.h"
#include "tls_addon.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>

/* A connection is accepted, dialled on, asked and answered. */
constexpr int ROUNDS_OF_NEWS = 3;
/* As index.ts has it. */
constexpr uint32_t TOLD_MORE = 1U << 16;

static_assert(sizeof(struct told_socket) == 4 * sizeof(uint32_t), "four words for each");

/* (bytes: Uint8Array, told: Uint32Array, onTold: (count) => void, lines: Uint8Array, facts: Uint32Array, onHead: () => boolean) */
Sockets::Sockets(const Napi::CallbackInfo &info) : Napi::ObjectWrap<Sockets>(info)
{
	Napi::Uint8Array bytes = info[0].As<Napi::Uint8Array>();
	Napi::Uint32Array told = info[1].As<Napi::Uint32Array>();
	Napi::Uint8Array lines = info[3].As<Napi::Uint8Array>();
	Napi::Uint32Array facts = info[4].As<Napi::Uint32Array>();
	struct uv_loop_s *loop = nullptr;
	int error;

	if (told.ElementLength() < SOCKETS_PER_WAIT * 4 || bytes.ByteLength() > INT32_MAX || lines.ByteLength() < HEAD_LINES_BYTES ||
	    facts.ElementLength() < HEAD_FACTS) {
		fail(info.Env(), -EINVAL, "epoll_wait");
		return;
	}
	epoll_fd_ = sockets_open();
	if (epoll_fd_ < 0) {
		fail(info.Env(), epoll_fd_, "epoll_create1");
		return;
	}
	if (napi_get_uv_event_loop(info.Env(), reinterpret_cast<::uv_loop_s **>(&loop)) != napi_ok)
		return;
	arrivals_ = std::make_unique<Arrivals>(epoll_fd_, streams_, exchanges_);
	watch_ = LoopWatch::begin(loop, epoll_fd_, on_ready, this, &error);
	if (watch_ == nullptr) {
		socket_close(epoll_fd_, false);
		fail(info.Env(), error, "epoll");
		return;
	}
	napi_add_env_cleanup_hook(info.Env(), on_environment_end, this);
	callback_ = Napi::Persistent(info[2].As<Napi::Function>());
	judge_ = std::make_unique<FilterJudge>(lines, facts, info[5].As<Napi::Function>());
	exchanges_.set_judge(judge_.get());
	bytes_object_ = Napi::Persistent(bytes.As<Napi::Object>());
	told_object_ = Napi::Persistent(told.As<Napi::Object>());
	bytes_ = bytes.Data();
	size_ = bytes.ByteLength();
	told_ = reinterpret_cast<struct told_socket *>(told.Data());
}

void Sockets::release()
{
	if (watch_ == nullptr)
		return;
	napi_remove_env_cleanup_hook(Env(), on_environment_end, this);
	watch_->close();
	watch_ = nullptr;
	callback_.Reset();
	judge_->close();
	arrivals_.reset();
	socket_close(epoll_fd_, false);
}

/* JavaScript hears of what could not be passed on right here. */
void Sockets::on_ready(void *owner, const struct ready_socket *ready, size_t ready_count)
{
	Sockets *self = static_cast<Sockets *>(owner);
	uint32_t count = 0;

	self->ready_ = ready;
	self->ready_count_ = ready_count;
	/* Of what was just accepted more is known by now. */
	for (int round = 1;; round++) {
		self->next_ = 0;
		for (size_t at = 0; at < self->ready_count_; at++) {
			TlsStream *stream = self->streams_.tls_of(self->ready_[at].fd);

			if (stream != nullptr)
				stream->on_ready(self->ready_[at].mask);
		}
		count = self->turn();
		if (count > 0 || !self->arrivals_->take_news() || round == ROUNDS_OF_NEWS)
			break;
		self->ready_ = self->watch_->ready_now(&self->ready_count_);
	}
	if (count == 0)
		return;
	Napi::Env env = self->Env();
	Napi::HandleScope scope(env);

	self->callback_.MakeCallback(env.Global(), {Napi::Number::New(env, count)});
}

/* (isOn): whether the event loop waits for the sockets, and lives as long as it does. */
Napi::Value Sockets::watch(const Napi::CallbackInfo &info)
{
	if (watch_ != nullptr)
		watch_->watch(info[0].ToBoolean());
	return info.Env().Undefined();
}

/* (fd, id): 0 or -errno. */
Napi::Value Sockets::add(const Napi::CallbackInfo &info)
{
	return to_value(info, sockets_add(epoll_fd_, to_int(info[0]), info[1].As<Napi::Number>().Uint32Value()));
}

/* (fd, context, serverName, protocols): it is in TLS from here on, and its handshake to be made. */
Napi::Value Sockets::secure(const Napi::CallbackInfo &info)
{
	int fd = to_int(info[0]);
	std::string name = info[2].As<Napi::String>().Utf8Value();
	std::string protocols = info[3].As<Napi::String>().Utf8Value();

	streams_.secure(fd, std::make_unique<TlsStream>(fd, context_of(info[1]), name, protocols));
	return info.Env().Undefined();
}

/* (fd): as TlsStream::handshake. */
Napi::Value Sockets::handshake(const Napi::CallbackInfo &info)
{
	TlsStream *stream = streams_.tls_of(to_int(info[0]));

	return to_value(info, stream == nullptr ? -EINVAL : stream->handshake());
}

/* (fd): as Streams::has_end. */
Napi::Value Sockets::has_end(const Napi::CallbackInfo &info)
{
	return Napi::Boolean::New(info.Env(), streams_.has_end(to_int(info[0])));
}

/* (fd): what was said in the handshake, as index.ts has it. */
Napi::Value Sockets::agreed(const Napi::CallbackInfo &info)
{
	TlsStream *stream = streams_.tls_of(to_int(info[0]));

	return stream == nullptr ? info.Env().Null() : to_agreed(info.Env(), *stream);
}

uint32_t Sockets::turn()
{
	size_t count = arrivals_->turn(ready_, ready_count_, &next_, bytes_, size_, told_, SOCKETS_PER_WAIT);

	return static_cast<uint32_t>(count) | (count > 0 && next_ < ready_count_ ? TOLD_MORE : 0);
}

/* (): goes on after TOLD_MORE. */
Napi::Value Sockets::more(const Napi::CallbackInfo &info)
{
	return to_value(info, turn());
}

/* (screen, texts: string[] | null, isJudged): null stops every request. */
Napi::Value Sockets::set_screen(const Napi::CallbackInfo &info)
{
	uint32_t screen = info[0].As<Napi::Number>().Uint32Value();
	bool is_judged = info[2].ToBoolean();
	std::vector<std::string> texts;

	if (!info[1].IsArray()) {
		exchanges_.set_screen(screen, std::nullopt, is_judged);
		return info.Env().Undefined();
	}
	Napi::Array list = info[1].As<Napi::Array>();

	for (uint32_t at = 0; at < list.Length(); at++)
		texts.push_back(list.Get(at).ToString().Utf8Value());
	exchanges_.set_screen(screen, texts, is_judged);
	return info.Env().Undefined();
}

/* (screen, bytes: Uint8Array, start, end): the head lies there. */
Napi::Value Sockets::learn_head(const Napi::CallbackInfo &info)
{
	Napi::Uint8Array bytes = info[1].As<Napi::Uint8Array>();
	size_t end = std::min(to_size(info[3]), bytes.ByteLength());
	size_t start = std::min(to_size(info[2]), end);

	exchanges_.learn_head(info[0].As<Napi::Number>().Uint32Value(), bytes.Data() + start, end - start);
	return info.Env().Undefined();
}

/* (screen): requests that were passed on since the last call. */
Napi::Value Sockets::take_count(const Napi::CallbackInfo &info)
{
	return to_value(info, static_cast<int64_t>(exchanges_.take_count(info[0].As<Napi::Number>().Uint32Value())));
}

/* (clientFd, clientId, originFd, originId, screen): whether they are joined. */
Napi::Value Sockets::join(const Napi::CallbackInfo &info)
{
	uint32_t client_id = info[1].As<Napi::Number>().Uint32Value();
	uint32_t origin_id = info[3].As<Napi::Number>().Uint32Value();
	uint32_t screen = info[4].As<Napi::Number>().Uint32Value();

	return Napi::Boolean::New(info.Env(), exchanges_.join(to_int(info[0]), client_id, to_int(info[2]), origin_id, screen));
}

/* (fd): a sum of PAIR_, 0 when it was not joined. */
Napi::Value Sockets::part(const Napi::CallbackInfo &info)
{
	return to_value(info, exchanges_.part(to_int(info[0])));
}

/* (clientFd): as Exchanges::take_left. */
Napi::Value Sockets::take_left(const Napi::CallbackInfo &info)
{
	return to_value(info, static_cast<int64_t>(exchanges_.take_left(to_int(info[0]))));
}

/* (fd, most): how many bytes lie in `bytes`, or -errno. */
Napi::Value Sockets::read(const Napi::CallbackInfo &info)
{
	return to_value(info, streams_.read(to_int(info[0]), bytes_, std::min(to_size(info[1]), size_)));
}

/* (fd, start, length): writes what lies in `bytes`. How many bytes the kernel took, or -errno. */
Napi::Value Sockets::write_read(const Napi::CallbackInfo &info)
{
	size_t start = std::min(to_size(info[1]), size_);

	return to_value(info, streams_.write(to_int(info[0]), bytes_ + start, std::min(to_size(info[2]), size_ - start)));
}

/* (fd, other: Uint8Array) */
Napi::Value Sockets::write(const Napi::CallbackInfo &info)
{
	Napi::Uint8Array other = info[1].As<Napi::Uint8Array>();

	return to_value(info, streams_.write(to_int(info[0]), other.Data(), other.ByteLength()));
}

/* (fd, isTorn) */
Napi::Value Sockets::end(const Napi::CallbackInfo &info)
{
	return to_value(info, streams_.end(to_int(info[0]), info[1].ToBoolean()));
}

/* (fd): as TlsStream::is_torn. */
Napi::Value Sockets::is_torn(const Napi::CallbackInfo &info)
{
	TlsStream *stream = streams_.tls_of(to_int(info[0]));

	return Napi::Boolean::New(info.Env(), stream != nullptr && stream->is_torn());
}

/* (fd, isReset) */
Napi::Value Sockets::close(const Napi::CallbackInfo &info)
{
	int fd = to_int(info[0]);

	exchanges_.part(fd);
	streams_.forget(fd);
	socket_close(fd, info[1].ToBoolean());
	return info.Env().Undefined();
}

/* (fd, bytes: Uint8Array): how many bytes lie in `bytes`, and still in the socket, or -errno. */
static Napi::Value peek(const Napi::CallbackInfo &info)
{
	Napi::Uint8Array bytes = info[1].As<Napi::Uint8Array>();
	int64_t count = socket_peek(info[0].As<Napi::Number>().Int32Value(), bytes.Data(), bytes.ByteLength());

	return Napi::Number::New(info.Env(), static_cast<double>(count));
}

/* (fd, bytes): 0 or -errno. */
static Napi::Value wake_at(const Napi::CallbackInfo &info)
{
	int fd = info[0].As<Napi::Number>().Int32Value();

	return Napi::Number::New(info.Env(), socket_wake_at(fd, info[1].As<Napi::Number>().Int32Value()));
}

void define_looks(Napi::Env env, Napi::Object exports)
{
	exports.Set("peek", Napi::Function::New(env, peek));
	exports.Set("wakeAt", Napi::Function::New(env, wake_at));
}

Napi::Function define_sockets(Napi::Env env)
{
	return Sockets::DefineClass(env, "Sockets",
	                            {
	                                    Sockets::InstanceMethod<&Sockets::add>("add"),
	                                    Sockets::InstanceMethod<&Sockets::secure>("secure"),
	                                    Sockets::InstanceMethod<&Sockets::handshake>("handshake"),
	                                    Sockets::InstanceMethod<&Sockets::agreed>("agreed"),
	                                    Sockets::InstanceMethod<&Sockets::has_end>("hasEnd"),
	                                    Sockets::InstanceMethod<&Sockets::watch>("watch"),
	                                    Sockets::InstanceMethod<&Sockets::more>("more"),
	                                    Sockets::InstanceMethod<&Sockets::set_screen>("setScreen"),
	                                    Sockets::InstanceMethod<&Sockets::learn_head>("learnHead"),
	                                    Sockets::InstanceMethod<&Sockets::take_count>("takeCount"),
	                                    Sockets::InstanceMethod<&Sockets::join>("join"),
	                                    Sockets::InstanceMethod<&Sockets::part>("part"),
	                                    Sockets::InstanceMethod<&Sockets::take_left>("takeLeft"),
	                                    Sockets::InstanceMethod<&Sockets::join_streams>("joinStreams"),
	                                    Sockets::InstanceMethod<&Sockets::take_streams>("takeStreams"),
	                                    Sockets::InstanceMethod<&Sockets::open_door>("openDoor"),
	                                    Sockets::InstanceMethod<&Sockets::set_door_port>("setDoorPort"),
	                                    Sockets::InstanceMethod<&Sockets::resume_door>("resumeDoor"),
	                                    Sockets::InstanceMethod<&Sockets::close_door>("closeDoor"),
	                                    Sockets::InstanceMethod<&Sockets::take_arrival>("takeArrival"),
	                                    Sockets::InstanceMethod<&Sockets::arrivals_of>("arrivalsOf"),
	                                    Sockets::InstanceMethod<&Sockets::sweep>("sweep"),
	                                    Sockets::InstanceMethod<&Sockets::read>("read"),
	                                    Sockets::InstanceMethod<&Sockets::write_read>("writeRead"),
	                                    Sockets::InstanceMethod<&Sockets::write>("write"),
	                                    Sockets::InstanceMethod<&Sockets::end>("end"),
	                                    Sockets::InstanceMethod<&Sockets::is_torn>("isTorn"),
	                                    Sockets::InstanceMethod<&Sockets::close>("close"),
	                            });
}
