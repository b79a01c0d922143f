/* Asks the filters of one head: one call without arguments, on memory that both sides know. */
#include "judge_addon.h"

#include "addon.h"
#include "plain_message.h"

FilterJudge::FilterJudge(Napi::Uint8Array memory, Napi::Uint32Array facts, Napi::Function judge)
    : HeadJudge(memory.Data()), memory_object_(Napi::Persistent(memory.As<Napi::Object>())),
      facts_object_(Napi::Persistent(facts.As<Napi::Object>())), judge_(Napi::Persistent(judge)), facts_(facts.Data())
{
}

void write_facts(uint32_t *facts, const HeadLines &lines, uint32_t screen, bool has_body)
{
	facts[0] = screen;
	facts[1] = has_body ? 1 : 0;
	facts[2] = static_cast<uint32_t>(lines.method_end());
	facts[3] = static_cast<uint32_t>(lines.target_end());
	facts[4] = static_cast<uint32_t>(lines.end());
}

bool FilterJudge::is_unwanted(uint32_t screen, bool has_body)
{
	if (judge_.IsEmpty())
		return false;
	Napi::Env env = judge_.Env();
	Napi::HandleScope scope(env);
	napi_value answer = nullptr;
	napi_value error = nullptr;
	bool is_unwanted = false;

	write_facts(facts_, lines, screen, has_body);
	if (napi_call_function(env, env.Undefined(), judge_.Value(), 0, nullptr, &answer) == napi_ok)
		return napi_get_value_bool(env, answer, &is_unwanted) == napi_ok && is_unwanted;
	/* Whoever reads the request anew asks the same filter, and is who meets its fault. */
	napi_get_and_clear_last_exception(env, &error);
	return false;
}

/* (request: Uint8Array, memory, facts): whether the head of a plain request of HTTP/1 lies in the memory now. */
static Napi::Value take_head(const Napi::CallbackInfo &info)
{
	Napi::Uint8Array request = info[0].As<Napi::Uint8Array>();
	Napi::Uint8Array memory = info[1].As<Napi::Uint8Array>();
	Napi::Uint32Array facts = info[2].As<Napi::Uint32Array>();
	struct plain_message message;

	if (memory.ByteLength() < HEAD_LINES_BYTES || facts.ElementLength() < HEAD_FACTS)
		return Napi::Boolean::New(info.Env(), false);
	HeadLines lines(memory.Data());
	bool is_taken = read_plain_beginning(request.Data(), request.ByteLength(), &message) && lines.take(request.Data(), message.head_end);

	if (is_taken)
		write_facts(facts.Data(), lines, 0, message.left > 0 || message.head_end < request.ByteLength());
	return Napi::Boolean::New(info.Env(), is_taken);
}

void define_judge(Napi::Env env, Napi::Object exports)
{
	exports.Set("takeHead", Napi::Function::New(env, take_head));
}
