/* The redirect by address translation, where sk_lookup is not to be had: a table of nf_tables for each family in one network
 * namespace, spoken over netlink, so that no program is needed. On Linux 5.12 the tables belong to our socket, and are gone
 * with it; before that somebody has to remove them by their name.
 *
 * Only packets that begin a connection are looked at: one that was there before the first rule is new to connection tracking, and
 * would be torn by a translation in its middle. */
#include "netlink_batch.h"
#include "stealer.h"

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/rtnetlink.h>
#include <unistd.h>

/* All that is ours in a namespace has a name that begins so: it can be removed by who knows nothing else. */
static const char table_prefix[] = "mirrord-steal-";
/* Of kept_nat.cc. */
static const char kept_prefix[] = "mirrord-pass-";
static const char set_name[] = "ports";
/* Since Linux 5.12; not in the headers of older ones. */
static const uint32_t owned = 0x2;
/* nft's number for a port as the type of a set's key; only shown. */
static const uint32_t inet_service = 13;
/* A sidecar's rules have priority -100: what it redirects on its way in is its own, and what it hands to the target over
 * loopback is ours before it looks. */
static const int32_t after_sidecars = -99;
static const int32_t before_sidecars = -101;

struct nat {
	std::string table;
	int fd;
	bool is_owned;
	std::vector<uint8_t> families;
};

static void value(Batch &batch, uint16_t type, const void *data, size_t length)
{
	size_t nested = batch.nest(type);

	batch.bytes(NFTA_DATA_VALUE, data, length);
	batch.end(nested);
}

static void load_meta(Batch &batch, uint32_t key)
{
	Expression expression(batch, "meta");

	batch.number(NFTA_META_DREG, NFT_REG_1);
	batch.number(NFTA_META_KEY, key);
}

static void load_tcp(Batch &batch, uint32_t offset, uint32_t length)
{
	Expression expression(batch, "payload");

	batch.number(NFTA_PAYLOAD_DREG, NFT_REG_1);
	batch.number(NFTA_PAYLOAD_BASE, NFT_PAYLOAD_TRANSPORT_HEADER);
	batch.number(NFTA_PAYLOAD_OFFSET, offset);
	batch.number(NFTA_PAYLOAD_LEN, length);
}

static void compare(Batch &batch, uint32_t how, const void *with, size_t length)
{
	Expression expression(batch, "cmp");

	batch.number(NFTA_CMP_SREG, NFT_REG_1);
	batch.number(NFTA_CMP_OP, how);
	value(batch, NFTA_CMP_DATA, with, length);
}

/* SYN without FIN, RST and ACK. */
static void begins_connection(Batch &batch)
{
	const uint8_t tcp = IPPROTO_TCP, mask = 0x17, zero = 0, syn = 0x02;

	load_meta(batch, NFT_META_L4PROTO);
	compare(batch, NFT_CMP_EQ, &tcp, sizeof tcp);
	load_tcp(batch, 13, 1);
	{
		Expression expression(batch, "bitwise");

		batch.number(NFTA_BITWISE_SREG, NFT_REG_1);
		batch.number(NFTA_BITWISE_DREG, NFT_REG_1);
		batch.number(NFTA_BITWISE_LEN, 1);
		value(batch, NFTA_BITWISE_MASK, &mask, sizeof mask);
		value(batch, NFTA_BITWISE_XOR, &zero, sizeof zero);
	}
	compare(batch, NFT_CMP_EQ, &syn, sizeof syn);
}

/* Not what is only passing through, which a node does for its pods. */
static void is_for_here(Batch &batch)
{
	const uint32_t local = RTN_LOCAL;
	{
		Expression expression(batch, "fib");

		batch.number(NFTA_FIB_DREG, NFT_REG_1);
		batch.number(NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
		batch.number(NFTA_FIB_FLAGS, NFTA_FIB_F_DADDR);
	}
	compare(batch, NFT_CMP_EQ, &local, sizeof local);
}

static void port_is_stolen(Batch &batch)
{
	load_tcp(batch, 2, 2);
	Expression expression(batch, "lookup");

	batch.text(NFTA_LOOKUP_SET, set_name);
	batch.number(NFTA_LOOKUP_SREG, NFT_REG_1);
	batch.number(NFTA_LOOKUP_SET_ID, 1);
}

static void redirect_to(Batch &batch, uint16_t port)
{
	const uint16_t ordered = htons(port);
	{
		Expression expression(batch, "immediate");

		batch.number(NFTA_IMMEDIATE_DREG, NFT_REG_1);
		value(batch, NFTA_IMMEDIATE_DATA, &ordered, sizeof ordered);
	}
	Expression expression(batch, "redir");

	batch.number(NFTA_REDIR_REG_PROTO_MIN, NFT_REG_1);
}

static void add_chain(Batch &batch, uint8_t family, const char *table, const char *name, uint32_t hook, int32_t priority, uint16_t listener_port)
{
	const uint32_t mark = own_mark;

	batch.message(NFT_MSG_NEWCHAIN, family, NLM_F_CREATE);
	batch.text(NFTA_CHAIN_TABLE, table);
	batch.text(NFTA_CHAIN_NAME, name);
	size_t nested = batch.nest(NFTA_CHAIN_HOOK);

	batch.number(NFTA_HOOK_HOOKNUM, hook);
	batch.number(NFTA_HOOK_PRIORITY, static_cast<uint32_t>(priority));
	batch.end(nested);
	batch.number(NFTA_CHAIN_POLICY, NF_ACCEPT);
	batch.text(NFTA_CHAIN_TYPE, "nat");

	batch.message(NFT_MSG_NEWRULE, family, NLM_F_CREATE | NLM_F_APPEND);
	batch.text(NFTA_RULE_TABLE, table);
	batch.text(NFTA_RULE_CHAIN, name);
	nested = batch.nest(NFTA_RULE_EXPRESSIONS);
	begins_connection(batch);
	/* Our own way to the target's listener. */
	load_meta(batch, NFT_META_MARK);
	compare(batch, NFT_CMP_NEQ, &mark, sizeof mark);
	port_is_stolen(batch);
	is_for_here(batch);
	redirect_to(batch, listener_port);
	batch.end(nested);
}

static int add_family(int fd, uint8_t family, const char *table, uint16_t listener_port, bool is_owned)
{
	Batch batch;

	batch.message(NFT_MSG_NEWTABLE, family, NLM_F_CREATE | NLM_F_EXCL);
	batch.text(NFTA_TABLE_NAME, table);
	batch.number(NFTA_TABLE_FLAGS, is_owned ? owned : 0);
	batch.message(NFT_MSG_NEWSET, family, NLM_F_CREATE);
	batch.text(NFTA_SET_TABLE, table);
	batch.text(NFTA_SET_NAME, set_name);
	batch.number(NFTA_SET_FLAGS, 0);
	batch.number(NFTA_SET_KEY_TYPE, inet_service);
	batch.number(NFTA_SET_KEY_LEN, sizeof(uint16_t));
	batch.number(NFTA_SET_ID, 1);
	add_chain(batch, family, table, "prerouting", NF_INET_PRE_ROUTING, after_sidecars, listener_port);
	add_chain(batch, family, table, "output", NF_INET_LOCAL_OUT, before_sidecars, listener_port);
	return batch.send_to(fd);
}

static int remove_table(int fd, uint8_t family, const char *table)
{
	Batch batch;

	batch.message(NFT_MSG_DELTABLE, family, 0);
	batch.text(NFTA_TABLE_NAME, table);
	return batch.send_to(fd);
}

/* It does not block, and need not: the kernel has answered when what asks it returns. */
static int open_netlink(int namespace_fd)
{
	return socket_in(namespace_fd, AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
}

static bool begins(const std::string &name, const char *prefix)
{
	return name.compare(0, strlen(prefix), prefix) == 0;
}

/* Of one family, those of ours. */
static int list_tables(int fd, uint8_t family, std::vector<std::string> *tables)
{
	struct {
		struct nlmsghdr header;
		struct nfgenmsg general;
	} request = {};

	request.header.nlmsg_len = sizeof request;
	request.header.nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE;
	request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	request.general.nfgen_family = family;
	if (send(fd, &request, sizeof request, 0) < 0)
		return -errno;
	for (;;) {
		alignas(struct nlmsghdr) char buffer[32768];
		ssize_t got = recv(fd, buffer, sizeof buffer, 0);

		if (got < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		for (const struct nlmsghdr *one = reinterpret_cast<struct nlmsghdr *>(buffer); NLMSG_OK(one, static_cast<uint32_t>(got));
		     one = next_message(one, &got)) {
			if (one->nlmsg_type == NLMSG_DONE)
				return 0;
			if (one->nlmsg_type == NLMSG_ERROR)
				return static_cast<const struct nlmsgerr *>(NLMSG_DATA(one))->error;
			std::string name = text_of(one, NFTA_TABLE_NAME);

			if (begins(name, table_prefix) || begins(name, kept_prefix))
				tables->push_back(name);
		}
	}
}

int nat_sweep(int namespace_fd, const std::string &table)
{
	int fd = open_netlink(namespace_fd);
	int first = 0;

	if (fd < 0)
		return fd;
	for (uint8_t family : {NFPROTO_IPV4, NFPROTO_IPV6}) {
		std::vector<std::string> tables;

		/* A kernel without nf_tables has none to be removed. */
		if (list_tables(fd, family, &tables) < 0)
			continue;
		for (const std::string &one : tables) {
			bool is_kept = begins(one, kept_prefix);
			std::string named = is_kept ? table_prefix + one.substr(strlen(kept_prefix)) : one;
			int error = table.empty() || table == named ? remove_table(fd, family, one.c_str()) : 0;

			/* It is in nobody's way, and goes with its owner. */
			if (error < 0 && error != -ENOENT && !is_kept && first == 0)
				first = error;
		}
	}
	close(fd);
	return first;
}

int nat_open(int namespace_fd, const char *table, uint16_t listener_port, bool may_own, struct nat **opened)
{
	int fd = open_netlink(namespace_fd);

	if (fd < 0)
		return fd;
	struct nat *nat = new struct nat();

	nat->table = table;
	nat->fd = fd;
	nat->is_owned = may_own;

	int error = may_own ? add_family(fd, NFPROTO_IPV4, table, listener_port, true) : -EINVAL;

	if (error == -EINVAL || error == -EOPNOTSUPP) {
		nat->is_owned = false;
		error = add_family(fd, NFPROTO_IPV4, table, listener_port, false);
	}
	if (error < 0) {
		nat_close(nat);
		return error;
	}
	nat->families.push_back(NFPROTO_IPV4);
	if (add_family(fd, NFPROTO_IPV6, table, listener_port, nat->is_owned) == 0)
		nat->families.push_back(NFPROTO_IPV6);
	*opened = nat;
	return 0;
}

bool nat_is_owned(const struct nat *nat)
{
	return nat->is_owned;
}

bool nat_has_ipv6(const struct nat *nat)
{
	return nat->families.size() > 1;
}

int nat_port(struct nat *nat, uint16_t port, bool is_stolen)
{
	const uint16_t ordered = htons(port);
	Batch batch;

	for (uint8_t family : nat->families) {
		batch.message(is_stolen ? NFT_MSG_NEWSETELEM : NFT_MSG_DELSETELEM, family, is_stolen ? NLM_F_CREATE : 0);
		batch.text(NFTA_SET_ELEM_LIST_TABLE, nat->table.c_str());
		batch.text(NFTA_SET_ELEM_LIST_SET, set_name);
		size_t list = batch.nest(NFTA_SET_ELEM_LIST_ELEMENTS);
		size_t element = batch.nest(NFTA_LIST_ELEM);

		value(batch, NFTA_SET_ELEM_KEY, &ordered, sizeof ordered);
		batch.end(element);
		batch.end(list);
	}
	return batch.send_to(nat->fd);
}

void nat_close(struct nat *nat)
{
	for (uint8_t family : nat->families)
		remove_table(nat->fd, family, nat->table.c_str());
	close(nat->fd);
	delete nat;
}
