/*
 * A table of ip_tables or ip6_tables as a list of rules, which can be changed and given back to the kernel as a whole. What is not
 * ours stays bit for bit, with its counters.
 */
#ifndef MIRRORD_STEALER_IP_TABLE_H
#define MIRRORD_STEALER_IP_TABLE_H

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>
/* Before the kernel's headers, which then leave out what both define. */
#include <netinet/in.h>
#include <sys/socket.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>

/* Names a rule for as long as the table is not read again. */
using RuleId = uint32_t;
static const RuleId no_rule = UINT32_MAX;

struct IpRule {
	RuleId id;
	/* At which place it was when the table was read; -1 for a new one. */
	int place;
	/* A rule of ip_tables as the kernel has it; jumps name ids where the kernel has offsets. */
	std::vector<uint8_t> bytes;
};

class IpTable {
public:
	/* The family's nat table, by a socket of the family; 0 or -errno. */
	static int read(int fd, sa_family_t family, IpTable *table);
	/* -EAGAIN when it was changed meanwhile. */
	int write(int fd);

	/* A rule's conditions, one after the other, and then what is done with it. */
	void begin_rule(bool is_tcp);
	void match(const char *name, uint8_t revision, const void *data, size_t length);
	void target(const char *name, const void *data, size_t length);
	/* A verdict of the kernel, below 0, or the rule to go on with. */
	void verdict(int64_t to);
	RuleId end_rule();

	/* The rule that was made last goes there, and what led to what is there leads to it. */
	void insert_before(RuleId at);
	void remove(RuleId id);
	/* Of a hook: the first rule, and the one that is its policy. */
	RuleId first_of(unsigned hook) const { return hook_entry_[hook]; }
	RuleId policy_of(unsigned hook) const { return underflow_[hook]; }

	/* A chain that only returns. */
	void add_chain(const char *name);
	std::vector<std::string> chains() const;
	/* Its rules, with the last, which returns, and without the one that has its name; empty when there is none. */
	std::vector<RuleId> rules_of(const std::string &chain) const;
	/* Whether its first condition is this port of TCP. */
	bool is_for_port(RuleId id, uint16_t port) const;
	/* The chain, and the rules that lead to it. */
	void remove_chain(const std::string &name);

private:
	std::string chain_at(size_t place) const;
	size_t place_of(RuleId id) const;
	void lead(RuleId from, RuleId to);
	void append(const void *data, size_t length, size_t padded);
	uint16_t *target_offset(std::vector<uint8_t> &bytes) const;
	uint16_t *next_offset(std::vector<uint8_t> &bytes) const;
	const struct xt_entry_target *target_of(const std::vector<uint8_t> &bytes) const;
	/* Of a rule that goes on with another one, or answers by itself; null for others. */
	struct xt_standard_target *standard_of(IpRule &rule) const;

	sa_family_t family_ = AF_INET;
	uint32_t valid_hooks_ = 0;
	RuleId hook_entry_[NF_INET_NUMHOOKS] = {};
	RuleId underflow_[NF_INET_NUMHOOKS] = {};
	uint32_t count_read_ = 0;
	RuleId next_id_ = 0;
	std::vector<IpRule> rules_;
	IpRule made_ = {};
};

#endif
