/* The kernel tracks connections and translates their addresses in a network namespace only while some table wants it: after the last
 * one packets of connections that were translated go on as they are, and are nobody's. A table of its own keeps it at it. */
#include "netlink_batch.h"
#include "stealer.h"

#include <cerrno>
#include <string>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <unistd.h>

/* As in nat.cc. */
static const uint32_t owned = 0x2;
static const int32_t last = 100;

struct kept_nat {
	std::string table;
	int fd;
};

static int add_table(int fd, uint8_t family, const char *table, bool is_owned)
{
	Batch batch;

	batch.message(NFT_MSG_NEWTABLE, family, NLM_F_CREATE | NLM_F_EXCL);
	batch.text(NFTA_TABLE_NAME, table);
	batch.number(NFTA_TABLE_FLAGS, is_owned ? owned : 0);
	batch.message(NFT_MSG_NEWCHAIN, family, NLM_F_CREATE);
	batch.text(NFTA_CHAIN_TABLE, table);
	batch.text(NFTA_CHAIN_NAME, "kept");
	size_t nested = batch.nest(NFTA_CHAIN_HOOK);

	batch.number(NFTA_HOOK_HOOKNUM, NF_INET_PRE_ROUTING);
	batch.number(NFTA_HOOK_PRIORITY, static_cast<uint32_t>(last));
	batch.end(nested);
	batch.number(NFTA_CHAIN_POLICY, NF_ACCEPT);
	batch.text(NFTA_CHAIN_TYPE, "nat");
	/* Looks at a connection's state and does nothing: who looks has connections tracked. */
	batch.message(NFT_MSG_NEWRULE, family, NLM_F_CREATE | NLM_F_APPEND);
	batch.text(NFTA_RULE_TABLE, table);
	batch.text(NFTA_RULE_CHAIN, "kept");
	nested = batch.nest(NFTA_RULE_EXPRESSIONS);
	{
		Expression expression(batch, "ct");

		batch.number(NFTA_CT_DREG, NFT_REG_1);
		batch.number(NFTA_CT_KEY, NFT_CT_STATE);
	}
	batch.end(nested);
	return batch.send_to(fd);
}

int kept_open(int namespace_fd, const char *table, struct kept_nat **opened)
{
	int fd = socket_in(namespace_fd, AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
	bool is_owned = true;
	int error;

	if (fd < 0)
		return fd;
	error = add_table(fd, NFPROTO_IPV4, table, true);
	if (error == -EINVAL || error == -EOPNOTSUPP) {
		is_owned = false;
		error = add_table(fd, NFPROTO_IPV4, table, false);
	}
	if (error < 0) {
		close(fd);
		return error;
	}
	/* A kernel that does not translate IPv6 has nothing of it to keep. */
	(void)add_table(fd, NFPROTO_IPV6, table, is_owned);
	*opened = new kept_nat{table, fd};
	return 0;
}

void kept_close(struct kept_nat *kept)
{
	for (uint8_t family : {NFPROTO_IPV4, NFPROTO_IPV6}) {
		Batch batch;

		batch.message(NFT_MSG_DELTABLE, family, 0);
		batch.text(NFTA_TABLE_NAME, kept->table.c_str());
		(void)batch.send_to(kept->fd);
	}
	close(kept->fd);
	delete kept;
}
