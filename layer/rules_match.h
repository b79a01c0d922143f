/* How rules lie in memory: offsets, no pointers, so that a copy of the bytes is as good. */
#ifndef LAYER_RULES_MATCH_H
#define LAYER_RULES_MATCH_H

#include "rules.h"

struct rule {
	uint8_t op, verdict, flags;
	uint32_t len, at; /* of the literal, from the beginning of struct rules */
};

struct rules {
	uint32_t bytes, count;
	struct rule rule[];
};

static inline uint8_t rules_fold(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

#endif
