/* Remembers heads in a table of places. */
#include "known_heads.h"

#include <cstring>
#include <string_view>

static size_t place_of(const uint8_t *head, size_t size)
{
	return std::hash<std::string_view>{}(std::string_view(reinterpret_cast<const char *>(head), size)) % KNOWN_HEADS;
}

bool KnownHeads::has(const uint8_t *head, size_t size) const
{
	if (heads_.empty() || size == 0 || size > MAX_KNOWN_HEAD_BYTES)
		return false;
	const std::string &known = heads_[place_of(head, size)];

	return known.size() == size && memcmp(known.data(), head, size) == 0;
}

void KnownHeads::learn(const uint8_t *head, size_t size)
{
	if (size == 0 || size > MAX_KNOWN_HEAD_BYTES)
		return;
	heads_.resize(KNOWN_HEADS);
	heads_[place_of(head, size)].assign(reinterpret_cast<const char *>(head), size);
}
