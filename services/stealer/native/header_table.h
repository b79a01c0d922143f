/*
 * The two tables of HPACK (RFC 7541 section 2.3): what everybody has, and what one connection has heard lately. What is added stands
 * on trial until it is kept: a read of which a part may not pass is as if it had not been read.
 */
#ifndef MIRRORD_STEALER_HEADER_TABLE_H
#define MIRRORD_STEALER_HEADER_TABLE_H

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

/* What a field counts for beside its octets. */
static constexpr size_t FIELD_OVERHEAD_BYTES = 32;

/* There until the table changes or what it was read from does. */
struct header_field {
	std::string_view name;
	std::string_view value;
};

class HeaderTable
{
      public:
	/* @param limit bytes that its sender has chosen */
	explicit HeaderTable(size_t limit = 0) : limit_(limit) {}

	/* Fields of another one, from the eldest on, each behind the sizes of its name and its value: 4 octets each, the least first. */
	bool unpack(const uint8_t *bytes, size_t size);
	std::string pack() const;

	/* @param index as on the wire. False where nothing is. */
	bool find(uint64_t index, struct header_field *field) const;
	void add(std::string_view name_and_value, size_t name_size);
	void keep();
	/* All is as it was when it was kept last. */
	void undo();
	/* Something was added since then. */
	bool is_on_trial() const { return is_on_trial_; }

      private:
	struct entry {
		std::string text;
		size_t name_size;
	};
	struct state {
		/* Entries at the front that are gone already: they are cut off when all is kept. */
		size_t gone;
		size_t count;
		size_t bytes;
	};

	size_t limit_;
	/* The youngest last. */
	std::vector<entry> entries_;
	size_t gone_ = 0;
	size_t bytes_ = 0;
	struct state kept_ = {};
	bool is_on_trial_ = false;
};

#endif
