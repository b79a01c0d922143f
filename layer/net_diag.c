/* Questions to sock_diag (net_diag.h). */
#include "net_diag.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "net_socket.h"

static int diag = -1;

static void put(__be32 out[4], __be16 *port, const struct net_addr *addr)
{
	*port = htons(net_addr_port(addr));
	if (addr->len && addr->sa.sa_family == AF_INET6)
		memcpy(out, &addr->in6.sin6_addr, 16);
	else if (addr->len)
		memcpy(out, &addr->in.sin_addr, 4);
}

/* The socket's inode, 0 when it is closed, or -errno when the kernel does not know it. */
static int64_t ask(int protocol, const struct net_addr *local, const struct net_addr *peer)
{
	struct {
		struct nlmsghdr head;
		struct inet_diag_req_v2 question;
	} message = {
		.head = {.nlmsg_len = sizeof(message), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST},
		.question = {.sdiag_family = (uint8_t)local->sa.sa_family, .sdiag_protocol = (uint8_t)protocol,
			     .idiag_states = ~0u},
	};
	struct inet_diag_sockid *id = &message.question.id;
	union {
		struct nlmsghdr head;
		uint8_t bytes[4096];
	} reply;
	ssize_t n;

	/* The kernel looks UDP sockets up as a packet's receiver: the other way around. */
	put(protocol == IPPROTO_UDP ? id->idiag_dst : id->idiag_src,
	    protocol == IPPROTO_UDP ? &id->idiag_dport : &id->idiag_sport, local);
	put(protocol == IPPROTO_UDP ? id->idiag_src : id->idiag_dst,
	    protocol == IPPROTO_UDP ? &id->idiag_sport : &id->idiag_dport, peer);
	id->idiag_cookie[0] = id->idiag_cookie[1] = INET_DIAG_NOCOOKIE;
	if (send(diag, &message, sizeof(message), 0) < 0)
		return -errno;
	n = recv(diag, &reply, sizeof(reply), 0);
	if (n < (ssize_t)sizeof(reply.head))
		return -EIO;
	if (reply.head.nlmsg_type == NLMSG_ERROR)
		return ((struct nlmsgerr *)NLMSG_DATA(&reply.head))->error;
	return ((struct inet_diag_msg *)NLMSG_DATA(&reply.head))->idiag_inode;
}

void net_diag_start(const struct net_addr *peer, int fd)
{
	struct net_addr local = net_socket_name(fd);
	struct timeval limit = {1, 0};
	struct stat st;

	diag = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	if (diag < 0)
		return;
	(void)setsockopt(diag, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (fstat(fd, &st) != 0 || ask(IPPROTO_TCP, &local, peer) != (int64_t)st.st_ino) {
		close(diag);
		diag = -1;
	}
}

bool net_diag_works(void)
{
	return diag >= 0;
}

bool net_diag_is(int protocol, const struct net_addr *local, const struct net_addr *peer, uint64_t inode)
{
	return diag < 0 || ask(protocol, local, peer) == (int64_t)inode;
}
