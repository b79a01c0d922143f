/* What fake_link.c asks of the folder. */
#ifndef LAYER_TEST_FAKE_TARGET_H
#define LAYER_TEST_FAKE_TARGET_H

#include <stdint.h>

#include "../wire.h"

/* Not 0: the result of every READ_FOR, without an answer to the kernel. */
extern int32_t target_lie;

void target_set_root(const char *folder);
/* The result of the request; what follows it in the REPLY is written to w. */
int32_t target_serve(uint16_t kind, struct wire_reader *r, struct wire_writer *w);
void target_close(uint32_t handle);

#endif
