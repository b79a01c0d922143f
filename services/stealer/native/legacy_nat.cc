/* The redirect by ip_tables and ip6_tables, for kernels without nf_tables: a chain of ours in the nat tables of one network
 * namespace, spoken as iptables-legacy speaks to the kernel (getsockopt and setsockopt), so that no program and no right to raw
 * sockets is needed. Nothing of this goes by itself: somebody has to remove it by its name. */
#include "ip_table.h"
#include "stealer.h"

#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <functional>
#include <string>
#include <unistd.h>
#include <vector>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/xt_addrtype.h>
#include <linux/netfilter/xt_mark.h>
#include <linux/netfilter/xt_tcpudp.h>

static const char chain_prefix[] = "mirrord-steal-";
static_assert(sizeof chain_prefix == 15, "with a process and six digits it is as long as a chain's name may be");
/* Others write the same table: whoever was quicker, both changes hold in the end. */
static const int most_tries = 50;

struct legacy_nat {
	std::string chain;
	uint16_t listener_port;
	struct family {
		sa_family_t family;
		int fd;
	};
	std::vector<family> families;
};

static int change(int fd, sa_family_t family, const std::function<void(IpTable &)> &edit)
{
	int error = -EAGAIN;

	for (int tries = 0; error == -EAGAIN && tries < most_tries; tries++) {
		IpTable table;

		error = IpTable::read(fd, family, &table);
		if (error < 0)
			continue;
		edit(table);
		error = table.write(fd);
	}
	return error;
}

static void match_tcp(IpTable &table, uint16_t from_port, uint16_t to_port, bool begins_connection)
{
	struct xt_tcp tcp = {};

	tcp.spts[1] = UINT16_MAX;
	tcp.dpts[0] = from_port;
	tcp.dpts[1] = to_port;
	/* SYN without FIN, RST and ACK: what was there before is torn by a translation. */
	tcp.flg_mask = begins_connection ? 0x17 : 0;
	tcp.flg_cmp = begins_connection ? 0x02 : 0;
	table.match("tcp", 0, &tcp, sizeof tcp);
}

static RuleId make_jump(IpTable &table, RuleId to)
{
	const struct xt_mark_mtinfo1 not_our_own = {own_mark, UINT32_MAX, 1};
	struct xt_addrtype_info_v1 for_here = {};

	/* Not what is only passing through, which a node does for its pods. */
	for_here.dest = XT_ADDRTYPE_LOCAL;
	table.begin_rule(true);
	match_tcp(table, 0, UINT16_MAX, true);
	table.match("mark", 1, &not_our_own, sizeof not_our_own);
	table.match("addrtype", 1, &for_here, sizeof for_here);
	table.verdict(to);
	return table.end_rule();
}

/* On the way in behind the rules of a sidecar, whose own that is; on the way out in front of them, since it hands to the target over loopback. */
static void add_rules(IpTable &table, const char *chain)
{
	table.add_chain(chain);
	RuleId first = table.rules_of(chain).front();

	make_jump(table, first);
	table.insert_before(table.policy_of(NF_INET_PRE_ROUTING));
	make_jump(table, first);
	table.insert_before(table.first_of(NF_INET_LOCAL_OUT));
}

static void redirect_to(IpTable &table, sa_family_t family, uint16_t port)
{
	if (family == AF_INET6) {
		struct nf_nat_range range = {};

		range.flags = NF_NAT_RANGE_PROTO_SPECIFIED;
		range.min_proto.tcp.port = range.max_proto.tcp.port = htons(port);
		table.target("REDIRECT", &range, sizeof range);
		return;
	}
	struct nf_nat_ipv4_multi_range_compat range = {};

	range.rangesize = 1;
	range.range[0].flags = NF_NAT_RANGE_PROTO_SPECIFIED;
	range.range[0].min.tcp.port = range.range[0].max.tcp.port = htons(port);
	table.target("REDIRECT", &range, sizeof range);
}

static void add_port(IpTable &table, sa_family_t family, const struct legacy_nat &nat, uint16_t port)
{
	std::vector<RuleId> rules = table.rules_of(nat.chain);

	/* Somebody has flushed it: then nothing is stolen, as whoever did so wanted. */
	if (rules.empty())
		return;
	table.begin_rule(true);
	match_tcp(table, port, port, false);
	redirect_to(table, family, nat.listener_port);
	table.end_rule();
	table.insert_before(rules.back());
}

static void remove_port(IpTable &table, const struct legacy_nat &nat, uint16_t port)
{
	std::vector<RuleId> rules = table.rules_of(nat.chain);

	for (RuleId id : rules) {
		if (id != rules.back() && table.is_for_port(id, port))
			table.remove(id);
	}
}

int legacy_open(int namespace_fd, const char *chain, uint16_t listener_port, struct legacy_nat **opened)
{
	struct legacy_nat *nat = new struct legacy_nat();
	int first = 0;

	nat->chain = chain;
	nat->listener_port = listener_port;
	for (sa_family_t family : {sa_family_t{AF_INET}, sa_family_t{AF_INET6}}) {
		int fd = socket_in(namespace_fd, family);
		int error = fd < 0 ? fd : change(fd, family, [chain](IpTable &table) { add_rules(table, chain); });

		if (error == 0) {
			nat->families.push_back({family, fd});
			continue;
		}
		if (fd >= 0)
			close(fd);
		if (family == AF_INET) {
			first = error;
			break;
		}
	}
	if (first < 0) {
		legacy_close(nat);
		return first;
	}
	*opened = nat;
	return 0;
}

bool legacy_has_ipv6(const struct legacy_nat *nat)
{
	return nat->families.size() > 1;
}

int legacy_port(struct legacy_nat *nat, uint16_t port, bool is_stolen)
{
	for (const auto &one : nat->families) {
		int error = change(one.fd, one.family, [&](IpTable &table) {
			remove_port(table, *nat, port);
			if (is_stolen)
				add_port(table, one.family, *nat, port);
		});

		if (error < 0)
			return error;
	}
	return 0;
}

void legacy_close(struct legacy_nat *nat)
{
	for (const auto &one : nat->families) {
		(void)change(one.fd, one.family, [nat](IpTable &table) { table.remove_chain(nat->chain); });
		close(one.fd);
	}
	delete nat;
}

/* Asking for a table makes it, with the tracking of connections that it wants: who only looks for leftovers asks the namespace's
 * list of those that are there. */
static bool has_nat_table(int namespace_fd, const char *list)
{
	int fd = file_in(namespace_fd, list);
	char names[512];
	ssize_t got = fd < 0 ? -1 : read(fd, names, sizeof names - 1);

	if (fd >= 0)
		close(fd);
	if (got <= 0)
		return false;
	names[got] = '\0';
	return strncmp(names, "nat\n", 4) == 0 || strstr(names, "\nnat\n") != nullptr;
}

static int sweep_family(int namespace_fd, sa_family_t family, const std::string &chain)
{
	int fd = socket_in(namespace_fd, family);
	int error = fd;
	IpTable table;

	if (fd < 0)
		return fd;
	error = IpTable::read(fd, family, &table);
	if (error == 0) {
		std::vector<std::string> left;

		for (const std::string &name : table.chains()) {
			if (name.compare(0, sizeof chain_prefix - 1, chain_prefix) == 0 && (chain.empty() || chain == name))
				left.push_back(name);
		}
		if (!left.empty())
			error = change(fd, family, [&left](IpTable &again) {
				for (const std::string &name : left)
					again.remove_chain(name);
			});
	}
	close(fd);
	return error;
}

int legacy_sweep(int namespace_fd, const std::string &chain)
{
	int first = 0;

	if (has_nat_table(namespace_fd, "ip_tables_names"))
		first = sweep_family(namespace_fd, AF_INET, chain);
	if (has_nat_table(namespace_fd, "ip6_tables_names")) {
		int error = sweep_family(namespace_fd, AF_INET6, chain);

		first = first < 0 ? first : error;
	}
	return first;
}
