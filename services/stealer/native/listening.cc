/* Which ports of a network namespace somebody listens on (sock_diag(7)). */
#include "stealer.h"

#include <cerrno>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

int open_listening(int namespace_fd)
{
	return socket_in(namespace_fd, AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG);
}

/* One answer, of which there are some; 1 at the last. */
static int take_answer(const char *buffer, ssize_t got, std::vector<uint16_t> *ports)
{
	const struct nlmsghdr *one = reinterpret_cast<const struct nlmsghdr *>(buffer);

	for (size_t left = static_cast<size_t>(got); NLMSG_OK(one, left);) {
		if (one->nlmsg_type == NLMSG_DONE)
			return 1;
		if (one->nlmsg_type == NLMSG_ERROR)
			return static_cast<const struct nlmsgerr *>(NLMSG_DATA(one))->error;
		ports->push_back(ntohs(static_cast<const struct inet_diag_msg *>(NLMSG_DATA(one))->id.idiag_sport));
		const size_t length = NLMSG_ALIGN(one->nlmsg_len);

		one = reinterpret_cast<const struct nlmsghdr *>(reinterpret_cast<const char *>(one) + length);
		left -= length < left ? length : left;
	}
	return 0;
}

int listening_ports(int fd, std::vector<uint16_t> *ports)
{
	for (uint8_t family : {uint8_t{AF_INET}, uint8_t{AF_INET6}}) {
		struct {
			struct nlmsghdr head;
			struct inet_diag_req_v2 request;
		} question = {};
		alignas(struct nlmsghdr) char buffer[32768];
		int answer = 0;

		question.head.nlmsg_len = sizeof question;
		question.head.nlmsg_type = SOCK_DIAG_BY_FAMILY;
		question.head.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
		question.request.sdiag_family = family;
		question.request.sdiag_protocol = IPPROTO_TCP;
		question.request.idiag_states = 1U << TCP_LISTEN;
		if (send(fd, &question, sizeof question, 0) < 0)
			return -errno;
		/* It does not block, and need not: the kernel answers as it is asked. */
		while (answer == 0) {
			ssize_t got = recv(fd, buffer, sizeof buffer, 0);

			if (got < 0)
				return -errno;
			answer = take_answer(buffer, got, ports);
		}
		if (answer < 0)
			return answer;
	}
	return 0;
}
