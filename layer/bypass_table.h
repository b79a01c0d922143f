/*
 * What the supervisor lays into the memory of its local processes, read-only, so that the bypass in them (bypass/) can decide
 * about a path as the supervisor would. A process gets it by opening BYPASS_TABLE_PATH, which the supervisor answers: no
 * descriptor has to be inherited, kept open or found again.
 */
#ifndef LAYER_BYPASS_TABLE_H
#define LAYER_BYPASS_TABLE_H

#include <stdint.h>

#include "rules.h"

#define BYPASS_TABLE_PATH "/.mirrord/bypass/1"
#define BYPASS_TABLE_MAGIC 0x316c626174707962u
#define BYPASS_TABLE_MAX (8u << 20)

struct bypass_table {
	uint64_t magic;
	uint64_t bytes;  /* of the whole, rules included */
	uint64_t cookie; /* in the sixth argument of a call it makes the filter let it pass; never 0 */
	uint64_t device; /* st_dev of descriptors of the target's files; 0: there are none */
	uint32_t has_given; /* changes from 0 to 1 when the first descriptor is handed out */
	uint32_t rules_at;
};

static inline const struct rules *bypass_rules(const struct bypass_table *table)
{
	return (const struct rules *)((const char *)table + table->rules_at);
}

#endif
