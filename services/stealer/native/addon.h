/* What the parts of stealer.node that know of Node share. */
#ifndef MIRRORD_STEALER_ADDON_H
#define MIRRORD_STEALER_ADDON_H

#include <napi.h>
#include <string>

#include "stealer.h"

/* Throws an Error with `errno` (a number) and `syscall`. @param error -errno */
void fail(Napi::Env env, int error, const char *syscall, const std::string &message = "");

/* {address, port}, as index.ts has it. */
Napi::Object to_object(Napi::Env env, const struct endpoint &endpoint);

/* A place as index.ts has it. */
struct endpoint from_object(const Napi::Object &object);
/* What a Redirect of addon.cc stands for; null for anything else, and when it is closed. */
struct redirect *redirect_of(const Napi::Value &value);

/* nat_addon.cc: the class Nat, and what belongs to it. */
void define_nat(Napi::Env env, Napi::Object exports);

/* sockets_addon.cc: the class Sockets. */
Napi::Function define_sockets(Napi::Env env);
/* sockets_addon.cc: looking at what a socket has without reading it. */
void define_looks(Napi::Env env, Napi::Object exports);
/* streams_addon.cc: what is read of header blocks, for tests. */
void define_heads(Napi::Env env, Napi::Object exports);

#endif
