/* TCP connections of a network namespace as the kernel has them (sock_diag(7)): which there are, and their end. */
#include "addon.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <set>
#include <string>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static constexpr long ANSWER_SECONDS = 2;

/* One record: the family, whether a stealer accepted it, two bytes of nothing, and the kernel's name of the socket, its cookie
 * included. */
static constexpr uint32_t ANY_STATE = 1u << TCP_ESTABLISHED | 1u << TCP_SYN_RECV | 1u << TCP_FIN_WAIT1 |
				      1u << TCP_FIN_WAIT2 | 1u << TCP_CLOSE_WAIT | 1u << TCP_LAST_ACK |
				      1u << TCP_CLOSING;
/* Of a stealer's sockets (services/stealer/native/stealer.h): what it dials, and what it accepts. */
static constexpr uint32_t DIALLED_MARK = 0x306d;
static constexpr uint32_t ACCEPTED_MARK = 0x3072;
static constexpr size_t RECORD_BYTES = 4 + sizeof(struct inet_diag_sockid);

struct opening {
	int namespace_fd;
	int result;
};

/* On a thread of its own, which ends in there: no other ever leaves its namespace. */
static void *open_there(void *argument)
{
	struct opening *opening = static_cast<struct opening *>(argument);
	int fd = -1;

	if (setns(opening->namespace_fd, CLONE_NEWNET) == 0)
		fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	opening->result = fd < 0 ? -errno : fd;
	return nullptr;
}

/* (namespaceFd): a descriptor to ask that namespace about its sockets. The caller closes it. */
Napi::Value open_socket_diagnosis(const Napi::CallbackInfo &info)
{
	struct opening opening = {info[0].As<Napi::Number>().Int32Value(), -EAGAIN};
	struct timeval limit = {ANSWER_SECONDS, 0};
	pthread_t thread;
	int error = pthread_create(&thread, nullptr, open_there, &opening);

	if (error != 0) {
		errno = error;
		return fail(info.Env(), "pthread_create");
	}
	pthread_join(thread, nullptr);
	if (opening.result < 0) {
		errno = -opening.result;
		return fail(info.Env(), "setns");
	}
	(void)setsockopt(opening.result, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	return Napi::Number::New(info.Env(), opening.result);
}

struct question {
	struct nlmsghdr head;
	struct inet_diag_req_v2 request;
};

static struct question question_of(uint16_t type, uint16_t flags, uint8_t family)
{
	struct question question = {};

	question.head.nlmsg_len = sizeof(question);
	question.head.nlmsg_type = type;
	question.head.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
	question.request.sdiag_family = family;
	question.request.sdiag_protocol = IPPROTO_TCP;
	return question;
}

static bool ask(int fd, const struct question &question)
{
	return send(fd, &question, sizeof(question), 0) == static_cast<ssize_t>(sizeof(question));
}

static int error_in(const struct nlmsghdr *head)
{
	return -static_cast<const struct nlmsgerr *>(NLMSG_DATA(head))->error;
}

/* An address and port, as one text for both families. */
static std::string end_of(const struct inet_diag_msg *message, const uint32_t *address, uint16_t port)
{
	static const char MAPPED[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '\xff', '\xff'};
	std::string text;

	if (message->idiag_family == AF_INET)
		text.append(MAPPED, sizeof(MAPPED)).append(reinterpret_cast<const char *>(address), 4);
	else
		text.append(reinterpret_cast<const char *>(address), 16);
	return text.append(reinterpret_cast<const char *>(&port), sizeof(port));
}

/* Which the kernel tells to whom has CAP_NET_ADMIN; others cannot close anything either. */
static uint32_t mark_of(const struct nlmsghdr *head)
{
	const struct inet_diag_msg *message = static_cast<const struct inet_diag_msg *>(NLMSG_DATA(head));
	const char *at = reinterpret_cast<const char *>(message + 1);
	const char *end = reinterpret_cast<const char *>(head) + head->nlmsg_len;
	uint32_t mark = 0;

	while (end - at >= static_cast<ptrdiff_t>(NLA_HDRLEN)) {
		const struct nlattr *attribute = reinterpret_cast<const struct nlattr *>(at);

		if (attribute->nla_len < NLA_HDRLEN || attribute->nla_len > end - at)
			break;
		if (attribute->nla_type == INET_DIAG_MARK && attribute->nla_len >= NLA_HDRLEN + sizeof(mark))
			memcpy(&mark, at + NLA_HDRLEN, sizeof(mark));
		at += NLA_ALIGN(attribute->nla_len);
	}
	return mark;
}

/* What a list is for: the ends that stealers dial from, or connections without those. */
struct listing {
	uint32_t states;
	bool is_of_dialled;
	size_t most;
	std::set<std::string> dialled;
	std::string records;
};

static void take_one(const struct nlmsghdr *head, struct listing *list)
{
	const struct inet_diag_msg *message = static_cast<const struct inet_diag_msg *>(NLMSG_DATA(head));
	uint32_t mark = mark_of(head);
	char kind[4] = {static_cast<char>(message->idiag_family), mark == ACCEPTED_MARK};

	if (list->is_of_dialled) {
		if (mark == DIALLED_MARK)
			list->dialled.insert(end_of(message, message->id.idiag_src, message->id.idiag_sport));
		return;
	}
	if (list->dialled.count(end_of(message, message->id.idiag_dst, message->id.idiag_dport)) > 0)
		return;
	if (list->records.size() >= list->most * RECORD_BYTES)
		return;
	list->records.append(kind, sizeof(kind));
	list->records.append(reinterpret_cast<const char *>(&message->id), sizeof(message->id));
}

/* 1: there is more; 0: that was all; -errno. */
static int take(const struct nlmsghdr *head, size_t left, struct listing *list)
{
	for (; NLMSG_OK(head, left); head = NLMSG_NEXT(head, left)) {
		if (head->nlmsg_type == NLMSG_ERROR)
			return -error_in(head);
		if (head->nlmsg_type == NLMSG_DONE)
			return 0;
		take_one(head, list);
	}
	return 1;
}

static int list_family(int fd, uint8_t family, uint16_t port, struct listing *list)
{
	struct question question = question_of(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, family);
	alignas(struct nlmsghdr) char reply[32768];
	int more = 1;

	question.request.idiag_states = list->states;
	if (list->is_of_dialled)
		question.request.id.idiag_dport = htons(port);
	else
		question.request.id.idiag_sport = htons(port);
	if (!ask(fd, question))
		return -errno;
	while (more == 1) {
		ssize_t n = recv(fd, reply, sizeof(reply), 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		more = take(reinterpret_cast<struct nlmsghdr *>(reply), static_cast<size_t>(n), list);
	}
	return more;
}

/*
 * (fd, port, most, any): established connections with this local port, as records of RECORD_BYTES one after the other, without
 * those that a stealer passes on, which are the others' second half; or any that begin, are or end, but those that only wait for what comes late.
 */
Napi::Value list_connections(const Napi::CallbackInfo &info)
{
	int fd = info[0].As<Napi::Number>().Int32Value();
	uint16_t port = static_cast<uint16_t>(info[1].As<Napi::Number>().Uint32Value());
	bool is_any = info[3].ToBoolean();
	struct listing list = {};

	list.most = info[2].As<Napi::Number>().Uint32Value();
	list.states = is_any ? ANY_STATE : 1u << TCP_ESTABLISHED;
	for (bool is_of_dialled : {true, false}) {
		list.is_of_dialled = is_of_dialled;
		if (is_of_dialled && is_any)
			continue;
		for (uint8_t family : {uint8_t{AF_INET}, uint8_t{AF_INET6}}) {
			int result = list_family(fd, family, port, &list);

			/* A kernel without IPv6 has no such table. */
			if (result < 0 && !(family == AF_INET6 && result == -ENOENT)) {
				errno = -result;
				return fail(info.Env(), "sock_diag");
			}
		}
	}
	return Napi::Buffer<char>::Copy(info.Env(), list.records.data(), list.records.size());
}

/*
 * (fd, record): the kernel ends that very connection, as by ss -K: its owner reads ECONNABORTED, its peer a reset. 0, or
 * -errno: -ENOENT when it has ended, -EPERM without CAP_NET_ADMIN in the namespace, -EOPNOTSUPP from a kernel without
 * INET_DIAG_DESTROY.
 */
Napi::Value destroy_connection(const Napi::CallbackInfo &info)
{
	int fd = info[0].As<Napi::Number>().Int32Value();
	Napi::Uint8Array record = info[1].As<Napi::Uint8Array>();
	struct question question = question_of(SOCK_DESTROY, NLM_F_ACK, record.Data()[0]);
	alignas(struct nlmsghdr) char reply[4096];
	struct nlmsghdr *head = reinterpret_cast<struct nlmsghdr *>(reply);
	ssize_t n;

	memcpy(&question.request.id, record.Data() + 4, sizeof(question.request.id));
	if (!ask(fd, question))
		return Napi::Number::New(info.Env(), -errno);
	do {
		n = recv(fd, reply, sizeof(reply), 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return Napi::Number::New(info.Env(), -errno);
	if (!NLMSG_OK(head, static_cast<size_t>(n)) || head->nlmsg_type != NLMSG_ERROR)
		return Napi::Number::New(info.Env(), -EIO);
	return Napi::Number::New(info.Env(), -error_in(head));
}
