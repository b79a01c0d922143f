/*
 * Whether any of many texts is in some bytes, whatever their case, in one pass (Aho and Corasick's automaton): a request
 * without any of the texts that a port's filters ask for is wanted by none of them.
 */
#ifndef MIRRORD_STEALER_SCREEN_H
#define MIRRORD_STEALER_SCREEN_H

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

/* Bytes of a text that are looked for: what begins like it is looked at as well. */
static constexpr size_t SCREEN_TEXT_BYTES = 16;
/* States of one automaton, its most memory 4 MiB; texts beyond stop everything. */
static constexpr size_t MAX_SCREEN_STATES = 32767;
static constexpr size_t MAX_SCREEN_CELLS = 2 * 1024 * 1024;

class Screen
{
      public:
	/* Stops everything. */
	Screen() = default;
	/* @param texts of visible ASCII in lower case, another one or an empty one stops everything; none at all stops nothing */
	explicit Screen(const std::vector<std::string> &texts);
	/* True when one of the texts may be in there. */
	bool stops(const uint8_t *bytes, size_t size) const;
	/* The same of a text that comes in pieces, unless it stops everything. @param state 0 where it begins */
	bool finds(uint16_t *state, const uint8_t *bytes, size_t size) const;
	bool stops_all() const { return stops_all_; }
	/* A field that says that a body follows is one of the texts: for HTTP/2, which has none. */
	bool looks_at_bodies() const { return looks_at_bodies_; }

      private:
	bool build(const std::vector<std::string> &texts);

	static constexpr uint16_t FOUND = 0x8000;
	bool stops_all_ = true;
	bool looks_at_bodies_ = false;
	/* The class of each octet, upper and lower case alike; 0 is in no text. */
	std::array<uint8_t, 256> class_of_ = {};
	size_t classes_ = 1;
	/* By state and class: the next state, and FOUND when a text ends there. */
	std::vector<uint16_t> next_;
};

#endif
