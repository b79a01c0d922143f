/* Network namespaces and their interfaces, and a process that cannot be mistaken for another. */
#include "addon.h"

#include <net/if.h>
#include <sched.h>
#include <string>
#include <sys/syscall.h>
#include <unistd.h>

/* pidfd_open(2), Linux 5.3; the number is the same on every architecture (asm-generic/unistd.h). */
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

/* (fd): the calling thread, and only it, is in that namespace from here on (setns(2)). */
Napi::Value enter_network_namespace(const Napi::CallbackInfo &info)
{
	if (setns(info[0].As<Napi::Number>().Int32Value(), CLONE_NEWNET) < 0)
		return fail(info.Env(), "setns");
	return info.Env().Undefined();
}

/* (pid): a descriptor that is readable once the process has ended. */
Napi::Value open_pidfd(const Napi::CallbackInfo &info)
{
	long fd = syscall(SYS_pidfd_open, info[0].As<Napi::Number>().Int32Value(), 0);

	if (fd < 0)
		return fail(info.Env(), "pidfd_open");
	return Napi::Number::New(info.Env(), static_cast<double>(fd));
}

/* (name): of the calling thread's namespace; 0 for none. */
Napi::Value interface_index(const Napi::CallbackInfo &info)
{
	std::string name = info[0].As<Napi::String>().Utf8Value();

	return Napi::Number::New(info.Env(), if_nametoindex(name.c_str()));
}

/* (index): null for none. */
Napi::Value interface_name(const Napi::CallbackInfo &info)
{
	char name[IF_NAMESIZE];

	if (if_indextoname(info[0].As<Napi::Number>().Uint32Value(), name) == nullptr)
		return info.Env().Null();
	return Napi::String::New(info.Env(), name);
}
