/*
 * Which path is remote, which stays here. The client compiles the user's patterns (client/file-rules) into an ordered list
 * of literal rules; what a literal cannot say is marked ASK and the client is asked about that one path. Pure.
 *
 * In SETUP: u16 count, then per rule u8 op, u8 verdict, u8 flags, u8 0, str literal.
 */
#ifndef LAYER_RULES_H
#define LAYER_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire.h"

enum rule_op {
	RULE_ALWAYS = 0,
	RULE_EXACT = 1,    /* path == literal */
	RULE_DIR = 2,      /* path == literal, or begins with literal + "/" */
	RULE_PREFIX = 3,
	RULE_SUFFIX = 4,
	RULE_CONTAINS = 5,
};

enum rule_verdict {
	VERDICT_LOCAL = 0,
	VERDICT_REMOTE_READS = 1, /* remote for reads, local for writes */
	VERDICT_REMOTE = 2,
	VERDICT_NOT_FOUND = 3,
	VERDICT_ASK = 4,
	VERDICT_MAPPED = 5,       /* only in answers to WIRE_DECIDE: local, at another path */
};

enum rule_flag {
	RULE_FOLD_CASE = 1,   /* ASCII letters compare without case */
	RULE_RELATIVE = 2,    /* also looked at for relative paths */
	RULE_READS_ONLY = 4,  /* skipped when the call writes */
};

struct rules;

/* Takes the reader's next bytes. NULL when they are malformed or memory is short. Immutable afterwards: no locks. */
struct rules *rules_parse(struct wire_reader *r);
void rules_free(struct rules *rules);

/* A copy of so many bytes is the same rules. */
size_t rules_bytes(const struct rules *rules);

/*
 * The first rule that matches decides; no match is LOCAL. VERDICT_REMOTE_READS is resolved with is_write, so the result is
 * LOCAL, REMOTE, NOT_FOUND or ASK. path need not end with NUL.
 */
enum rule_verdict rules_decide(const struct rules *rules, const char *path, size_t len, bool is_relative,
			       bool is_write);

#endif
