/* What the parts of differential.c share: a worker, its random choices and what it says of them. */
#ifndef PROGRAMS_DIFFERENTIAL_H
#define PROGRAMS_DIFFERENTIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

#define SLOTS 8
#define LARGEST (400 * 1024)

struct worker {
	uint64_t random;
	unsigned int number, operations;
	char folder[256];
	int fds[SLOTS];
	uint8_t *data;
	FILE *log;
	char *text;
	size_t text_len;
};

uint32_t any(struct worker *w, uint32_t below);
void say(struct worker *w, const char *format, ...);
long told(struct worker *w, long result);
uint32_t hash_of(const void *data, size_t len);
const char *relative(struct worker *w, char out[1024]);
const char *absolute(struct worker *w, char out[1536]);
int slot(struct worker *w);
void keep(struct worker *w, int fd);
void say_stat(struct worker *w, const struct stat *st, bool is_by_path);
bool is_same(const struct stat *a, const struct stat *b);
bool is_one_file(int a, int b);
int base(struct worker *w);
uint32_t length(struct worker *w);
void fill(struct worker *w, size_t len);

/* differential_acts.c: one operation. */
void act(struct worker *w);

#endif
