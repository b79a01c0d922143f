/* The class Sockets, as far as it is about joined connections of HTTP/2. */
#include "sockets_addon.h"

/* (clientFd, clientId, originFd, originId, screen, highest, open: number[], blocks: Uint8Array[]): whether they are joined. */
Napi::Value Sockets::join_streams(const Napi::CallbackInfo &info)
{
	uint32_t client_id = info[1].As<Napi::Number>().Uint32Value();
	uint32_t origin_id = info[3].As<Napi::Number>().Uint32Value();
	uint32_t screen = info[4].As<Napi::Number>().Uint32Value();
	Napi::Array open = info[6].As<Napi::Array>();
	Napi::Array blocks = info[7].As<Napi::Array>();
	std::vector<uint32_t> streams;
	std::vector<std::string> texts;

	for (uint32_t at = 0; at < open.Length(); at++)
		streams.push_back(open.Get(at).As<Napi::Number>().Uint32Value());
	for (uint32_t at = 0; at < blocks.Length(); at++) {
		Napi::Uint8Array block = blocks.Get(at).As<Napi::Uint8Array>();

		texts.emplace_back(reinterpret_cast<const char *>(block.Data()), block.ByteLength());
	}
	auto pair = std::make_unique<StreamsPair>(info[5].As<Napi::Number>().Uint32Value(), std::move(streams), std::move(texts));
	bool is_joined = exchanges_.join_streams(to_int(info[0]), client_id, to_int(info[2]), origin_id, screen, std::move(pair));

	return Napi::Boolean::New(info.Env(), is_joined);
}

static Napi::Value to_cut(Napi::Env env, const struct cut_frame &cut)
{
	Napi::Object result = Napi::Object::New(env);

	if (cut.left == 0)
		return env.Null();
	result.Set("left", Napi::Number::New(env, cut.left));
	result.Set("type", Napi::Number::New(env, cut.head.type));
	result.Set("flags", Napi::Number::New(env, cut.head.flags));
	result.Set("streamId", Napi::Number::New(env, cut.head.stream));
	return result;
}

/* (clientFd): as index.ts has it; null when there is nothing to tell. */
Napi::Value Sockets::take_streams(const Napi::CallbackInfo &info)
{
	std::unique_ptr<StreamsPair> pair = exchanges_.take_streams(to_int(info[0]));
	Napi::Env env = info.Env();

	if (pair == nullptr)
		return env.Null();
	Napi::Object result = Napi::Object::New(env);
	Napi::Array open = Napi::Array::New(env, pair->open_streams().size());

	for (size_t at = 0; at < pair->open_streams().size(); at++)
		open.Set(static_cast<uint32_t>(at), Napi::Number::New(env, pair->open_streams()[at]));
	result.Set("highest", Napi::Number::New(env, pair->highest()));
	result.Set("window", Napi::Number::New(env, static_cast<double>(pair->window())));
	result.Set("open", open);
	result.Set("cutRequest", to_cut(env, pair->cut_request()));
	result.Set("cutAnswer", to_cut(env, pair->cut_answer()));
	return result;
}
