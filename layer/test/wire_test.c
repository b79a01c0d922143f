/*
 * The C codec against proto/vectors: every recipe is written and read back, every frame is decoded
 * from every prefix. The input ends at an unreadable page, so that one byte read too far is a
 * crash.
 *
 * Usage: wire_test [FOLDER OF VECTORS]
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../wire.h"
#include "tap.h"

#define PAGE 4096u
#define FIELDS_MAX 64

struct vector {
	bool is_bad;
	uint16_t kind;
	uint64_t id;
	unsigned field_count;
	char fields[FIELDS_MAX][256];
	size_t len;
	uint8_t bytes[2048];
};

static uint8_t *guarded; /* one page, the next one is unreadable */

/* The bytes, moved so that they end at the guard. */
static const uint8_t *at_guard(const uint8_t *bytes, size_t len)
{
	memcpy(guarded + PAGE - len, bytes, len);
	return guarded + PAGE - len;
}

static void parse_hex(struct vector *v, const char *line)
{
	for (; *line && *line != '\n'; line += line[2] == ' ' ? 3 : 2)
		v->bytes[v->len++] = (uint8_t)strtoul((char[3]){line[0], line[1], 0}, NULL, 16);
}

static bool vector_read(struct vector *v, const char *path)
{
	char line[256];
	bool in_bytes = false;
	FILE *file = fopen(path, "re");

	memset(v, 0, sizeof(*v));
	if (!file)
		return false;
	while (fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		if (in_bytes) {
			parse_hex(v, line);
		} else if (strcmp(line, "bytes") == 0) {
			in_bytes = true;
		} else if (strcmp(line, "bad") == 0) {
			v->is_bad = true;
		} else if (strncmp(line, "frame ", 6) == 0) {
			char *end;

			v->kind = (uint16_t)strtoul(line + 6, &end, 0);
			v->id = strtoull(end, NULL, 0);
		} else if (line[0] != '#' && v->field_count < FIELDS_MAX) {
			strcpy(v->fields[v->field_count++], line);
		}
	}
	fclose(file);
	return v->len >= WIRE_HEADER_BYTES;
}

/* Numbers after the first space of a field. Signed ones wrap as they do on the wire. */
static unsigned numbers_of(const char *field, uint64_t *numbers, unsigned max)
{
	char *at = strchr(field, ' ');
	unsigned count = 0;

	while (at && *at && count < max) {
		while (*at == ' ')
			at++;
		numbers[count++] =
		    *at == '-' ? (uint64_t)strtoll(at, &at, 0) : strtoull(at, &at, 0);
	}
	return count;
}

static bool starts(const char *field, const char *word)
{
	size_t len = strlen(word);

	return strncmp(field, word, len) == 0 && field[len] == ' ';
}

static struct wire_setattr setattr_of(const uint64_t *n)
{
	return (struct wire_setattr){.valid = (uint32_t)n[0],
				     .mode = (uint32_t)n[1],
				     .uid = (uint32_t)n[2],
				     .gid = (uint32_t)n[3],
				     .size = n[4],
				     .atime_ns = (int64_t)n[5],
				     .mtime_ns = (int64_t)n[6]};
}

/* Fields that the supervisor never writes are put together from their parts. */
static void put_field(struct wire_writer *w, const char *field)
{
	uint64_t n[16] = {0};
	unsigned count = numbers_of(field, n, 16);
	const char *text = strchr(field, ' ') + 1;

	if (starts(field, "u8")) {
		wire_put_u8(w, (uint8_t)n[0]);
	} else if (starts(field, "u16")) {
		wire_put_u16(w, (uint16_t)n[0]);
	} else if (starts(field, "u32") || starts(field, "i32")) {
		wire_put_u32(w, (uint32_t)n[0]);
	} else if (starts(field, "u64") || starts(field, "i64")) {
		wire_put_u64(w, n[0]);
	} else if (starts(field, "str")) {
		wire_put_str(w, text, strlen(text));
	} else if (starts(field, "raw")) {
		wire_put_raw(w, text, strlen(text));
	} else if (starts(field, "blob")) {
		wire_put_u32(w, (uint32_t)strlen(text));
		wire_put_raw(w, text, strlen(text));
	} else if (starts(field, "setattr")) {
		struct wire_setattr set = setattr_of(n);

		wire_put_setattr(w, &set);
	} else if (starts(field, "stat")) {
		for (unsigned i = 0; i < count; i++) {
			if ((i >= 2 && i <= 5) || i == 8)
				wire_put_u32(w, (uint32_t)n[i]);
			else
				wire_put_u64(w, n[i]);
			if (i == 8)
				wire_put_u32(w, 0);
		}
	} else if (starts(field, "statfs")) {
		for (unsigned i = 0; i < count; i++) {
			if (i == 8) {
				wire_put_u32(w, (uint32_t)n[i]);
				wire_put_u32(w, 0);
			} else {
				wire_put_u64(w, n[i]);
			}
		}
	} else {
		w->bad = 1;
	}
}

static bool is_text(struct wire_bytes bytes, const char *text)
{
	return bytes.len == strlen(text) && bytes.data && memcmp(bytes.data, text, bytes.len) == 0;
}

static bool reads_stat(struct wire_reader *r, const uint64_t *n)
{
	struct wire_stat s;

	wire_get_stat(r, &s);
	return s.dev == n[0] && s.ino == n[1] && s.mode == n[2] && s.nlink == n[3] &&
	       s.uid == n[4] && s.gid == n[5] && s.rdev == n[6] && s.size == n[7] &&
	       s.blksize == n[8] && s.blocks == n[9] && s.atime_ns == (int64_t)n[10] &&
	       s.mtime_ns == (int64_t)n[11] && s.ctime_ns == (int64_t)n[12] &&
	       s.btime_ns == (int64_t)n[13];
}

static bool reads_statfs(struct wire_reader *r, const uint64_t *n)
{
	struct wire_statfs s;

	wire_get_statfs(r, &s);
	return s.type == n[0] && s.bsize == n[1] && s.blocks == n[2] && s.bfree == n[3] &&
	       s.bavail == n[4] && s.files == n[5] && s.ffree == n[6] && s.fsid == n[7] &&
	       s.namelen == n[8] && s.frsize == n[9] && s.flags == n[10];
}

static bool reads_field(struct wire_reader *r, const char *field)
{
	uint64_t n[16] = {0};
	const char *text = strchr(field, ' ') + 1;

	numbers_of(field, n, 16);
	if (starts(field, "u8"))
		return wire_get_u8(r) == n[0];
	if (starts(field, "u16"))
		return wire_get_u16(r) == n[0];
	if (starts(field, "u32") || starts(field, "i32"))
		return wire_get_u32(r) == (uint32_t)n[0];
	if (starts(field, "u64") || starts(field, "i64"))
		return wire_get_u64(r) == n[0];
	if (starts(field, "str"))
		return is_text(wire_get_str(r), text);
	if (starts(field, "blob"))
		return is_text(wire_get_blob(r), text);
	if (starts(field, "stat"))
		return reads_stat(r, n);
	if (starts(field, "statfs"))
		return reads_statfs(r, n);
	if (starts(field, "raw")) {
		r->at += strlen(text);
		return memcmp(r->at - strlen(text), text, strlen(text)) == 0;
	}
	/* The supervisor only writes it. */
	r->at += WIRE_SETATTR_BYTES;
	return starts(field, "setattr");
}

static bool writes_as_recipe(const struct vector *v)
{
	uint8_t out[2048];
	struct wire_writer w = {out + WIRE_HEADER_BYTES, out + sizeof(out), 0};

	for (unsigned i = 0; i < v->field_count; i++)
		put_field(&w, v->fields[i]);
	wire_header(out, v->kind, v->id, (uint32_t)(w.at - out - WIRE_HEADER_BYTES));
	return !w.bad && (size_t)(w.at - out) == v->len && memcmp(out, v->bytes, v->len) == 0;
}

static bool decodes_whole_only(const struct vector *v)
{
	struct wire_frame frame;

	for (size_t len = 0; len < v->len; len++) {
		if (wire_decode(at_guard(v->bytes, len), len, &frame) != 0)
			return false;
	}
	return wire_decode(at_guard(v->bytes, v->len), v->len, &frame) == (ssize_t)v->len &&
	       frame.kind == v->kind && frame.id == v->id &&
	       frame.body_len == v->len - WIRE_HEADER_BYTES;
}

static bool reads_as_recipe(const struct vector *v)
{
	size_t len = v->len - WIRE_HEADER_BYTES;
	const uint8_t *body = at_guard(v->bytes + WIRE_HEADER_BYTES, len);
	struct wire_reader r = {body, body + len, 0};

	for (unsigned i = 0; i < v->field_count; i++) {
		if (!reads_field(&r, v->fields[i]))
			return false;
	}
	return !r.bad && r.at == r.end;
}

/* Every shorter body turns bad instead of being read past, and every shorter buffer instead of
 * being written past. */
static bool is_bounded(const struct vector *v)
{
	size_t whole = v->len - WIRE_HEADER_BYTES;

	for (size_t len = 0; len < whole; len++) {
		const uint8_t *body = at_guard(v->bytes + WIRE_HEADER_BYTES, len);
		struct wire_reader r = {body, body + len, 0};
		struct wire_writer w = {guarded + PAGE - len, guarded + PAGE, 0};

		for (unsigned i = 0; i < v->field_count; i++) {
			if (!starts(v->fields[i], "raw") && !starts(v->fields[i], "setattr"))
				(void)reads_field(&r, v->fields[i]);
		}
		for (unsigned i = 0; i < v->field_count; i++)
			put_field(&w, v->fields[i]);
		if (r.at > r.end || w.at > w.end || !w.bad)
			return false;
	}
	return true;
}

static void check(const char *name, const struct vector *v)
{
	struct wire_frame frame;
	char sentence[128];

	snprintf(sentence, sizeof(sentence), "%.60s is refused when its header is whole", name);
	if (v->is_bad) {
		ok(wire_decode(at_guard(v->bytes, 15), 15, &frame) == 0 &&
		       wire_decode(at_guard(v->bytes, 16), 16, &frame) == -EPROTO,
		   sentence);
		return;
	}
	snprintf(sentence, sizeof(sentence), "%.60s is written as its recipe says", name);
	ok(writes_as_recipe(v), sentence);
	snprintf(sentence, sizeof(sentence), "%.60s is read as its recipe says, from every split",
		 name);
	ok(decodes_whole_only(v) && reads_as_recipe(v), sentence);
	snprintf(sentence, sizeof(sentence), "%.60s cut short anywhere is never overrun", name);
	ok(is_bounded(v), sentence);
}

int main(int argc, char **argv)
{
	const char *folder = argc > 1 ? argv[1] : "../proto/vectors";
	struct dirent **names;
	int count = scandir(folder, &names, NULL, alphasort), checked = 0;
	uint8_t small[4];
	struct wire_writer w = {small, small + sizeof(small), 0};
	static char text[65536];

	guarded = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (guarded == MAP_FAILED || mprotect(guarded + PAGE, PAGE, PROT_NONE) != 0)
		return 1;
	for (int i = 0; i < count; i++) {
		char path[512];
		struct vector v;

		snprintf(path, sizeof(path), "%s/%s", folder, names[i]->d_name);
		if (strstr(path, ".hex") && vector_read(&v, path)) {
			check(names[i]->d_name, &v);
			checked++;
		}
		free(names[i]);
	}
	free(count < 0 ? NULL : names);
	ok(checked >= 41, "the vectors were found");
	wire_put_str(&w, text, sizeof(text));
	ok(w.bad && w.at == small, "a string longer than its length can say is refused");
	return tap_done();
}
