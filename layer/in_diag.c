/* A dump of listening sockets (in_diag.h). */
#include "in_diag.h"

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define INODES_MAX 16384u

static uint32_t inodes[INODES_MAX];
static unsigned int count;

static bool ask(int diag, uint8_t family)
{
	struct {
		struct nlmsghdr head;
		struct inet_diag_req_v2 question;
	} message = {
		.head = {.nlmsg_len = sizeof(message),
			 .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
		.question = {.sdiag_family = family, .sdiag_protocol = IPPROTO_TCP, .idiag_states = 1u << TCP_LISTEN},
	};

	return send(diag, &message, sizeof(message), 0) == (ssize_t)sizeof(message);
}

/* 1: there is more; 0: that was all; -1: it cannot be relied on. */
static int take(const struct nlmsghdr *head, size_t left)
{
	for (; NLMSG_OK(head, left); head = NLMSG_NEXT(head, left)) {
		if (head->nlmsg_flags & NLM_F_DUMP_INTR || head->nlmsg_type == NLMSG_ERROR)
			return -1;
		if (head->nlmsg_type == NLMSG_DONE)
			return 0;
		if (count == INODES_MAX)
			return -1;
		inodes[count++] = ((const struct inet_diag_msg *)NLMSG_DATA(head))->idiag_inode;
	}
	return 1;
}

static bool dump(int diag, uint8_t family)
{
	static union {
		struct nlmsghdr head;
		uint8_t bytes[32768];
	} reply;
	int more = ask(diag, family) ? 1 : -1;

	while (more == 1) {
		ssize_t n = recv(diag, &reply, sizeof(reply), 0);

		more = n > 0 ? take(&reply.head, (size_t)n) : -1;
	}
	return more == 0;
}

bool in_diag_read(void)
{
	int diag = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	struct timeval limit = {1, 0};
	bool is_good;

	if (diag < 0)
		return false;
	count = 0;
	(void)setsockopt(diag, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	is_good = dump(diag, AF_INET) && dump(diag, AF_INET6);
	close(diag);
	return is_good;
}

bool in_diag_listens(uint64_t inode)
{
	for (unsigned int i = 0; i < count; i++) {
		if (inodes[i] == inode)
			return true;
	}
	return false;
}
