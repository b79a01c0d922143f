/*
 * The parts of stealer.node. No policy: services/stealer/redirect.ts checks arguments and says what errors mean.
 *
 * C++ functions return >= 0 or -errno; only addon.cc knows of Node.
 */
#ifndef MIRRORD_STEALER_H
#define MIRRORD_STEALER_H

#include <netinet/in.h>
#include <string>
#include <sys/socket.h>
#include <vector>

/* namespace.cc: sockets of another network namespace, made by the calling thread, which is back in its own afterwards. */

/* An address in IPv6's form: IPv4 as ::ffff:a.b.c.d, with the scope of a link-local one. */
struct endpoint {
	uint8_t address[16];
	uint16_t port;
	uint32_t scope;
};

struct endpoint to_endpoint(const struct sockaddr_storage &from);
bool is_loopback(const struct endpoint &endpoint);

/* A non-blocking listener for both families on a free port; for IPv4 alone where the kernel has no IPv6. */
int listen_in(int namespace_fd, int backlog);
/* A socket bound to a free port of the address; `bound` tells which. */
int bind_in(int namespace_fd, const struct endpoint &source, struct endpoint *bound);
/* Where a connection was meant to go that a translation of addresses brought to us; -ENOENT when none did. */
int original_of(int fd, struct endpoint *original);
/* Begins to connect without blocking: 0 or -errno, never -EINPROGRESS. */
int connect_to(int fd, const struct endpoint &peer);

/* A socket of the namespace, of our own for -1. Nothing else happens in there: the thread's event loop must not. */
int socket_in(int namespace_fd, int family, int type = SOCK_STREAM, int protocol = 0);

/* A file of /proc/net of the namespace, for reading. */
int file_in(int namespace_fd, const char *name);

/* listening.cc: what of a namespace is listened on. */

/* To ask with; -errno. */
int open_listening(int namespace_fd);
/* Of all listeners of both families, each as often as it is there. */
int listening_ports(int fd, std::vector<uint16_t> *ports);

/* peers.cc: names that one process at a time can have in a namespace, and who has them. */

struct peer {
	/* 0 when it is no process of ours to see. */
	pid_t pid;
	uid_t uid;
	/* -1 without a pid. The caller closes it. */
	int pid_fd;
};

/* Listens at the name: -EADDRINUSE while another process does. */
int claim_in(int namespace_fd, const std::string &name);
/* A connection to who listens there; -ECONNREFUSED when nobody does, -EAGAIN while he has too many that wait. */
int join_in(int namespace_fd, const std::string &name);
/* Who connected, or listened, when it did. */
int peer_of(int fd, struct peer *peer);
/* SIGKILL, which ends a stopped process as well. */
int end_process(int pid_fd);

/* redirect.cc: the program, its maps and its link to one namespace. */

struct redirect;

/* `message` gets libbpf's and the verifier's last words when it fails. */
int redirect_open(int namespace_fd, int listener_fd, struct redirect **opened, std::string *message);
int redirect_port(struct redirect *redirect, uint16_t port, bool is_stolen);
int redirect_dial(struct redirect *redirect, const struct endpoint &source, bool is_own);
void redirect_close(struct redirect *redirect);

/* nat.cc: the same by translation of addresses. */

struct nat;

/* Of our own connections to the target, which are not translated, and which a sniffer leaves out (bpf/capture.h). */
static const uint32_t own_mark = 0x306d;
/* Of what we accept: nobody who renews a port's connections closes it (services/runtime/native/tcp_sockets.cc). */
static const uint32_t accepted_mark = 0x3072;
/* A target may have the node's own network, where bits of marks have a meaning: kube-proxy's 0x4000 and 0x8000, Calico's upper
 * half, Cilium's 0x0f00, the 0x0080 of Amazon's plugin. */
static_assert(((own_mark | accepted_mark) & 0xffffcf80) == 0, "a mark that somebody else gives a meaning");

/* `table` begins with "mirrord-steal-". `may_own`: where the kernel can, what is made goes with this process. */
int nat_open(int namespace_fd, const char *table, uint16_t listener_port, bool may_own, struct nat **opened);
bool nat_is_owned(const struct nat *nat);
bool nat_has_ipv6(const struct nat *nat);
int nat_port(struct nat *nat, uint16_t port, bool is_stolen);
void nat_close(struct nat *nat);
/* Removes a table, or all that stealers have left; -EPERM when one is there that owns it. */
int nat_sweep(int namespace_fd, const std::string &table);

/* kept_nat.cc: what was translated goes on being translated until it is closed, whoever's rules go. `table` begins with
 * "mirrord-pass-", and goes with this process where the kernel can do that. */
struct kept_nat;

int kept_open(int namespace_fd, const char *table, struct kept_nat **opened);
void kept_close(struct kept_nat *kept);

/* forgotten.cc: connections that were translated to that port and have been reset are not remembered any more. */
int forget_translated(int namespace_fd, uint16_t listener_port);

/* legacy_nat.cc: the same by ip_tables, in a chain whose name begins as a table's of nat.cc does, of 28 characters at most. */

struct legacy_nat;

int legacy_open(int namespace_fd, const char *chain, uint16_t listener_port, struct legacy_nat **opened);
bool legacy_has_ipv6(const struct legacy_nat *nat);
int legacy_port(struct legacy_nat *nat, uint16_t port, bool is_stolen);
void legacy_close(struct legacy_nat *nat);
/* Removes a chain, or all that stealers have left. */
int legacy_sweep(int namespace_fd, const std::string &chain);

#endif
