/* Matching of a path against the client's compiled rules (rules.h): one pass, no allocation, safe
 * from any thread. */
#include "rules.h"

#include <stdlib.h>
#include <string.h>

#define KNOWN_FLAGS (RULE_FOLD_CASE | RULE_RELATIVE | RULE_READS_ONLY)

struct rule {
	uint8_t op, verdict, flags;
	uint16_t len;
	const uint8_t *literal; /* into rules->literals */
};

struct rules {
	uint16_t count;
	uint8_t *literals;
	struct rule rule[];
};

static uint8_t fold(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

/* Reads one rule; its literal still points into the reader. */
static bool parse_rule(struct wire_reader *r, struct rule *rule)
{
	struct wire_bytes literal;
	uint8_t reserved;

	rule->op = wire_get_u8(r);
	rule->verdict = wire_get_u8(r);
	rule->flags = wire_get_u8(r);
	reserved = wire_get_u8(r);
	literal = wire_get_str(r);
	rule->literal = literal.data;
	rule->len = (uint16_t)literal.len;
	return !r->bad && rule->op <= RULE_CONTAINS && rule->verdict <= VERDICT_ASK &&
	       !(rule->flags & ~KNOWN_FLAGS) && reserved == 0;
}

/* Moves the literals out of the reader's memory and folds them once, so that matching folds only
 * the path. */
static bool own_literals(struct rules *rules)
{
	size_t total = 0;
	uint8_t *at;

	for (unsigned i = 0; i < rules->count; i++)
		total += rules->rule[i].len;
	rules->literals = at = malloc(total ? total : 1);
	if (!at)
		return false;
	for (unsigned i = 0; i < rules->count; i++) {
		struct rule *rule = &rules->rule[i];

		for (unsigned j = 0; j < rule->len; j++)
			at[j] = rule->flags & RULE_FOLD_CASE ? fold(rule->literal[j])
							     : rule->literal[j];
		rule->literal = at;
		at += rule->len;
	}
	return true;
}

struct rules *rules_parse(struct wire_reader *r)
{
	uint16_t count = wire_get_u16(r);
	struct rules *rules;

	if (r->bad)
		return NULL;
	rules = calloc(1, sizeof(*rules) + count * sizeof(rules->rule[0]));
	if (!rules)
		return NULL;
	for (; rules->count < count; rules->count++) {
		if (!parse_rule(r, &rules->rule[rules->count])) {
			rules_free(rules);
			return NULL;
		}
	}
	if (!own_literals(rules)) {
		rules_free(rules);
		return NULL;
	}
	return rules;
}

void rules_free(struct rules *rules)
{
	if (!rules)
		return;
	free(rules->literals);
	free(rules);
}

static bool equal(const struct rule *rule, const uint8_t *path)
{
	if (!(rule->flags & RULE_FOLD_CASE))
		return memcmp(path, rule->literal, rule->len) == 0;
	for (unsigned i = 0; i < rule->len; i++) {
		if (fold(path[i]) != rule->literal[i])
			return false;
	}
	return true;
}

static bool contains(const struct rule *rule, const uint8_t *path, size_t len)
{
	if (!(rule->flags & RULE_FOLD_CASE))
		return memmem(path, len, rule->literal, rule->len) != NULL;
	for (size_t i = 0; i + rule->len <= len; i++) {
		if (equal(rule, path + i))
			return true;
	}
	return false;
}

static bool matches(const struct rule *rule, const uint8_t *path, size_t len)
{
	if (rule->op == RULE_ALWAYS)
		return true;
	if (len < rule->len)
		return false;
	switch (rule->op) {
	case RULE_EXACT:
		return len == rule->len && equal(rule, path);
	case RULE_DIR:
		return (len == rule->len || path[rule->len] == '/') && equal(rule, path);
	case RULE_PREFIX:
		return equal(rule, path);
	case RULE_SUFFIX:
		return equal(rule, path + (len - rule->len));
	default:
		return contains(rule, path, len);
	}
}

enum rule_verdict rules_decide(const struct rules *rules, const char *path, size_t len,
			       bool is_relative, bool is_write)
{
	for (unsigned i = 0; i < rules->count; i++) {
		const struct rule *rule = &rules->rule[i];

		if (is_relative && !(rule->flags & RULE_RELATIVE))
			continue;
		if (is_write && (rule->flags & RULE_READS_ONLY))
			continue;
		if (!matches(rule, (const uint8_t *)path, len))
			continue;
		if (rule->verdict == VERDICT_REMOTE_READS)
			return is_write ? VERDICT_LOCAL : VERDICT_REMOTE;
		return rule->verdict;
	}
	return VERDICT_LOCAL;
}
