/*
 * Answers of the client that are finished apart from the link's thread. An open of a file whose pages the kernel holds
 * waits until reads and writes of these pages are through, which only the link's thread can bring about: it must not be the
 * one that waits.
 */
#ifndef LAYER_APART_H
#define LAYER_APART_H

#include "link.h"

/* Calls done with the answer (opened, wire.h): here, or on a thread of its own if that may wait. */
void apart_finish_open(link_done done, void *arg, int32_t result, const uint8_t *body, size_t len);

#endif
