/* What the requests of a port are looked through for, and who judges those that have it. */
#ifndef MIRRORD_STEALER_SIEVE_H
#define MIRRORD_STEALER_SIEVE_H

#include "head_lines.h"
#include "screen.h"

class HeadJudge
{
      public:
	explicit HeadJudge(uint8_t *memory) : lines(memory) {}
	virtual ~HeadJudge() = default;

	/*
	 * Whether nobody wants a request whose head lies in `lines`. Asked in the middle of a read: nothing of a socket may be changed, and
	 * what is said holds for this request alone.
	 */
	virtual bool is_unwanted(uint32_t screen, bool has_body) = 0;

	HeadLines lines;
};

struct sieve {
	const Screen &screen;
	/* Null: what the screen stops may be wanted. */
	HeadJudge *judge = nullptr;
	uint32_t number = 0;

	/* Of one whose head is in the judge's lines. */
	bool judges_unwanted(bool has_body) const { return judge != nullptr && judge->is_unwanted(number, has_body); }
};

#endif
