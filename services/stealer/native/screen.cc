/* Builds and runs the automaton of a Screen. */
#include "screen.h"

#include <algorithm>

Screen::Screen(const std::vector<std::string> &texts)
{
	stops_all_ = !build(texts);
}

bool Screen::build(const std::vector<std::string> &texts)
{
	std::vector<uint16_t> fail(1, 0);
	std::vector<uint16_t> queue;
	size_t states = 1;

	for (const std::string &text : texts)
		for (char one : text.substr(0, SCREEN_TEXT_BYTES)) {
			uint8_t octet = static_cast<uint8_t>(one);

			if (octet < 0x20 || octet > 0x7e || (octet >= 'A' && octet <= 'Z'))
				return false;
			if (class_of_[octet] == 0)
				class_of_[octet] = static_cast<uint8_t>(classes_++);
		}
	for (size_t octet = 'A'; octet <= 'Z'; octet++)
		class_of_[octet] = class_of_[octet + 0x20];
	next_.assign(classes_, 0);
	for (const std::string &text : texts) {
		uint16_t state = 0;

		if (text.empty())
			return false;
		looks_at_bodies_ = looks_at_bodies_ || text == "transfer-encoding";
		for (char one : text.substr(0, SCREEN_TEXT_BYTES)) {
			size_t cell = state * classes_ + class_of_[static_cast<uint8_t>(one)];

			if (next_[cell] == 0) {
				if (states == MAX_SCREEN_STATES || (states + 1) * classes_ > MAX_SCREEN_CELLS)
					return false;
				next_.resize((states + 1) * classes_, 0);
				fail.push_back(0);
				next_[cell] = static_cast<uint16_t>(states++);
			}
			state = next_[cell];
		}
		queue.push_back(state);
	}
	std::vector<bool> ends(states, false);

	for (uint16_t state : queue)
		ends[state] = true;
	/* Breadth first: the state of the longest other beginning that ends here is known before its followers are. */
	queue.assign(1, 0);
	for (size_t at = 0; at < queue.size(); at++) {
		uint16_t state = queue[at];

		for (size_t which = 1; which < classes_; which++) {
			uint16_t &cell = next_[state * classes_ + which];
			uint16_t other = state == 0 ? 0 : next_[fail[state] * classes_ + which];

			if (cell == 0) {
				cell = other;
				continue;
			}
			fail[cell] = other;
			ends[cell] = ends[cell] || ends[other];
			queue.push_back(cell);
		}
	}
	for (uint16_t &cell : next_)
		if (ends[cell])
			cell = static_cast<uint16_t>(cell | FOUND);
	return true;
}

bool Screen::stops(const uint8_t *bytes, size_t size) const
{
	uint16_t state = 0;

	return stops_all_ || finds(&state, bytes, size);
}

bool Screen::finds(uint16_t *state, const uint8_t *bytes, size_t size) const
{
	size_t now = *state;

	for (size_t at = 0; at < size; at++) {
		uint16_t next = next_[now * classes_ + class_of_[bytes[at]]];

		if ((next & FOUND) != 0)
			return true;
		now = next;
	}
	*state = static_cast<uint16_t>(now);
	return false;
}
