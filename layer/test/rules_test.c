/* Rules decide as a table says: operators, folding, relative paths, writes, order; malformed rules
 * are refused. */
#include <stdlib.h>
#include <string.h>

#include "../rules.h"
#include "tap.h"

struct row {
	uint8_t op, verdict, flags;
	const char *literal;
};

struct sample {
	const char *sentence;
	struct row rows[3];
	unsigned row_count;
	const char *path;
	bool is_relative, is_write;
	enum rule_verdict expected;
};

#define ROWS(...) {__VA_ARGS__}, sizeof((struct row[]){__VA_ARGS__}) / sizeof(struct row)
#define READ false, false
#define WRITE false, true
#define RELATIVE true, false

static const struct sample samples[] = {
    {"no match is local", ROWS({RULE_EXACT, VERDICT_REMOTE, 0, "/a"}), "/b", READ, VERDICT_LOCAL},
    {"always matches", ROWS({RULE_ALWAYS, VERDICT_REMOTE, 0, ""}), "/b", READ, VERDICT_REMOTE},
    {"exact matches the whole path", ROWS({RULE_EXACT, VERDICT_REMOTE, 0, "/a"}), "/a", READ,
     VERDICT_REMOTE},
    {"exact does not match below", ROWS({RULE_EXACT, VERDICT_REMOTE, 0, "/a"}), "/a/b", READ,
     VERDICT_LOCAL},
    {"dir matches itself", ROWS({RULE_DIR, VERDICT_REMOTE, 0, "/etc"}), "/etc", READ,
     VERDICT_REMOTE},
    {"dir matches below", ROWS({RULE_DIR, VERDICT_REMOTE, 0, "/etc"}), "/etc/hosts", READ,
     VERDICT_REMOTE},
    {"dir does not match a longer name", ROWS({RULE_DIR, VERDICT_REMOTE, 0, "/etc"}), "/etcetera",
     READ, VERDICT_LOCAL},
    {"prefix matches a longer name", ROWS({RULE_PREFIX, VERDICT_REMOTE, 0, "/etc"}), "/etcetera",
     READ, VERDICT_REMOTE},
    {"prefix does not match a shorter path", ROWS({RULE_PREFIX, VERDICT_REMOTE, 0, "/etc"}), "/et",
     READ, VERDICT_LOCAL},
    {"suffix matches the end", ROWS({RULE_SUFFIX, VERDICT_REMOTE, 0, ".pem"}), "/tls/key.pem", READ,
     VERDICT_REMOTE},
    {"suffix does not match the middle", ROWS({RULE_SUFFIX, VERDICT_REMOTE, 0, ".pem"}),
     "/tls.pem/key", READ, VERDICT_LOCAL},
    {"contains matches the middle", ROWS({RULE_CONTAINS, VERDICT_REMOTE, 0, "/.git/"}),
     "/src/.git/HEAD", READ, VERDICT_REMOTE},
    {"contains does not match a part", ROWS({RULE_CONTAINS, VERDICT_REMOTE, 0, "/.git/"}),
     "/src/.git", READ, VERDICT_LOCAL},
    {"an empty literal is contained in all", ROWS({RULE_CONTAINS, VERDICT_REMOTE, 0, ""}), "/x",
     READ, VERDICT_REMOTE},
    {"case counts", ROWS({RULE_EXACT, VERDICT_REMOTE, 0, "/A"}), "/a", READ, VERDICT_LOCAL},
    {"unless folded, in the literal", ROWS({RULE_EXACT, VERDICT_REMOTE, RULE_FOLD_CASE, "/AbZ"}),
     "/abz", READ, VERDICT_REMOTE},
    {"and in the path", ROWS({RULE_SUFFIX, VERDICT_REMOTE, RULE_FOLD_CASE, ".pem"}), "/KEY.PEM",
     READ, VERDICT_REMOTE},
    {"folded contains looks everywhere",
     ROWS({RULE_CONTAINS, VERDICT_REMOTE, RULE_FOLD_CASE, "Secret"}), "/a/top-SECRET", READ,
     VERDICT_REMOTE},
    {"only ASCII letters fold", ROWS({RULE_EXACT, VERDICT_REMOTE, RULE_FOLD_CASE, "/[\xc3\x84"}),
     "/{\xc3\xa4", READ, VERDICT_LOCAL},
    {"a relative path skips ordinary rules", ROWS({RULE_SUFFIX, VERDICT_REMOTE, 0, ".pem"}),
     "key.pem", RELATIVE, VERDICT_LOCAL},
    {"but not those for relative paths", ROWS({RULE_SUFFIX, VERDICT_REMOTE, RULE_RELATIVE, ".pem"}),
     "key.pem", RELATIVE, VERDICT_REMOTE},
    {"which absolute ones obey too", ROWS({RULE_SUFFIX, VERDICT_REMOTE, RULE_RELATIVE, ".pem"}),
     "/key.pem", READ, VERDICT_REMOTE},
    {"a write skips rules for reads", ROWS({RULE_DIR, VERDICT_NOT_FOUND, RULE_READS_ONLY, "/a"}),
     "/a", WRITE, VERDICT_LOCAL},
    {"a read does not", ROWS({RULE_DIR, VERDICT_NOT_FOUND, RULE_READS_ONLY, "/a"}), "/a", READ,
     VERDICT_NOT_FOUND},
    {"remote for reads reads there", ROWS({RULE_DIR, VERDICT_REMOTE_READS, 0, "/a"}), "/a", READ,
     VERDICT_REMOTE},
    {"and writes here",
     ROWS({RULE_DIR, VERDICT_REMOTE_READS, 0, "/a"}, {RULE_ALWAYS, VERDICT_REMOTE, 0, ""}), "/a",
     WRITE, VERDICT_LOCAL},
    {"the first match decides",
     ROWS({RULE_DIR, VERDICT_LOCAL, 0, "/a"}, {RULE_ALWAYS, VERDICT_ASK, 0, ""}), "/a/b", READ,
     VERDICT_LOCAL},
    {"the next one decides the rest",
     ROWS({RULE_DIR, VERDICT_LOCAL, 0, "/a"}, {RULE_ALWAYS, VERDICT_ASK, 0, ""}), "/b", READ,
     VERDICT_ASK},
    {"an empty path matches what is empty", ROWS({RULE_EXACT, VERDICT_REMOTE, 0, ""}), "", READ,
     VERDICT_REMOTE},
};

static size_t encode(uint8_t *out, size_t room, const struct row *rows, unsigned count)
{
	struct wire_writer w = {out, out + room, 0};

	wire_put_u16(&w, (uint16_t)count);
	for (unsigned i = 0; i < count; i++) {
		wire_put_u8(&w, rows[i].op);
		wire_put_u8(&w, rows[i].verdict);
		wire_put_u8(&w, rows[i].flags);
		wire_put_u8(&w, 0);
		wire_put_str(&w, rows[i].literal, strlen(rows[i].literal));
	}
	return (size_t)(w.at - out);
}

/* On the heap, exactly as long as the bytes, so that the sanitizer sees an overrun. */
static struct rules *parse(const uint8_t *bytes, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);
	struct wire_reader r = {copy, copy + len, 0};
	struct rules *rules;

	memcpy(copy, bytes, len);
	rules = rules_parse(&r);
	/* Rules own what they need. */
	free(copy);
	return rules;
}

static void test_sample(const struct sample *sample)
{
	uint8_t bytes[256];
	size_t len = encode(bytes, sizeof(bytes), sample->rows, sample->row_count),
	       path_len = strlen(sample->path);
	struct rules *rules = parse(bytes, len);
	char *path = malloc(path_len ? path_len : 1);

	memcpy(path, sample->path, path_len);
	ok(rules && rules_decide(rules, path, path_len, sample->is_relative, sample->is_write) ==
			sample->expected,
	   sample->sentence);
	free(path);
	rules_free(rules);
}

static bool is_refused_with(size_t at, uint8_t value)
{
	struct row row = {RULE_DIR, VERDICT_REMOTE, 0, "/etc"};
	uint8_t bytes[64];
	size_t len = encode(bytes, sizeof(bytes), &row, 1);
	struct rules *rules;

	bytes[at] = value;
	rules = parse(bytes, len);
	rules_free(rules);
	return !rules;
}

static void test_malformed(void)
{
	struct row rows[2] = {{RULE_DIR, VERDICT_REMOTE, 0, "/etc"},
			      {RULE_SUFFIX, VERDICT_ASK, 0, ".pem"}};
	uint8_t bytes[64];
	size_t len = encode(bytes, sizeof(bytes), rows, 2);
	bool all_refused = true;

	for (size_t cut = 0; cut < len; cut++) {
		struct rules *rules = parse(bytes, cut);

		all_refused = all_refused && !rules;
		rules_free(rules);
	}
	ok(all_refused, "rules cut short anywhere are refused");
	ok(is_refused_with(0, 2), "as is a count that promises more");
	ok(is_refused_with(2, RULE_CONTAINS + 1), "an unknown operator");
	ok(is_refused_with(3, VERDICT_MAPPED), "a verdict that only answers");
	ok(is_refused_with(4, 8), "an unknown flag");
	ok(is_refused_with(5, 1), "a reserved byte that is not zero");
	ok(is_refused_with(7, 1), "and a literal longer than the message");
}

int main(void)
{
	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++)
		test_sample(&samples[i]);
	test_malformed();
	return tap_done();
}
