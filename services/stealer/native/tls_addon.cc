/* The class TlsContext: who we are in TLS, for as long as JavaScript or a connection holds it. */
#include "tls_addon.h"

#include <cstring>

namespace
{

class Context : public Napi::ObjectWrap<Context> {
public:
	explicit Context(const Napi::CallbackInfo &info);
	std::shared_ptr<TlsContext> context() const { return context_; }

private:
	std::shared_ptr<TlsContext> context_;
};

std::string to_bytes(const Napi::Value &value)
{
	Napi::Uint8Array bytes = value.As<Napi::Uint8Array>();

	return std::string(reinterpret_cast<const char *>(bytes.Data()), bytes.ByteLength());
}

/* (isServer, certificate, key, roots: Uint8Array, ciphers: string). Throws an Error that says why. */
Context::Context(const Napi::CallbackInfo &info) : Napi::ObjectWrap<Context>(info)
{
	struct tls_identity identity = {
	        info[0].ToBoolean(), to_bytes(info[1]), to_bytes(info[2]), to_bytes(info[3]), info[4].As<Napi::String>().Utf8Value(),
	};
	std::string fault;

	context_ = TlsContext::make(identity, &fault);
	explicit_bzero(&identity.key[0], identity.key.size());
	if (context_ == nullptr)
		Napi::Error::New(info.Env(), fault).ThrowAsJavaScriptException();
}

} // namespace

std::shared_ptr<TlsContext> context_of(const Napi::Value &value)
{
	return Context::Unwrap(value.As<Napi::Object>())->context();
}

Napi::Object to_agreed(Napi::Env env, const TlsStream &stream)
{
	Napi::Object agreed = Napi::Object::New(env);

	agreed.Set("protocol", stream.protocol());
	agreed.Set("asksWhoWeAre", stream.was_asked());
	agreed.Set("hasHeard", stream.has_heard());
	agreed.Set("fault", stream.fault());
	return agreed;
}

Napi::Function define_tls(Napi::Env env)
{
	return Context::DefineClass(env, "TlsContext", {});
}
