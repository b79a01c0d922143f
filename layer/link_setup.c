/* The first frame from the client, before there is a reader thread (link.h). */
#include "link.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#define BUFFER_BYTES (WIRE_HEADER_BYTES + WIRE_BODY_MAX)

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Exactly len bytes, not one of the next frame. */
static int receive_exactly(uint8_t *buf, size_t len, int64_t deadline)
{
	size_t got = 0;

	while (got < len) {
		struct pollfd p = {.fd = link_descriptor(), .events = POLLIN};
		int64_t left = deadline - now_ms();
		ssize_t n;

		if (left <= 0 || poll(&p, 1, (int)left) == 0)
			return -ETIMEDOUT;
		n = recv(link_descriptor(), buf + got, len - got, MSG_DONTWAIT);
		if (n == 0)
			return -EPIPE;
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		got += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

int link_receive_setup(uint8_t **buf, struct wire_frame *frame, int deadline_ms)
{
	int64_t deadline = now_ms() + deadline_ms;
	uint8_t *all = malloc(BUFFER_BYTES);
	struct wire_frame head;
	uint32_t body_len;
	int result;

	if (!all)
		return -ENOMEM;
	result = receive_exactly(all, WIRE_HEADER_BYTES, deadline);
	if (result == 0 && wire_decode(all, WIRE_HEADER_BYTES, &head) < 0)
		result = -EPROTO;
	if (result == 0) {
		struct wire_reader r = {all, all + 4, 0};

		body_len = wire_get_u32(&r);
		result = receive_exactly(all + WIRE_HEADER_BYTES, body_len, deadline);
		if (result == 0 && (wire_decode(all, WIRE_HEADER_BYTES + body_len, frame) <= 0 ||
				    frame->kind != WIRE_SETUP))
			result = -EPROTO;
	}
	if (result != 0) {
		free(all);
		return result;
	}
	*buf = all;
	return 0;
}
