/*
 * Messages of HTTP/1.1 that need nobody's decision: alone in one read, whole but for bodies of requests with a length, and framed so that
 * everybody reads them the same. What is plain here is one whole message to services/runtime/http too, which reads all the others; a test holds
 * the two together. Nothing here knows of Node or of sockets.
 */
#ifndef MIRRORD_STEALER_PLAIN_MESSAGE_H
#define MIRRORD_STEALER_PLAIN_MESSAGE_H

#include <cstddef>
#include <cstdint>

/* As services/runtime/http/message-head.ts has them. */
static constexpr size_t MAX_HEAD_BYTES = 65536;
static constexpr int MAX_FIELDS = 256;

struct plain_message {
	/* Offset behind the empty line. */
	size_t head_end;
	/* Of a request: its method is HEAD, so that its answer has no body. */
	bool is_head;
	/* Bytes of the body that are still to come. */
	uint64_t left;
	/* It says that its connection ends with it. */
	bool closes;
};

/* A request that says nothing of its connection but keep-alive or close, and asks for no other protocol. */
bool read_plain_request(const uint8_t *bytes, size_t size, struct plain_message *message);
/* Such a request, or the beginning of one with a length: the head, and as much of the body as there is. */
bool read_plain_beginning(const uint8_t *bytes, size_t size, struct plain_message *message);
/* The answer proper to a request, behind which the connection goes on, or ends if it `closes`. */
bool read_plain_response(const uint8_t *bytes, size_t size, bool is_to_head, struct plain_message *message);

#endif
