/* Which TCP sockets of this network namespace listen, by inode (sock_diag(7)). Under the lock of net_flow.h. */
#ifndef LAYER_IN_DIAG_H
#define LAYER_IN_DIAG_H

#include <stdbool.h>
#include <stdint.h>

/* Reads them anew. False: the kernel does not say. */
bool in_diag_read(void);

/* As of the last successful read. */
bool in_diag_listens(uint64_t inode);

#endif
