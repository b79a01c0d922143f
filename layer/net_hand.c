/* Handing streams over (net_hand.h). */
#include "net_hand.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net_loop.h"
#include "net_socket.h"
#include "net_stream.h"
#include "wire.h"

static bool has_channel;

void net_hand_take_channel(void)
{
	has_channel = net_socket_option(NET_HAND_FD, SOL_SOCKET, SO_DOMAIN) == AF_UNIX &&
		      fcntl(NET_HAND_FD, F_SETFD, FD_CLOEXEC) == 0;
	unsetenv("NODE_CHANNEL_FD");
	unsetenv("NODE_CHANNEL_SERIALIZATION_MODE");
}

void net_hand_drop_channel(void)
{
	if (has_channel)
		close(NET_HAND_FD);
	has_channel = false;
}

int net_hand_start(void)
{
	if (!has_channel)
		return 0;
	return net_loop_watch(NET_HAND_FD, LOOP_CHANNEL, 0, EPOLLIN | EPOLLOUT);
}

/* One message with its descriptor, as child_process has it for a handle that it only passes on. Sent whole or not at all. 0 or -errno. */
static int send_flow(const struct flow *flow)
{
	char text[128];
	int len = snprintf(text, sizeof(text),
			   "{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":{\"flow\":\"%llu\"}}\n",
			   (unsigned long long)flow->id);
	struct iovec part = {text, (size_t)len};
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct msghdr message = {.msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = control.bytes,
				 .msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *head;

	memset(&control, 0, sizeof(control));
	head = CMSG_FIRSTHDR(&message);
	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(head), &flow->fd, sizeof(int));
	return sendmsg(NET_HAND_FD, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == len ? 0 : -errno;
}

/* A queue that is full, and descriptors on their way beyond what one user may have (unix(7), ETOOMANYREFS), pass. */
static bool passes(int failed)
{
	return failed == -EAGAIN || failed == -ENOBUFS || failed == -ETOOMANYREFS;
}

static void try_to_send(struct flow *flow)
{
	int failed = send_flow(flow);

	flow->waits_for_hand = failed && passes(failed);
	net_changed();
	if (failed && !flow->waits_for_hand)
		net_stream_abort(flow, -failed);
}

bool net_hand(struct flow *flow)
{
	if (!has_channel ||
	    (flow->transport != WIRE_TRANSPORT_TCP && flow->transport != WIRE_TRANSPORT_UNIX_STREAM))
		return false;
	/* Else its events would still be ours while the client has it. */
	net_loop_unwatch(flow->fd);
	flow->is_handed = true;
	try_to_send(flow);
	return true;
}

void net_hand_ready(void)
{
	char thanks[4096];
	struct flow *next;

	/* The receiver acknowledges each descriptor, for senders that wait for it. */
	while (recv(NET_HAND_FD, thanks, sizeof(thanks), MSG_DONTWAIT) > 0)
		;
	for (struct flow *flow = flow_first(); flow; flow = next) {
		next = flow->next;
		if (flow->waits_for_hand)
			try_to_send(flow);
	}
}
