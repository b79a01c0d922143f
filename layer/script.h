/* The first line of a script, as execve(2) reads it. Pure. */
#ifndef LAYER_SCRIPT_H
#define LAYER_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>

/* What the kernel looks at (BINPRM_BUF_SIZE). */
#define SCRIPT_HEAD_BYTES 256

struct script {
	const char *interpreter, *argument; /* into head, ended by NUL; argument NULL: none */
};

/* head holds the file's first len bytes and has room for one more; it is cut up. False: not a script, or a broken one. */
bool script_parse(char *head, size_t len, struct script *script);

#endif
