/* HPACK's Huffman code (RFC 7541 section 5.2 and appendix B). */
#ifndef MIRRORD_STEALER_HUFFMAN_H
#define MIRRORD_STEALER_HUFFMAN_H

#include <cstddef>
#include <cstdint>
#include <string>

/* Appends what it says; false when it is no whole number of words, or is padded wrongly. */
bool append_huffman(const uint8_t *coded, size_t size, std::string *text);

#endif
