#include "ip_table.h"

#include <cerrno>
#include <cstring>
#include <linux/netfilter/xt_tcpudp.h>

/* Both families' requests have the same numbers and layouts but for the entries. */
static const int get_info = IPT_SO_GET_INFO;
static const int get_entries = IPT_SO_GET_ENTRIES;
static const int set_replace = IPT_SO_SET_REPLACE;
static const int set_counters = IPT_SO_SET_ADD_COUNTERS;
static_assert(sizeof(struct ipt_getinfo) == sizeof(struct ip6t_getinfo), "one layout");
static_assert(sizeof(struct ipt_replace) == sizeof(struct ip6t_replace), "one layout");
static_assert(offsetof(struct ipt_replace, entries) == offsetof(struct ip6t_replace, entries), "one layout");
static_assert(set_replace == IP6T_SO_SET_REPLACE && get_entries == IP6T_SO_GET_ENTRIES, "the same numbers");

static const char nat_name[] = "nat";
/* Nobody has a larger one, and the kernel says the size. */
static const size_t max_bytes = 64 << 20;

static int level_of(sa_family_t family)
{
	return family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP;
}

static size_t header_size(sa_family_t family)
{
	return family == AF_INET6 ? sizeof(struct ip6t_entry) : sizeof(struct ipt_entry);
}

uint16_t *IpTable::target_offset(std::vector<uint8_t> &bytes) const
{
	size_t at = family_ == AF_INET6 ? offsetof(struct ip6t_entry, target_offset) : offsetof(struct ipt_entry, target_offset);

	return reinterpret_cast<uint16_t *>(&bytes[at]);
}

uint16_t *IpTable::next_offset(std::vector<uint8_t> &bytes) const
{
	return target_offset(bytes) + 1;
}

const struct xt_entry_target *IpTable::target_of(const std::vector<uint8_t> &bytes) const
{
	size_t at = *target_offset(const_cast<std::vector<uint8_t> &>(bytes));

	return reinterpret_cast<const struct xt_entry_target *>(&bytes[at]);
}

struct xt_standard_target *IpTable::standard_of(IpRule &rule) const
{
	const struct xt_entry_target *target = target_of(rule.bytes);

	if (target->u.user.name[0] != '\0' || target->u.target_size < sizeof(struct xt_standard_target))
		return nullptr;
	return reinterpret_cast<struct xt_standard_target *>(const_cast<struct xt_entry_target *>(target));
}

int IpTable::read(int fd, sa_family_t family, IpTable *table)
{
	struct ipt_getinfo info = {};
	socklen_t length = sizeof info;

	*table = IpTable();
	table->family_ = family;
	strcpy(info.name, nat_name);
	if (getsockopt(fd, level_of(family), get_info, &info, &length) < 0)
		return -errno;
	if (info.size > max_bytes)
		return -E2BIG;

	const size_t entries_at = offsetof(struct ipt_get_entries, entrytable);
	std::vector<uint64_t> memory((entries_at + info.size) / sizeof(uint64_t) + 1);
	struct ipt_get_entries *got = reinterpret_cast<struct ipt_get_entries *>(memory.data());

	strcpy(got->name, nat_name);
	got->size = info.size;
	length = static_cast<socklen_t>(entries_at + info.size);
	/* -EAGAIN when its size has changed. */
	if (getsockopt(fd, level_of(family), get_entries, got, &length) < 0)
		return -errno;

	const uint8_t *entries = reinterpret_cast<const uint8_t *>(memory.data()) + entries_at;

	/* The offset in what was read is a rule's id; new ones come behind. */
	for (size_t at = 0; at < info.size;) {
		IpRule rule = {static_cast<RuleId>(at), static_cast<int>(table->rules_.size()), {}};

		rule.bytes.assign(entries + at, entries + at + header_size(family));
		size_t size = *table->next_offset(rule.bytes);

		if (size < header_size(family) + sizeof(struct xt_entry_target) || at + size > info.size ||
		    *table->target_offset(rule.bytes) + sizeof(struct xt_entry_target) > size)
			return -EBADMSG;
		rule.bytes.assign(entries + at, entries + at + size);
		table->rules_.push_back(rule);
		at += size;
	}
	table->valid_hooks_ = info.valid_hooks;
	memcpy(table->hook_entry_, info.hook_entry, sizeof table->hook_entry_);
	memcpy(table->underflow_, info.underflow, sizeof table->underflow_);
	table->count_read_ = static_cast<uint32_t>(table->rules_.size());
	table->next_id_ = info.size;
	return 0;
}

int IpTable::write(int fd)
{
	std::vector<uint32_t> offsets;
	size_t size = 0;

	for (const IpRule &rule : rules_) {
		offsets.push_back(static_cast<uint32_t>(size));
		size += rule.bytes.size();
	}

	const size_t entries_at = offsetof(struct ipt_replace, entries);
	std::vector<uint64_t> memory((entries_at + size) / sizeof(uint64_t) + 1);
	struct ipt_replace *replace = reinterpret_cast<struct ipt_replace *>(memory.data());
	std::vector<struct xt_counters> former(count_read_);
	uint8_t *entries = reinterpret_cast<uint8_t *>(memory.data()) + entries_at;

	strcpy(replace->name, nat_name);
	replace->valid_hooks = valid_hooks_;
	replace->num_entries = static_cast<unsigned>(rules_.size());
	replace->size = static_cast<unsigned>(size);
	replace->num_counters = count_read_;
	replace->counters = former.data();
	for (unsigned hook = 0; hook < NF_INET_NUMHOOKS; hook++) {
		if ((valid_hooks_ & (1U << hook)) == 0)
			continue;
		replace->hook_entry[hook] = offsets[place_of(hook_entry_[hook])];
		replace->underflow[hook] = offsets[place_of(underflow_[hook])];
	}
	for (size_t place = 0; place < rules_.size(); place++) {
		IpRule rule = rules_[place];
		struct xt_standard_target *standard = standard_of(rule);

		if (standard != nullptr && standard->verdict >= 0)
			standard->verdict = static_cast<int>(offsets[place_of(static_cast<RuleId>(standard->verdict))]);
		memcpy(entries + offsets[place], rule.bytes.data(), rule.bytes.size());
	}
	if (setsockopt(fd, level_of(family_), set_replace, replace, static_cast<socklen_t>(entries_at + size)) < 0)
		return -errno;

	/* The kernel begins to count anew, and has said what it had. */
	std::vector<uint64_t> told((sizeof(struct xt_counters_info) + rules_.size() * sizeof(struct xt_counters)) / sizeof(uint64_t) + 1);
	struct xt_counters_info *counted = reinterpret_cast<struct xt_counters_info *>(told.data());

	strcpy(counted->name, nat_name);
	counted->num_counters = static_cast<unsigned>(rules_.size());
	for (size_t place = 0; place < rules_.size(); place++) {
		if (rules_[place].place >= 0)
			counted->counters[place] = former[static_cast<size_t>(rules_[place].place)];
	}
	/* Refused when somebody has changed the table again; then it is no more ours to count. */
	(void)setsockopt(fd, level_of(family_), set_counters, counted,
	                 static_cast<socklen_t>(sizeof *counted + rules_.size() * sizeof(struct xt_counters)));
	return 0;
}

void IpTable::append(const void *data, size_t length, size_t padded)
{
	const uint8_t *from = static_cast<const uint8_t *>(data);

	made_.bytes.insert(made_.bytes.end(), from, from + length);
	made_.bytes.resize(made_.bytes.size() + padded - length);
}

void IpTable::begin_rule(bool is_tcp)
{
	made_ = {next_id_++, -1, std::vector<uint8_t>(header_size(family_))};
	if (!is_tcp)
		return;
	if (family_ == AF_INET6) {
		struct ip6t_entry *entry = reinterpret_cast<struct ip6t_entry *>(made_.bytes.data());

		entry->ipv6.proto = IPPROTO_TCP;
		entry->ipv6.flags = IP6T_F_PROTO;
	} else {
		reinterpret_cast<struct ipt_entry *>(made_.bytes.data())->ip.proto = IPPROTO_TCP;
	}
}

void IpTable::match(const char *name, uint8_t revision, const void *data, size_t length)
{
	struct xt_entry_match head = {};
	size_t padded = XT_ALIGN(length);

	head.u.user.match_size = static_cast<uint16_t>(XT_ALIGN(sizeof head) + padded);
	strncpy(head.u.user.name, name, sizeof head.u.user.name - 1);
	head.u.user.revision = revision;
	append(&head, sizeof head, XT_ALIGN(sizeof head));
	append(data, length, padded);
}

void IpTable::target(const char *name, const void *data, size_t length)
{
	struct xt_entry_target head = {};
	size_t padded = XT_ALIGN(length);

	*target_offset(made_.bytes) = static_cast<uint16_t>(made_.bytes.size());
	head.u.user.target_size = static_cast<uint16_t>(XT_ALIGN(sizeof head) + padded);
	strncpy(head.u.user.name, name, sizeof head.u.user.name - 1);
	append(&head, sizeof head, XT_ALIGN(sizeof head));
	append(data, length, padded);
}

void IpTable::verdict(int64_t to)
{
	const int value = static_cast<int>(to);

	target(XT_STANDARD_TARGET, &value, sizeof value);
}

RuleId IpTable::end_rule()
{
	*next_offset(made_.bytes) = static_cast<uint16_t>(made_.bytes.size());
	return made_.id;
}

size_t IpTable::place_of(RuleId id) const
{
	size_t place = 0;

	while (place < rules_.size() && rules_[place].id != id)
		place++;
	return place;
}

/* Whatever goes on with one rule goes on with another. A policy stays what it is. */
void IpTable::lead(RuleId from, RuleId to)
{
	for (RuleId &entry : hook_entry_) {
		if (entry == from)
			entry = to;
	}
	for (IpRule &rule : rules_) {
		struct xt_standard_target *standard = standard_of(rule);

		if (standard != nullptr && standard->verdict == static_cast<int>(from))
			standard->verdict = static_cast<int>(to);
	}
}

void IpTable::insert_before(RuleId at)
{
	size_t place = place_of(at);

	lead(at, made_.id);
	rules_.insert(rules_.begin() + static_cast<ptrdiff_t>(place), made_);
}

void IpTable::remove(RuleId id)
{
	size_t place = place_of(id);

	if (place + 1 >= rules_.size())
		return;
	lead(id, rules_[place + 1].id);
	rules_.erase(rules_.begin() + static_cast<ptrdiff_t>(place));
}

/* The name of the chain that begins with a rule; empty when none does. The last of a table has this kind of name too. */
std::string IpTable::chain_at(size_t place) const
{
	const struct xt_entry_target *target = target_of(rules_[place].bytes);
	const struct xt_error_target *error = reinterpret_cast<const struct xt_error_target *>(target);

	if (strcmp(target->u.user.name, XT_ERROR_TARGET) != 0 || target->u.target_size < sizeof *error || place + 1 == rules_.size())
		return "";
	return std::string(error->errorname, strnlen(error->errorname, sizeof error->errorname));
}

void IpTable::add_chain(const char *name)
{
	char padded[XT_FUNCTION_MAXNAMELEN] = "";
	RuleId last = rules_.back().id;

	strncpy(padded, name, sizeof padded - 1);
	begin_rule(false);
	target(XT_ERROR_TARGET, padded, sizeof padded);
	end_rule();
	insert_before(last);
	begin_rule(false);
	verdict(XT_RETURN);
	end_rule();
	insert_before(last);
}

std::vector<std::string> IpTable::chains() const
{
	std::vector<std::string> names;

	for (size_t place = 0; place < rules_.size(); place++) {
		std::string name = chain_at(place);

		if (!name.empty())
			names.push_back(name);
	}
	return names;
}

std::vector<RuleId> IpTable::rules_of(const std::string &chain) const
{
	std::vector<RuleId> ids;
	size_t place = 0;

	while (place < rules_.size() && chain_at(place) != chain)
		place++;
	for (place++; place + 1 < rules_.size() && chain_at(place).empty(); place++)
		ids.push_back(rules_[place].id);
	return ids;
}

bool IpTable::is_for_port(RuleId id, uint16_t port) const
{
	const std::vector<uint8_t> &bytes = rules_[place_of(id)].bytes;
	const size_t at = header_size(family_);
	const size_t data_at = at + XT_ALIGN(sizeof(struct xt_entry_match));
	struct xt_tcp tcp;

	if (bytes.size() < data_at + sizeof tcp)
		return false;
	memcpy(&tcp, &bytes[data_at], sizeof tcp);
	return strcmp(reinterpret_cast<const struct xt_entry_match *>(&bytes[at])->u.user.name, "tcp") == 0 && tcp.dpts[0] == port &&
	       tcp.dpts[1] == port;
}

void IpTable::remove_chain(const std::string &name)
{
	std::vector<RuleId> own = rules_of(name);
	std::vector<RuleId> leading;

	if (own.empty())
		return;
	for (IpRule &rule : rules_) {
		struct xt_standard_target *standard = standard_of(rule);

		if (standard != nullptr && standard->verdict == static_cast<int>(own.front()))
			leading.push_back(rule.id);
	}
	for (RuleId id : leading)
		remove(id);
	size_t head = place_of(own.front()) - 1;

	rules_.erase(rules_.begin() + static_cast<ptrdiff_t>(head), rules_.begin() + static_cast<ptrdiff_t>(head + 1 + own.size()));
}
