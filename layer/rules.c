/* Reading of the client's compiled rules (rules.h). One block of memory that may lie anywhere: the bypass maps a copy. */
#include "rules.h"

#include <stdlib.h>

#include "rules_match.h"

#define KNOWN_FLAGS (RULE_FOLD_CASE | RULE_RELATIVE | RULE_READS_ONLY)


struct parsed {
	struct rule rule;
	const uint8_t *literal; /* into the reader */
};

static bool parse_rule(struct wire_reader *r, struct parsed *parsed)
{
	struct rule *rule = &parsed->rule;
	struct wire_bytes literal;
	uint8_t reserved;

	rule->op = wire_get_u8(r);
	rule->verdict = wire_get_u8(r);
	rule->flags = wire_get_u8(r);
	reserved = wire_get_u8(r);
	literal = wire_get_str(r);
	parsed->literal = literal.data;
	rule->len = (uint32_t)literal.len;
	return !r->bad && rule->op <= RULE_CONTAINS && rule->verdict <= VERDICT_ASK &&
	       !(rule->flags & ~KNOWN_FLAGS) && reserved == 0;
}

/* Literals are folded once, so that matching folds only the path. */
static struct rules *lay_out(const struct parsed *parsed, uint32_t count, size_t literals)
{
	size_t at = sizeof(struct rules) + count * sizeof(struct rule);
	struct rules *rules = calloc(1, at + literals);

	if (!rules)
		return NULL;
	rules->count = count;
	rules->bytes = (uint32_t)(at + literals);
	for (uint32_t i = 0; i < count; i++) {
		struct rule *rule = &rules->rule[i];
		uint8_t *literal = (uint8_t *)rules + at;

		*rule = parsed[i].rule;
		rule->at = (uint32_t)at;
		for (uint32_t j = 0; j < rule->len; j++)
			literal[j] = rule->flags & RULE_FOLD_CASE ? rules_fold(parsed[i].literal[j]) : parsed[i].literal[j];
		at += rule->len;
	}
	return rules;
}

struct rules *rules_parse(struct wire_reader *r)
{
	uint32_t count = wire_get_u16(r);
	struct parsed *parsed = r->bad ? NULL : calloc(count ? count : 1, sizeof(*parsed));
	struct rules *rules = NULL;
	size_t literals = 0;
	bool is_good = parsed != NULL;

	for (uint32_t i = 0; is_good && i < count; i++) {
		is_good = parse_rule(r, &parsed[i]);
		literals += parsed[i].rule.len;
	}
	if (is_good)
		rules = lay_out(parsed, count, literals);
	free(parsed);
	return rules;
}

size_t rules_bytes(const struct rules *rules)
{
	return rules->bytes;
}

void rules_free(struct rules *rules)
{
	free(rules);
}
