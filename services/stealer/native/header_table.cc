/* Keeps what a connection has heard. */
#include "header_table.h"

#include <array>
#include <cstring>

namespace
{

/* RFC 7541 appendix A. */
constexpr std::array<struct header_field, 61> STATIC_FIELDS = {{
        {":authority", ""},
        {":method", "GET"},
        {":method", "POST"},
        {":path", "/"},
        {":path", "/index.html"},
        {":scheme", "http"},
        {":scheme", "https"},
        {":status", "200"},
        {":status", "204"},
        {":status", "206"},
        {":status", "304"},
        {":status", "400"},
        {":status", "404"},
        {":status", "500"},
        {"accept-charset", ""},
        {"accept-encoding", "gzip, deflate"},
        {"accept-language", ""},
        {"accept-ranges", ""},
        {"accept", ""},
        {"access-control-allow-origin", ""},
        {"age", ""},
        {"allow", ""},
        {"authorization", ""},
        {"cache-control", ""},
        {"content-disposition", ""},
        {"content-encoding", ""},
        {"content-language", ""},
        {"content-length", ""},
        {"content-location", ""},
        {"content-range", ""},
        {"content-type", ""},
        {"cookie", ""},
        {"date", ""},
        {"etag", ""},
        {"expect", ""},
        {"expires", ""},
        {"from", ""},
        {"host", ""},
        {"if-match", ""},
        {"if-modified-since", ""},
        {"if-none-match", ""},
        {"if-range", ""},
        {"if-unmodified-since", ""},
        {"last-modified", ""},
        {"link", ""},
        {"location", ""},
        {"max-forwards", ""},
        {"proxy-authenticate", ""},
        {"proxy-authorization", ""},
        {"range", ""},
        {"referer", ""},
        {"refresh", ""},
        {"retry-after", ""},
        {"server", ""},
        {"set-cookie", ""},
        {"strict-transport-security", ""},
        {"transfer-encoding", ""},
        {"user-agent", ""},
        {"vary", ""},
        {"via", ""},
        {"www-authenticate", ""},
}};

constexpr size_t SIZES_BYTES = 8;

uint32_t size_at(const uint8_t *bytes)
{
	return static_cast<uint32_t>(bytes[3]) << 24 | static_cast<uint32_t>(bytes[2]) << 16 | static_cast<uint32_t>(bytes[1]) << 8 | bytes[0];
}

void append_size(std::string *packed, size_t size)
{
	for (unsigned shift = 0; shift < 32; shift += 8)
		packed->push_back(static_cast<char>(size >> shift));
}

} // namespace

bool HeaderTable::unpack(const uint8_t *bytes, size_t size)
{
	for (size_t at = 0; at < size;) {
		if (size - at < SIZES_BYTES)
			return false;
		size_t name = size_at(bytes + at);
		size_t value = size_at(bytes + at + 4);

		at += SIZES_BYTES;
		if (name > size - at || value > size - at - name)
			return false;
		add(std::string_view(reinterpret_cast<const char *>(bytes + at), name + value), name);
		at += name + value;
	}
	keep();
	return true;
}

std::string HeaderTable::pack() const
{
	std::string packed;

	for (size_t at = gone_; at < entries_.size(); at++) {
		const struct entry &one = entries_[at];

		append_size(&packed, one.name_size);
		append_size(&packed, one.text.size() - one.name_size);
		packed += one.text;
	}
	return packed;
}

bool HeaderTable::find(uint64_t index, struct header_field *field) const
{
	if (index == 0 || index > STATIC_FIELDS.size() + entries_.size() - gone_)
		return false;
	if (index <= STATIC_FIELDS.size()) {
		*field = STATIC_FIELDS[index - 1];
		return true;
	}
	const struct entry &one = entries_[entries_.size() - (index - STATIC_FIELDS.size())];
	std::string_view text = one.text;

	*field = {text.substr(0, one.name_size), text.substr(one.name_size)};
	return true;
}

/* A field that is larger than the table empties it (RFC 7541 section 4.4). */
void HeaderTable::add(std::string_view name_and_value, size_t name_size)
{
	size_t size = name_and_value.size() + FIELD_OVERHEAD_BYTES;

	is_on_trial_ = true;
	while (gone_ < entries_.size() && bytes_ + size > limit_)
		bytes_ -= entries_[gone_++].text.size() + FIELD_OVERHEAD_BYTES;
	if (size > limit_)
		return;
	entries_.push_back({std::string(name_and_value), name_size});
	bytes_ += size;
}

void HeaderTable::keep()
{
	is_on_trial_ = false;
	if (gone_ * 2 > entries_.size()) {
		entries_.erase(entries_.begin(), entries_.begin() + static_cast<std::ptrdiff_t>(gone_));
		gone_ = 0;
	}
	kept_ = {gone_, entries_.size(), bytes_};
}

void HeaderTable::undo()
{
	is_on_trial_ = false;
	entries_.resize(kept_.count);
	gone_ = kept_.gone;
	bytes_ = kept_.bytes;
}
