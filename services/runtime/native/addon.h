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
/* A non-blocking socket of that namespace, or -errno. */
int socket_in(int namespace_fd, int family, int type);
Napi::Value assert_network_namespace(const Napi::CallbackInfo &info);
Napi::Value open_pidfd(const Napi::CallbackInfo &info);

/* internet.cc */
Napi::Value connect_tcp(const Napi::CallbackInfo &info);
Napi::Value socket_error(const Napi::CallbackInfo &info);
Napi::Value internet_names(const Napi::CallbackInfo &info);
Napi::Value open_udp(const Napi::CallbackInfo &info);
Napi::Value receive_datagram(const Napi::CallbackInfo &info);
Napi::Value send_datagram(const Napi::CallbackInfo &info);

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

#endif
