/*
 * Everything the supervisor reads of the client: frames, the rules of SETUP, the bodies of answers. Each input is taken as
 * a stream of frames; a REPLY is read as the answer to every request, because the fuzzer does not know which it was.
 */
#include <stdlib.h>
#include <string.h>

#include "../dir_page.h"
#include "../rules.h"
#include "../wire.h"

static volatile uint64_t sink;

/* Reads every byte that a view promises, so that the sanitizer sees where it ends. */
static void touch(struct wire_bytes bytes)
{
	for (uint32_t i = 0; i < bytes.len; i++)
		sink += bytes.data[i];
}

static void read_setup(struct wire_reader r)
{
	static const char *const paths[] = {"", "/", "/etc/hosts", "relative/key.pem"};
	struct rules *rules;

	(void)wire_get_u32(&r);
	(void)wire_get_u32(&r);
	touch(wire_get_str(&r)); /* the host name */
	rules = rules_parse(&r);
	for (unsigned i = 0; rules && i < 16; i++)
		sink += rules_decide(rules, paths[i / 4], strlen(paths[i / 4]), i & 1, i & 2);
	rules_free(rules);
}

static void read_directory(struct wire_reader r)
{
	static uint8_t out[4096];
	struct dir_page *page = dir_page_parse(0, r.at, (size_t)(r.end - r.at));
	int64_t at = page ? dir_page_find(page, 2) : -1;

	if (page) {
		sink += dir_page_write(page, 0, 0, out, sizeof(out));
		if (at >= 0)
			sink += dir_page_write(page, (uint32_t)at, 1, out, 100);
	}
	dir_page_free(page);
}

static void read_reply(struct wire_reader r)
{
	struct wire_opened_file opened;
	struct wire_statfs statfs;
	struct wire_reader copy;
	struct wire_stat stat;

	(void)wire_get_u32(&r);
	copy = r;
	wire_get_opened(&copy, &opened);
	touch(opened.bytes);
	copy = r;
	wire_get_stat(&copy, &stat);
	copy = r;
	wire_get_statfs(&copy, &statfs);
	copy = r;
	touch(wire_get_str(&copy));
	copy = r;
	sink += wire_get_u8(&copy);
	touch(wire_get_str(&copy));
	read_directory(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	while (size) {
		struct wire_frame frame;
		ssize_t used = wire_decode(data, size, &frame);
		uint8_t *body;

		if (used <= 0)
			return 0;
		/* A copy as long as the body: the next frame must not hide an overrun. */
		body = malloc(frame.body_len ? frame.body_len : 1);
		memcpy(body, frame.body, frame.body_len);
		if (frame.kind == WIRE_SETUP)
			read_setup((struct wire_reader){body, body + frame.body_len, 0});
		else
			read_reply((struct wire_reader){body, body + frame.body_len, 0});
		free(body);
		data += used;
		size -= (size_t)used;
	}
	return 0;
}
