/*
 * A header block of a client's (RFC 7541), read along with the table of its connection, and looked through for what filters must
 * have. Says no to whatever is rare, broken or large: who looks then reads it anew.
 */
#ifndef MIRRORD_STEALER_REQUEST_HEAD_H
#define MIRRORD_STEALER_REQUEST_HEAD_H

#include "header_table.h"
#include "sieve.h"

/* Of one block, unpacked: a byte of an index may be thousands of them. */
static constexpr size_t MAX_UNPACKED_BYTES = 64 * 1024;
static constexpr size_t MAX_UNPACKED_FIELDS = 256;

class HeadReader
{
      public:
	HeadReader(HeaderTable *table, const uint8_t *block, size_t size) : table_(table), at_(block), end_(block + size) {}

	enum class step { FIELD, END, STRANGE };
	/* @param field there until the next call */
	step next(struct header_field *field);
	/* Of what was read so far, as tables count it. */
	size_t bytes() const { return bytes_; }

      private:
	bool read_number(unsigned prefix_bits, uint32_t *number);
	bool append_text();
	bool read_literal(uint8_t first, struct header_field *field);

	HeaderTable *const table_;
	const uint8_t *at_;
	const uint8_t *const end_;
	size_t bytes_ = 0;
	size_t fields_ = 0;
	/* Name and value of a literal. */
	std::string text_;
};

/*
 * Whether a request with this head is wanted by nobody, whose filters the sieve is of: the lines are those of
 * services/runtime/http2/http2-request.ts. The table is as it is after the block if so, and on trial.
 *
 * @param budget bytes that may be unpacked; less afterwards
 */
bool is_unwanted(HeaderTable *table, const uint8_t *block, size_t size, bool has_body, const struct sieve &sieve, size_t *budget);

#endif
