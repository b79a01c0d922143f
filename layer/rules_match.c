/*
 * Matching of a path against the rules (rules.h): one pass, no allocation, safe from any thread. Calls no function of a
 * library, because the bypass is made of the same code and has none.
 */
#include "rules_match.h"

struct literal {
	const uint8_t *text;
	uint32_t len;
	bool folds;
};

static bool equal(const struct literal *literal, const uint8_t *path)
{
	for (uint32_t i = 0; i < literal->len; i++) {
		if ((literal->folds ? rules_fold(path[i]) : path[i]) != literal->text[i])
			return false;
	}
	return true;
}

static bool contains(const struct literal *literal, const uint8_t *path, size_t len)
{
	for (size_t i = 0; i + literal->len <= len; i++) {
		if (equal(literal, path + i))
			return true;
	}
	return false;
}

static bool matches(const struct rules *rules, const struct rule *rule, const uint8_t *path, size_t len)
{
	struct literal literal = {(const uint8_t *)rules + rule->at, rule->len, rule->flags & RULE_FOLD_CASE};

	if (rule->op == RULE_ALWAYS)
		return true;
	if (len < rule->len)
		return false;
	switch (rule->op) {
	case RULE_EXACT:
		return len == rule->len && equal(&literal, path);
	case RULE_DIR:
		return (len == rule->len || path[rule->len] == '/') && equal(&literal, path);
	case RULE_PREFIX:
		return equal(&literal, path);
	case RULE_SUFFIX:
		return equal(&literal, path + (len - rule->len));
	default:
		return contains(&literal, path, len);
	}
}

enum rule_verdict rules_decide(const struct rules *rules, const char *path, size_t len,
			       bool is_relative, bool is_write)
{
	for (uint32_t i = 0; i < rules->count; i++) {
		const struct rule *rule = &rules->rule[i];

		if (is_relative && !(rule->flags & RULE_RELATIVE))
			continue;
		if (is_write && (rule->flags & RULE_READS_ONLY))
			continue;
		if (!matches(rules, rule, (const uint8_t *)path, len))
			continue;
		if (rule->verdict == VERDICT_REMOTE_READS)
			return is_write ? VERDICT_LOCAL : VERDICT_REMOTE;
		return rule->verdict;
	}
	return VERDICT_LOCAL;
}
