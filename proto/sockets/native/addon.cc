/* The door of sockets.node: what is exported, and how a failed system call becomes an Error. */
#include "addon.h"

#include <cerrno>
#include <cstring>
#include <string>

Napi::Value fail(Napi::Env env, const char *syscall)
{
	int error = errno;
	Napi::Error thrown = Napi::Error::New(env, std::string(syscall) + ": " + strerror(error));

	thrown.Set("errno", Napi::Number::New(env, error));
	thrown.Set("syscall", Napi::String::New(env, syscall));
	thrown.ThrowAsJavaScriptException();
	return env.Undefined();
}

static Napi::Object init(Napi::Env env, Napi::Object exports)
{
	exports.Set("FdPoll", define_fd_poll(env));
	exports.Set("Sockets", define_sockets(env));
	return exports;
}

NODE_API_MODULE(sockets, init)
