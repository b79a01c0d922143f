/*
 * The supervisor's end of the socketpair to the client: asynchronous requests, so that no thread of the supervisor ever
 * waits for a round trip. Thread-safe.
 *
 * When the client dies or breaks the protocol the link is dead for good: every request in flight and every later one is
 * answered with -EIO, at once. The local process lives on and sees the errno.
 */
#ifndef LAYER_LINK_H
#define LAYER_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire.h"

/*
 * Called once for every request, on the link's reader thread (or on the caller's when the link is dead). body is what
 * follows the result in the REPLY and is valid only during the call. Must not block on another request.
 */
typedef void (*link_done)(void *arg, int32_t result, const uint8_t *body, size_t len);

/* Adopts fd (a connected stream socket). The reader thread starts with link_start. 0 or -errno. */
int link_init(int fd);
int link_start(void);

/*
 * Sends a request; body may be given in two parts (the second for bulk data, may be NULL). Returns the request's id.
 * done is always called exactly once.
 */
uint64_t link_request(uint16_t kind, const void *body, size_t body_len, const void *bulk, size_t bulk_len,
		      link_done done, void *arg);

/*
 * The same with an id that was reserved before, for requests whose frames may come back before link_request returns.
 */
uint64_t link_reserve(void);
void link_request_as(uint64_t id, uint16_t kind, const void *body, size_t body_len, link_done done, void *arg);

/* Sends a frame that has no answer (HELLO, STARTED, LOG, CANCEL, FAILED, RELEASE). Lost when the link is dead. */
void link_tell(uint16_t kind, uint64_t id, const void *body, size_t body_len);

/* The same in two parts. */
void link_tell_bulk(uint16_t kind, uint64_t id, const void *body, size_t body_len, const void *bulk, size_t bulk_len);

/*
 * Frames of flows (WIRE_FLOW_*) go to `frame` on the link's reader thread; without it they break the protocol. has_ended is
 * called once when the link dies, on any thread, perhaps one that is inside link_tell: it may only set a flag. has_room
 * likewise, when link_has_room has said no and would say yes now.
 */
struct link_flows {
	void (*frame)(const struct wire_frame *frame);
	void (*has_ended)(void);
	void (*has_room)(void);
};

/* Before link_start. */
void link_set_flows(const struct link_flows *flows);

/* False while so much waits for the client that whoever can stop producing shall stop. */
bool link_has_room(void);

/* Waits until the socket has taken all that was told, at most so many milliseconds. */
void link_flush(int64_t ms);

/* printf into WIRE_LOG; never a path's content or a value. level as in WIRE_LOG. */
void link_log(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Before link_start: reads one frame synchronously (SETUP). Caller frees *buf. 0 or -errno. deadline in ms. */
int link_receive_setup(uint8_t **buf, struct wire_frame *frame, int deadline_ms);

bool link_is_alive(void);

/* The socket; for link_setup.c. */
int link_descriptor(void);

#endif
