/*
 * The parts of netns.node. No policy: services/runtime/netns.ts checks arguments and says what
 * errors mean.
 *
 * A failed system call throws an Error with `errno` (a number) and `syscall`. Calls that are
 * expected to fail in the course of things (packets) return -errno instead.
 */
#ifndef MIRRORD_RUNTIME_ADDON_H
#define MIRRORD_RUNTIME_ADDON_H

#include <napi.h>

/* Throws for the current errno. */
Napi::Value fail(Napi::Env env, const char *syscall);

/* namespace.cc */
Napi::Value enter_network_namespace(const Napi::CallbackInfo &info);
Napi::Value open_pidfd(const Napi::CallbackInfo &info);
Napi::Value interface_index(const Napi::CallbackInfo &info);
Napi::Value interface_name(const Napi::CallbackInfo &info);

/* unix_socket.cc */
Napi::Value connect_unix(const Napi::CallbackInfo &info);
Napi::Value unix_names(const Napi::CallbackInfo &info);
Napi::Value receive_packet(const Napi::CallbackInfo &info);
Napi::Value send_packet(const Napi::CallbackInfo &info);
Napi::Value shutdown_writing(const Napi::CallbackInfo &info);

/* tcp_sockets.cc */
Napi::Value open_socket_diagnosis(const Napi::CallbackInfo &info);
Napi::Value list_connections(const Napi::CallbackInfo &info);
Napi::Value destroy_connection(const Napi::CallbackInfo &info);

/* fd_poll.cc */
Napi::Function define_fd_poll(Napi::Env env);

#endif
