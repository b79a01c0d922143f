/* The door of netns.node: what is exported, and how a failed system call becomes an Error. */
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
	exports.Set("assertNetworkNamespace", Napi::Function::New(env, assert_network_namespace));
	exports.Set("openPidfd", Napi::Function::New(env, open_pidfd));
	exports.Set("connectTcp", Napi::Function::New(env, connect_tcp));
	exports.Set("socketError", Napi::Function::New(env, socket_error));
	exports.Set("internetNames", Napi::Function::New(env, internet_names));
	exports.Set("openUdp", Napi::Function::New(env, open_udp));
	exports.Set("receiveDatagram", Napi::Function::New(env, receive_datagram));
	exports.Set("sendDatagram", Napi::Function::New(env, send_datagram));
	exports.Set("connectUnix", Napi::Function::New(env, connect_unix));
	exports.Set("unixNames", Napi::Function::New(env, unix_names));
	exports.Set("receivePacket", Napi::Function::New(env, receive_packet));
	exports.Set("sendPacket", Napi::Function::New(env, send_packet));
	exports.Set("shutdownWriting", Napi::Function::New(env, shutdown_writing));
	exports.Set("openSocketDiagnosis", Napi::Function::New(env, open_socket_diagnosis));
	exports.Set("listConnections", Napi::Function::New(env, list_connections));
	exports.Set("destroyConnection", Napi::Function::New(env, destroy_connection));
	return exports;
}

NODE_API_MODULE(netns, init)
