/*
 * Reads the code four bits at a time. It is canonical: the lengths of its words say everything, words of one length count upwards
 * in the order of their symbols.
 */
#include "huffman.h"

#include <array>
#include <vector>

namespace
{

/* Bits of the word of each octet. */
constexpr std::array<uint8_t, 256> LENGTHS = {
        13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
        6,  10, 10, 12, 13, 6,  8,  11, 10, 10, 8,  11, 8,  6,  6,  6,  5,  5,  5,  6,  6,  6,  6,  6,  6,  6,  7,  8,  15, 6,  12, 10,
        13, 6,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  8,  7,  8,  13, 19, 13, 14, 6,
        15, 5,  6,  5,  6,  5,  6,  6,  6,  5,  7,  7,  6,  6,  6,  5,  6,  7,  6,  5,  5,  6,  7,  7,  7,  7,  7,  15, 11, 14, 13, 28,
        20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
        22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
        26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
        20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
};
constexpr size_t LONGEST = 30;
constexpr size_t SHORTEST = 5;
constexpr unsigned MAX_PADDING = 7;

constexpr int16_t NONE = -1;
/* In place of a state; the root is 0. */
constexpr uint16_t FAILED = 0xffff;

/* Of the tree of words: what follows by each bit, 0 for nothing, and the octet of a leaf. */
struct node {
	std::array<uint16_t, 2> next;
	int16_t octet;
};

/* After four more bits; the octet of a word that ends within them: none is shorter. */
struct step {
	uint16_t next;
	int16_t octet;
};

class Code
{
      public:
	Code();
	struct step step(uint16_t state, unsigned nibble) const { return steps_[state * 16U + nibble]; }
	/* At a word's end, or within padding of at most seven ones. */
	bool may_end(uint16_t state) const { return may_end_[state]; }

      private:
	void build_tree();
	struct step walk(uint16_t state, unsigned nibble) const;

	std::vector<struct node> nodes_ = {{{0, 0}, NONE}};
	std::vector<struct step> steps_;
	std::vector<bool> may_end_;
};

Code::Code()
{
	uint16_t padding = 0;

	build_tree();
	for (uint16_t state = 0; state < nodes_.size(); state++)
		for (unsigned nibble = 0; nibble < 16; nibble++)
			steps_.push_back(walk(state, nibble));
	may_end_.assign(nodes_.size(), false);
	for (unsigned bits = 0; bits <= MAX_PADDING; bits++) {
		may_end_[padding] = true;
		padding = nodes_[padding].next[1];
	}
}

void Code::build_tree()
{
	uint32_t word = 0;

	for (size_t length = 1; length <= LONGEST; length++, word <<= 1)
		for (size_t octet = 0; octet < LENGTHS.size(); octet++) {
			uint16_t at = 0;

			if (LENGTHS[octet] != length)
				continue;
			for (size_t bit = length; bit-- > 0;) {
				size_t side = (word >> bit) & 1;

				if (nodes_[at].next[side] == 0) {
					nodes_[at].next[side] = static_cast<uint16_t>(nodes_.size());
					nodes_.push_back({{0, 0}, NONE});
				}
				at = nodes_[at].next[side];
			}
			nodes_[at].octet = static_cast<int16_t>(octet);
			word++;
		}
}

struct step Code::walk(uint16_t state, unsigned nibble) const
{
	struct step step = {state, NONE};

	for (unsigned bit = 4; bit-- > 0;) {
		step.next = nodes_[step.next].next[(nibble >> bit) & 1];
		/* Nothing leads back to the root: that is the word that means the text's end, or a leaf's state. */
		if (step.next == 0)
			return {FAILED, NONE};
		if (nodes_[step.next].octet == NONE)
			continue;
		step = {0, nodes_[step.next].octet};
	}
	return step;
}

} // namespace

bool append_huffman(const uint8_t *coded, size_t size, std::string *text)
{
	static const Code code;
	size_t length = text->size();
	uint16_t state = 0;

	text->resize(length + size * 8 / SHORTEST);
	for (size_t at = 0; at < size; at++)
		for (unsigned nibble : {coded[at] / 16U, coded[at] % 16U}) {
			struct step step = code.step(state, nibble);

			if (step.next == FAILED)
				return false;
			if (step.octet != NONE)
				(*text)[length++] = static_cast<char>(step.octet);
			state = step.next;
		}
	text->resize(length);
	return code.may_end(state);
}
