/* Reads header blocks, and looks for texts in the lines that their fields are for a filter. */
#include "request_head.h"

#include "huffman.h"

namespace
{

constexpr uint8_t INDEXED = 0x80;
constexpr uint8_t ADDED = 0x40;
constexpr uint8_t TABLE_SIZE = 0x20;
constexpr uint8_t CODED = 0x80;
/* Bits of a number that are looked at: more than any length here needs. */
constexpr unsigned MAX_NUMBER_SHIFT = 14;

/* Fixed texts, in lines that come in pieces. */
class Lines
{
      public:
	explicit Lines(const Screen &screen) : screen_(screen) {}
	bool finds_in(std::string_view line) const
	{
		uint16_t state = 0;

		return finds(&state, line);
	}
	bool finds_in(std::string_view name, std::string_view value) const
	{
		uint16_t state = 0;

		return finds(&state, name) || finds(&state, ": ") || finds(&state, value);
	}
	/* A client may cut its cookies into several fields: for filters they are one line (RFC 9113 section 8.2.3). */
	bool finds_in_cookies(std::string_view value)
	{
		bool found = finds(&cookies_, has_cookies_ ? "; " : "cookie: ") || finds(&cookies_, value);

		has_cookies_ = true;
		return found;
	}

      private:
	bool finds(uint16_t *state, std::string_view text) const
	{
		return screen_.finds(state, reinterpret_cast<const uint8_t *>(text.data()), text.size());
	}

	const Screen &screen_;
	uint16_t cookies_ = 0;
	bool has_cookies_ = false;
};

/* Others match nothing, and are in no line. */
bool is_visible(std::string_view value)
{
	for (char one : value)
		if (one != '\t' && (one < 0x20 || one > 0x7e))
			return false;
	return true;
}

/* More lines than filters see only make more of them look. */
bool may_be_wanted(Lines *lines, const struct header_field &field)
{
	if (field.name == "cookie")
		return !is_visible(field.value) || lines->finds_in_cookies(field.value);
	if (field.name.empty() || field.name[0] != ':')
		return lines->finds_in(field.name, field.value);
	if (field.name == ":authority")
		return lines->finds_in("host", field.value);
	return (field.name == ":method" || field.name == ":path") && lines->finds_in(field.value);
}

} // namespace

bool HeadReader::read_number(unsigned prefix_bits, uint32_t *number)
{
	uint32_t most = (1U << prefix_bits) - 1;

	*number = *at_++ & most;
	if (*number < most)
		return true;
	for (unsigned shift = 0; shift <= MAX_NUMBER_SHIFT && at_ < end_; shift += 7) {
		uint32_t octet = *at_++;

		*number += (octet & 0x7f) << shift;
		if ((octet & 0x80) == 0)
			return true;
	}
	return false;
}

bool HeadReader::append_text()
{
	uint32_t length = 0;

	if (at_ == end_)
		return false;
	bool is_coded = (*at_ & CODED) != 0;

	if (!read_number(7, &length) || length > static_cast<size_t>(end_ - at_))
		return false;
	const uint8_t *start = at_;

	at_ += length;
	if (is_coded)
		return append_huffman(start, length, &text_);
	text_.append(reinterpret_cast<const char *>(start), length);
	return true;
}

bool HeadReader::read_literal(uint8_t first, struct header_field *field)
{
	bool is_added = (first & ADDED) != 0;
	uint32_t index = 0;

	text_.clear();
	if (!read_number(is_added ? 6 : 4, &index))
		return false;
	if (index == 0) {
		if (!append_text())
			return false;
	} else {
		struct header_field named;

		if (!table_->find(index, &named))
			return false;
		text_ = named.name;
	}
	size_t name_size = text_.size();

	if (!append_text())
		return false;
	if (is_added)
		table_->add(text_, name_size);
	std::string_view text = text_;

	*field = {text.substr(0, name_size), text.substr(name_size)};
	return true;
}

HeadReader::step HeadReader::next(struct header_field *field)
{
	if (at_ == end_)
		return step::END;
	uint8_t first = *at_;
	uint32_t index = 0;

	if ((first & INDEXED) != 0) {
		if (!read_number(7, &index) || !table_->find(index, field))
			return step::STRANGE;
	} else if ((first & (ADDED | TABLE_SIZE)) == TABLE_SIZE || !read_literal(first, field)) {
		/* Changes of the table's size are heard of by who writes blocks anew. */
		return step::STRANGE;
	}
	bytes_ += field->name.size() + field->value.size() + FIELD_OVERHEAD_BYTES;
	return ++fields_ > MAX_UNPACKED_FIELDS || bytes_ > MAX_UNPACKED_BYTES ? step::STRANGE : step::FIELD;
}

bool is_unwanted(HeaderTable *table, const uint8_t *block, size_t size, bool has_body, const struct sieve &sieve, size_t *budget)
{
	HeadReader reader(table, block, size);
	Lines lines(sieve.screen);
	struct header_field field;
	/* Lines are written only where each head is judged: the others need not pay for those that have a text. */
	HeadLines *judged = sieve.judge != nullptr && sieve.screen.stops_all() ? &sieve.judge->lines : nullptr;

	if (judged != nullptr)
		judged->begin();
	else if (sieve.screen.stops_all() || (has_body && sieve.screen.looks_at_bodies()))
		return false;
	for (;;) {
		HeadReader::step step = reader.next(&field);

		if (reader.bytes() > *budget || step == HeadReader::step::STRANGE)
			return false;
		if (step == HeadReader::step::END)
			break;
		if (judged == nullptr ? may_be_wanted(&lines, field) : !judged->add(field))
			return false;
	}
	if (judged != nullptr && !(judged->finish() && sieve.judges_unwanted(has_body)))
		return false;
	*budget -= reader.bytes();
	return true;
}
