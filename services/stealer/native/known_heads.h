/*
 * Heads of requests that no filter of a port wanted, byte for byte: one that comes again is wanted by none either, as long as the
 * filters are the same.
 */
#ifndef MIRRORD_STEALER_KNOWN_HEADS_H
#define MIRRORD_STEALER_KNOWN_HEADS_H

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

/* Heads of one port, each in the place that its hash says, and their most bytes: 128 KiB in all. */
static constexpr size_t KNOWN_HEADS = 64;
static constexpr size_t MAX_KNOWN_HEAD_BYTES = 2048;

class KnownHeads
{
      public:
	bool has(const uint8_t *head, size_t size) const;
	/* In place of another one, or not at all when it is too long. */
	void learn(const uint8_t *head, size_t size);

      private:
	/* Empty until something is learnt. */
	std::vector<std::string> heads_;
};

#endif
