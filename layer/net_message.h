/* The arguments of sendto, sendmsg, recvmsg and their kin, read from the process once and of one form. */
#ifndef LAYER_NET_MESSAGE_H
#define LAYER_NET_MESSAGE_H

#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "net_addr.h"

#define NET_CONTROL_MAX 2048u

struct net_message {
	pid_t tid;
	bool is_header;       /* sendmsg and recvmsg: there is a struct msghdr at header_at */
	uint64_t header_at, length_at; /* length_at: where a *mmsg call wants the length; 0 otherwise */
	uint64_t name_at, name_len_at; /* name_len_at: where recvfrom has the length of the name; 0: in the header */
	uint32_t name_len;
	uint64_t control_at;
	size_t control_len;
	int flags;
	size_t part_count;
	size_t room;          /* bytes of all parts */
	struct iovec parts[UIO_MAXIOV];
};

/* How many messages the call has: 1, or the vlen of a *mmsg call. */
unsigned int net_message_count(const struct seccomp_notif *n);
/* Message `index` of it. 0, or -errno for the process. */
int net_message_read(const struct seccomp_notif *n, unsigned int index, struct net_message *message);

/* Its name. False: none, or not one the kernel would take. */
bool net_message_name(const struct net_message *message, struct net_addr *name);
/* Copies at most max bytes of its data. The length, or -errno. */
ssize_t net_message_gather(const struct net_message *message, void *out, size_t max);

/* What recvmsg(2) leaves behind. */
struct net_received {
	const struct net_addr *name; /* len 0: none */
	const uint8_t *data;
	size_t len;                  /* of data that fits */
	size_t value;                /* what the call returns */
	const uint8_t *control;
	size_t control_len;
	int flags;
};
/* 0 or -errno. */
int net_message_scatter(const struct net_message *message, const struct net_received *received);

#endif
