/*
 * A batch of messages to nf_tables: written attribute by attribute, sent at once, and done as a whole or not at all.
 */
#ifndef MIRRORD_STEALER_NETLINK_BATCH_H
#define MIRRORD_STEALER_NETLINK_BATCH_H

#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <string>
#include <sys/socket.h>
#include <vector>

static inline const struct nlmsghdr *next_message(const struct nlmsghdr *message, ssize_t *left)
{
	uint32_t length = NLMSG_ALIGN(message->nlmsg_len);

	*left -= length;
	return reinterpret_cast<const struct nlmsghdr *>(reinterpret_cast<const char *>(message) + length);
}

/* An attribute of a message about nf_tables that is a text; empty without one. */
static inline std::string text_of(const struct nlmsghdr *message, uint16_t type)
{
	const char *at = static_cast<const char *>(NLMSG_DATA(message)) + NLMSG_ALIGN(sizeof(struct nfgenmsg));
	const char *end = reinterpret_cast<const char *>(message) + message->nlmsg_len;

	while (at + NLA_HDRLEN <= end) {
		const struct nlattr *attribute = reinterpret_cast<const struct nlattr *>(at);

		if (attribute->nla_len < NLA_HDRLEN || at + attribute->nla_len > end)
			break;
		if ((attribute->nla_type & NLA_TYPE_MASK) == type) {
			size_t length = attribute->nla_len - NLA_HDRLEN;

			return std::string(at + NLA_HDRLEN, strnlen(at + NLA_HDRLEN, length));
		}
		at += NLA_ALIGN(attribute->nla_len);
	}
	return "";
}

class Batch {
public:
	Batch() { control(NFNL_MSG_BATCH_BEGIN); }

	void message(int type, uint8_t family, uint16_t flags)
	{
		begin(static_cast<uint16_t>(NFNL_SUBSYS_NFTABLES << 8 | type), static_cast<uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags), family, 0);
		answers_++;
	}

	void bytes(uint16_t type, const void *data, size_t length)
	{
		struct nlattr attribute = {static_cast<uint16_t>(NLA_HDRLEN + length), type};

		append(&attribute, sizeof attribute);
		append(data, length);
		pad();
	}

	void text(uint16_t type, const char *text) { bytes(type, text, strlen(text) + 1); }

	void number(uint16_t type, uint32_t value)
	{
		uint32_t ordered = htonl(value);

		bytes(type, &ordered, sizeof ordered);
	}

	size_t nest(uint16_t type)
	{
		size_t at = data_.size();
		struct nlattr attribute = {0, static_cast<uint16_t>(type | NLA_F_NESTED)};

		append(&attribute, sizeof attribute);
		return at;
	}

	void end(size_t at)
	{
		uint16_t length = static_cast<uint16_t>(data_.size() - at);

		memcpy(&data_[at], &length, sizeof length);
	}

	/* 0, or -errno of the first that was refused. */
	int send_to(int fd)
	{
		control(NFNL_MSG_BATCH_END);
		finish();
		if (send(fd, data_.data(), data_.size(), 0) < 0)
			return -errno;
		return answers(fd);
	}

private:
	void append(const void *data, size_t length)
	{
		const uint8_t *from = static_cast<const uint8_t *>(data);

		data_.insert(data_.end(), from, from + length);
	}

	void pad() { data_.resize(NLMSG_ALIGN(data_.size())); }

	void finish()
	{
		uint32_t length = static_cast<uint32_t>(data_.size() - message_);

		if (data_.size() > message_)
			memcpy(&data_[message_], &length, sizeof length);
	}

	void begin(uint16_t type, uint16_t flags, uint8_t family, uint16_t resource)
	{
		struct nlmsghdr header = {};
		struct nfgenmsg general = {family, NFNETLINK_V0, htons(resource)};

		finish();
		message_ = data_.size();
		header.nlmsg_type = type;
		header.nlmsg_flags = flags;
		header.nlmsg_seq = 1;
		append(&header, sizeof header);
		append(&general, sizeof general);
	}

	void control(uint16_t type) { begin(type, NLM_F_REQUEST, AF_UNSPEC, NFNL_SUBSYS_NFTABLES); }

	int answers(int fd)
	{
		int first = 0;

		while (answers_ > 0) {
			alignas(struct nlmsghdr) char buffer[16384];
			ssize_t got = recv(fd, buffer, sizeof buffer, 0);

			if (got < 0)
				return errno == EAGAIN ? -ETIMEDOUT : -errno;
			for (const struct nlmsghdr *one = reinterpret_cast<struct nlmsghdr *>(buffer); NLMSG_OK(one, static_cast<uint32_t>(got));
			     one = next_message(one, &got)) {
				if (one->nlmsg_type != NLMSG_ERROR)
					continue;
				int error = static_cast<const struct nlmsgerr *>(NLMSG_DATA(one))->error;

				answers_--;
				if (first == 0)
					first = error;
			}
		}
		return first;
	}

	std::vector<uint8_t> data_;
	size_t message_ = 0;
	int answers_ = 0;
};

/* An expression of a rule, with its attributes added between. */
class Expression {
public:
	Expression(Batch &batch, const char *name) : batch_(batch), element_(batch.nest(NFTA_LIST_ELEM))
	{
		batch.text(NFTA_EXPR_NAME, name);
		data_ = batch.nest(NFTA_EXPR_DATA);
	}

	~Expression()
	{
		batch_.end(data_);
		batch_.end(element_);
	}

private:
	Batch &batch_;
	size_t element_;
	size_t data_;
};

#endif
