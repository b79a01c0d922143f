// See redirects.h. Messages of linux/netfilter/nfnetlink_conntrack.h.
#include "redirects.h"

#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cstring>
#include <vector>

namespace sniffer {

namespace {

constexpr uint64_t DIRECT_MS = 100;
constexpr size_t ANSWER_BYTES = 8192;

// A netlink message that grows; attributes may be nested.
class Message {
      public:
	Message(uint16_t type, uint32_t sequence, uint8_t family)
	{
		nlmsghdr head{};
		head.nlmsg_type = type;
		head.nlmsg_flags = NLM_F_REQUEST;
		head.nlmsg_seq = sequence;
		put(&head, sizeof(head));
		nfgenmsg generic{family, NFNETLINK_V0, 0};
		put(&generic, sizeof(generic));
	}
	void add(uint16_t type, const void *data, size_t bytes)
	{
		size_t at = begin(type);
		put(data, bytes);
		end(at);
	}
	size_t begin(uint16_t type)
	{
		size_t at = bytes_.size();
		nlattr attribute{0, type};
		put(&attribute, sizeof(attribute));
		return at;
	}
	void end(size_t at)
	{
		auto length = static_cast<uint16_t>(bytes_.size() - at);
		memcpy(bytes_.data() + at, &length, sizeof(length));
		bytes_.resize(NLA_ALIGN(bytes_.size()));
	}
	const std::vector<uint8_t> &finish()
	{
		auto length = static_cast<uint32_t>(bytes_.size());
		memcpy(bytes_.data(), &length, sizeof(length));
		return bytes_;
	}

      private:
	void put(const void *data, size_t bytes)
	{
		auto *from = static_cast<const uint8_t *>(data);
		bytes_.insert(bytes_.end(), from, from + bytes);
	}
	std::vector<uint8_t> bytes_;
};

Message question(const FlowKey &key, uint32_t sequence)
{
	bool is_ipv4 = key.family == 4;
	Message message(NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET, sequence, is_ipv4 ? AF_INET : AF_INET6);
	size_t address_bytes = is_ipv4 ? 4 : 16;
	uint16_t peer_port = htons(key.peer_port), local_port = htons(key.local_port);
	size_t tuple = message.begin(CTA_TUPLE_ORIG | NLA_F_NESTED);
	size_t ip = message.begin(CTA_TUPLE_IP | NLA_F_NESTED);
	message.add(is_ipv4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, key.peer, address_bytes);
	message.add(is_ipv4 ? CTA_IP_V4_DST : CTA_IP_V6_DST, key.local, address_bytes);
	message.end(ip);
	size_t proto = message.begin(CTA_TUPLE_PROTO | NLA_F_NESTED);
	message.add(CTA_PROTO_NUM, &key.protocol, sizeof(key.protocol));
	message.add(CTA_PROTO_SRC_PORT, &peer_port, sizeof(peer_port));
	message.add(CTA_PROTO_DST_PORT, &local_port, sizeof(local_port));
	message.end(proto);
	message.end(tuple);
	return message;
}

// The attribute of that type in [at, end), or null.
const nlattr *find(const uint8_t *at, const uint8_t *end, uint16_t type)
{
	while (at + sizeof(nlattr) <= end) {
		auto *attribute = reinterpret_cast<const nlattr *>(at);
		if (attribute->nla_len < sizeof(nlattr) || at + attribute->nla_len > end)
			return nullptr;
		if ((attribute->nla_type & NLA_TYPE_MASK) == type)
			return attribute;
		at += NLA_ALIGN(attribute->nla_len);
	}
	return nullptr;
}

const nlattr *find_in(const nlattr *outer, uint16_t type)
{
	if (outer == nullptr)
		return nullptr;
	auto *at = reinterpret_cast<const uint8_t *>(outer);
	return find(at + sizeof(nlattr), at + outer->nla_len, type);
}

} // namespace

bool TrackedRedirects::prepare()
{
	socket_ = Descriptor(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
	// The kernel answers before send returns; this is against the unheard of.
	timeval patience{0, 100'000};
	return socket_.valid() &&
	       setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0;
}

bool TrackedRedirects::is_redirected(const FlowKey &key, uint64_t now_ms)
{
	if (!socket_.valid() || now_ms < direct_until_ms_[key.local_port])
		return false;
	if (ask(key))
		return true;
	direct_until_ms_[key.local_port] = now_ms + DIRECT_MS;
	return false;
}

bool TrackedRedirects::ask(const FlowKey &key)
{
	std::vector<uint8_t> message = question(key, ++sequence_).finish();
	if (send(socket_.get(), message.data(), message.size(), 0) < 0)
		return false;
	alignas(nlmsghdr) uint8_t answer[ANSWER_BYTES];
	ssize_t count = recv(socket_.get(), answer, sizeof(answer), 0);
	auto *head = reinterpret_cast<const nlmsghdr *>(answer);
	if (count < static_cast<ssize_t>(NLMSG_HDRLEN) || head->nlmsg_len > static_cast<size_t>(count) ||
	    head->nlmsg_seq != sequence_ || head->nlmsg_type != (NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW))
		return false;
	const uint8_t *attributes = answer + NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(nfgenmsg));
	const nlattr *reply = find(attributes, answer + head->nlmsg_len, CTA_TUPLE_REPLY);
	const nlattr *port = find_in(find_in(reply, CTA_TUPLE_PROTO), CTA_PROTO_SRC_PORT);
	if (port == nullptr || port->nla_len < sizeof(nlattr) + sizeof(uint16_t))
		return false;
	uint16_t answers_from;
	memcpy(&answers_from, port + 1, sizeof(answers_from));
	return ntohs(answers_from) != key.local_port;
}

} // namespace sniffer
