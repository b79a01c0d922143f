/* What the parts of stealer.node that know of Node share. */
#ifndef MIRRORD_STEALER_ADDON_H
#define MIRRORD_STEALER_ADDON_H

#include <napi.h>
#include <string>

/* Throws an Error with `errno` (a number) and `syscall`. @param error -errno */
void fail(Napi::Env env, int error, const char *syscall, const std::string &message = "");

/* sockets_addon.cc: the class Sockets. */
Napi::Function define_sockets(Napi::Env env);

#endif
