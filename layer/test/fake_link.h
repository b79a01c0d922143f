/*
 * Stands in for link.c in tests of the FUSE server: answers wire requests from a folder of this machine, on a thread of its
 * own, as the client would from the target.
 */
#ifndef LAYER_TEST_FAKE_LINK_H
#define LAYER_TEST_FAKE_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "../fuse.h"

/* Paths of requests are looked up below root. Starts the thread. */
void fake_start(const char *root);
/* Answers everything with EIO from now on, requests that are held included. */
void fake_die(void);
/* Requests of this kind are kept unanswered; 0: none, and those kept are answered. */
void fake_hold(uint16_t kind);
/* Waits until a request is held. False after 10 s. */
bool fake_wait_held(void);
/* How many requests or notes of the kind there have been. */
unsigned fake_count(uint16_t kind);
unsigned fake_open_handles(void);
/* Delays every answer, to see what is asked for at once. */
void fake_delay_ms(unsigned ms);

/* What the supervisor does for open(2): opens in the folder and has fuse_open make a descriptor, inline if small. */
int fake_open(const char *path, int flags, unsigned mode, uint64_t inline_bytes);

#endif
