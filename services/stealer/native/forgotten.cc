/* What connection tracking remembers of connections that were translated to a listener which is no more (ctnetlink). A peer that was
 * reset may come again by the same port within ten seconds, and would be translated there again, where nobody is. */
#include "netlink_batch.h"
#include "stealer.h"

#include <cerrno>
#include <cstring>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <unistd.h>
#include <vector>

/* At one time; what is beyond it the kernel forgets in ten seconds. */
static const size_t most = 65536;

typedef std::vector<uint8_t> Message;

struct range {
	const uint8_t *at;
	const uint8_t *end;
};

/* The attribute's header and what it holds; empty when there is none. */
static struct range find(struct range in, uint16_t type)
{
	while (in.at != nullptr && in.at + NLA_HDRLEN <= in.end) {
		const struct nlattr *attribute = reinterpret_cast<const struct nlattr *>(in.at);

		if (attribute->nla_len < NLA_HDRLEN || in.at + attribute->nla_len > in.end)
			break;
		if ((attribute->nla_type & NLA_TYPE_MASK) == type)
			return {in.at, in.at + attribute->nla_len};
		in.at += NLA_ALIGN(attribute->nla_len);
	}
	return {nullptr, nullptr};
}

static struct range within(struct range in, uint16_t type)
{
	struct range found = find(in, type);

	return found.at == nullptr ? found : range{found.at + NLA_HDRLEN, found.end};
}

static uint16_t port_of(struct range tuple)
{
	struct range port = within(within(tuple, CTA_TUPLE_PROTO), CTA_PROTO_SRC_PORT);
	uint16_t ordered = 0;

	if (port.at != nullptr && port.at + sizeof ordered <= port.end)
		memcpy(&ordered, port.at, sizeof ordered);
	return ntohs(ordered);
}

static bool is_over(struct range all)
{
	struct range state = within(within(within(all, CTA_PROTOINFO), CTA_PROTOINFO_TCP), CTA_PROTOINFO_TCP_STATE);

	return state.at != nullptr && state.at < state.end && *state.at == TCP_CONNTRACK_CLOSE;
}

static Message message(uint16_t type, uint16_t flags, uint8_t family)
{
	Message bytes(NLMSG_HDRLEN + sizeof(struct nfgenmsg));
	struct nlmsghdr header = {};
	struct nfgenmsg general = {family, NFNETLINK_V0, 0};

	header.nlmsg_type = static_cast<uint16_t>(NFNL_SUBSYS_CTNETLINK << 8 | type);
	header.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
	memcpy(bytes.data(), &header, sizeof header);
	memcpy(bytes.data() + NLMSG_HDRLEN, &general, sizeof general);
	return bytes;
}

static int say(int fd, Message *bytes)
{
	uint32_t length = static_cast<uint32_t>(bytes->size());

	memcpy(bytes->data(), &length, sizeof length);
	return send(fd, bytes->data(), bytes->size(), 0) < 0 ? -errno : 0;
}

static void look_at(const struct nlmsghdr *one, uint16_t listener_port, std::vector<Message> *deletes)
{
	const uint8_t *start = static_cast<const uint8_t *>(NLMSG_DATA(one));
	struct range all = {start + NLMSG_ALIGN(sizeof(struct nfgenmsg)), reinterpret_cast<const uint8_t *>(one) + one->nlmsg_len};

	if (!is_over(all) || port_of(within(all, CTA_TUPLE_REPLY)) != listener_port || port_of(within(all, CTA_TUPLE_ORIG)) == 0)
		return;
	Message bytes = message(IPCTNL_MSG_CT_DELETE, 0, *start);

	/* The number as well: it may be another connection by now. */
	for (uint16_t type : {uint16_t{CTA_TUPLE_ORIG}, uint16_t{CTA_ID}, uint16_t{CTA_ZONE}}) {
		struct range attribute = find(all, type);

		if (attribute.at == nullptr)
			continue;
		bytes.insert(bytes.end(), attribute.at, attribute.end);
		bytes.resize(NLMSG_ALIGN(bytes.size()));
	}
	deletes->push_back(bytes);
}

/* The kernel answers while it is asked: nothing here waits. */
static int list(int fd, uint16_t listener_port, std::vector<Message> *deletes)
{
	Message question = message(IPCTNL_MSG_CT_GET, NLM_F_DUMP, AF_UNSPEC);
	int error = say(fd, &question);

	while (error == 0) {
		alignas(struct nlmsghdr) char buffer[32768];
		ssize_t got = recv(fd, buffer, sizeof buffer, 0);

		if (got < 0)
			return -errno;
		for (const struct nlmsghdr *one = reinterpret_cast<struct nlmsghdr *>(buffer); NLMSG_OK(one, static_cast<uint32_t>(got));
		     one = next_message(one, &got)) {
			if (one->nlmsg_type == NLMSG_DONE)
				return 0;
			if (one->nlmsg_type == NLMSG_ERROR)
				return static_cast<const struct nlmsgerr *>(NLMSG_DATA(one))->error;
			if (deletes->size() < most)
				look_at(one, listener_port, deletes);
		}
	}
	return error;
}

int forget_translated(int namespace_fd, uint16_t listener_port)
{
	int fd = socket_in(namespace_fd, AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
	std::vector<Message> deletes;
	int error;

	if (fd < 0)
		return fd;
	error = list(fd, listener_port, &deletes);
	for (Message &one : deletes) {
		char refusal[256];

		/* One that is gone already is told of, and that is no fault. */
		error = error == 0 ? say(fd, &one) : error;
		while (recv(fd, refusal, sizeof refusal, 0) > 0) {
		}
	}
	close(fd);
	return error;
}
