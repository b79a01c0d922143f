/*
 * The parts of sockets.node, which both ends of a session load. No policy: what is read and written when is said in
 * proto/sockets.
 */
#ifndef MIRRORD_SOCKETS_ADDON_H
#define MIRRORD_SOCKETS_ADDON_H

#include <napi.h>

/* Throws an Error with `errno` and `syscall` for the current errno. */
Napi::Value fail(Napi::Env env, const char *syscall);

/* fd_poll.cc */
Napi::Function define_fd_poll(Napi::Env env);

/* sockets_addon.cc */
Napi::Function define_sockets(Napi::Env env);

#endif
