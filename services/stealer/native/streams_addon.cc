/* The class Sockets, as far as it is about joined connections of HTTP/2. */
#include "addon.h"
#include "judge_addon.h"
#include "request_head.h"
#include "sockets_addon.h"

/* (clientFd, clientId, originFd, originId, screen, highest, open: number[], blocks: Uint8Array[], tableBytes, table: Uint8Array): whether
 * they are joined. */
Napi::Value Sockets::join_streams(const Napi::CallbackInfo &info)
{
	uint32_t client_id = info[1].As<Napi::Number>().Uint32Value();
	uint32_t origin_id = info[3].As<Napi::Number>().Uint32Value();
	uint32_t screen = info[4].As<Napi::Number>().Uint32Value();
	Napi::Array open = info[6].As<Napi::Array>();
	Napi::Array blocks = info[7].As<Napi::Array>();
	Napi::Uint8Array table = info[9].As<Napi::Uint8Array>();
	HeaderTable heard(info[8].As<Napi::Number>().Uint32Value());
	std::vector<uint32_t> streams;
	std::vector<std::string> texts;

	for (uint32_t at = 0; at < open.Length(); at++)
		streams.push_back(open.Get(at).As<Napi::Number>().Uint32Value());
	for (uint32_t at = 0; at < blocks.Length(); at++) {
		Napi::Uint8Array block = blocks.Get(at).As<Napi::Uint8Array>();

		texts.emplace_back(reinterpret_cast<const char *>(block.Data()), block.ByteLength());
	}
	if (!heard.unpack(table.Data(), table.ByteLength()))
		return Napi::Boolean::New(info.Env(), false);
	auto pair = std::make_unique<StreamsPair>(info[5].As<Napi::Number>().Uint32Value(), std::move(streams), std::move(texts), std::move(heard));
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
	std::string table = pair->has_new_table() ? pair->table().pack() : "";

	result.Set("table", pair->has_new_table() ? Napi::Value(Napi::Buffer<char>::Copy(env, table.data(), table.size())) : env.Null());
	result.Set("cutRequest", to_cut(env, pair->cut_request()));
	result.Set("cutAnswer", to_cut(env, pair->cut_answer()));
	return result;
}

static Napi::Value to_field(Napi::Env env, const struct header_field &field)
{
	Napi::Array pair = Napi::Array::New(env, 2);

	pair.Set(0U, Napi::Buffer<char>::Copy(env, field.name.data(), field.name.size()));
	pair.Set(1U, Napi::Buffer<char>::Copy(env, field.value.data(), field.value.size()));
	return pair;
}

/* (tableBytes, table, block, texts: string[], hasBody, lines: Uint8Array, facts): as index.ts has it; null when it is not read. */
static Napi::Value read_head(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	Napi::Uint8Array packed = info[1].As<Napi::Uint8Array>();
	Napi::Uint8Array block = info[2].As<Napi::Uint8Array>();
	Napi::Array words = info[3].As<Napi::Array>();
	Napi::Uint8Array memory = info[5].As<Napi::Uint8Array>();
	Napi::Uint32Array facts = info[6].As<Napi::Uint32Array>();
	HeaderTable table(info[0].As<Napi::Number>().Uint32Value());
	std::vector<std::string> texts;
	size_t budget = MAX_READ_HEADS_BYTES;

	for (uint32_t at = 0; at < words.Length(); at++)
		texts.push_back(words.Get(at).As<Napi::String>());
	if (memory.ByteLength() < HEAD_LINES_BYTES || facts.ElementLength() < HEAD_FACTS || !table.unpack(packed.Data(), packed.ByteLength()))
		return env.Null();
	const Screen screen(texts);
	bool passes = is_unwanted(&table, block.Data(), block.ByteLength(), info[4].ToBoolean(), {screen}, &budget);

	table.undo();
	HeadReader reader(&table, block.Data(), block.ByteLength());
	Napi::Object result = Napi::Object::New(env);
	Napi::Array fields = Napi::Array::New(env);
	HeadLines lines(memory.Data());
	bool is_taken = true;
	struct header_field field;

	lines.begin();
	for (;;) {
		HeadReader::step step = reader.next(&field);

		if (step == HeadReader::step::STRANGE)
			return env.Null();
		if (step == HeadReader::step::END)
			break;
		fields.Set(fields.Length(), to_field(env, field));
		is_taken = is_taken && lines.add(field);
	}
	is_taken = is_taken && lines.finish();
	write_facts(facts.Data(), lines, 0, info[4].ToBoolean());
	table.keep();
	std::string after = table.pack();

	result.Set("fields", fields);
	result.Set("table", Napi::Buffer<char>::Copy(env, after.data(), after.size()));
	result.Set("passes", Napi::Boolean::New(env, passes));
	result.Set("isTaken", Napi::Boolean::New(env, is_taken));
	return result;
}

void define_heads(Napi::Env env, Napi::Object exports)
{
	exports.Set("readHead", Napi::Function::New(env, read_head));
}
