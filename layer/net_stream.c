/* Streams (net_stream.h). */
#include "net_stream.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "link.h"
#include "net_hand.h"
#include "net_loop.h"

#define READ_BYTES (128u << 10)
#define RECORD_BYTES (1u << 20)
#define GRANT_BYTES (WIRE_FLOW_CREDIT_BYTES / 4)
/* Reads of one flow before the next one has its turn. */
#define TURN_READS 4

static uint8_t buffer[RECORD_BYTES];

static bool is_record(const struct flow *flow)
{
	return flow->transport == WIRE_TRANSPORT_UNIX_SEQPACKET;
}

static void tell_u32(uint16_t kind, uint64_t id, uint32_t value)
{
	uint8_t body[4];
	struct wire_writer w = {body, body + sizeof(body), 0};

	wire_put_u32(&w, value);
	link_tell(kind, id, body, sizeof(body));
}

static void end(struct flow *flow)
{
	flow_close(flow);
	flow_set_id(flow, 0);
	flow_set_state(flow, FLOW_ENDED);
}

/* The app's socket gets a RST. */
static void end_hard(struct flow *flow)
{
	struct linger now = {1, 0};

	if (flow->fd >= 0)
		(void)setsockopt(flow->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	end(flow);
}

void net_stream_abort(struct flow *flow, int error)
{
	if (!flow->is_resetting)
		tell_u32(WIRE_FLOW_RESET, flow->id, (uint32_t)error);
	end_hard(flow);
}

/* Both directions ended in order. */
static bool end_if_over(struct flow *flow)
{
	if (!flow->has_ended_up || !flow->is_shut)
		return false;
	end(flow);
	return true;
}

static void grant(struct flow *flow, size_t written)
{
	flow->written += (uint32_t)written;
	if (flow->written < GRANT_BYTES || flow->has_ended_down || flow->is_resetting)
		return;
	tell_u32(WIRE_FLOW_CREDIT, flow->id, flow->written);
	flow->written = 0;
}

/* False: the flow is over. */
static bool pump_down(struct flow *flow)
{
	while (flow->first && flow->is_writable) {
		struct chunk *chunk = flow->first;
		ssize_t n = send(flow->fd, chunk->data + chunk->sent, chunk->len - chunk->sent,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN) {
			flow->is_writable = false;
		} else if (n < 0 && errno != EINTR) {
			net_stream_abort(flow, errno == EPIPE ? ECONNRESET : errno);
			return false;
		} else if (n >= 0) {
			chunk->sent += (size_t)n;
			flow->queued -= (size_t)n;
			grant(flow, (size_t)n);
			if (chunk->sent < chunk->len)
				continue;
			flow->first = chunk->next;
			if (!flow->first)
				flow->last = NULL;
			free(chunk);
		}
	}
	if (flow->first || !flow->has_ended_down || flow->is_shut || flow->is_resetting)
		return true;
	flow->is_shut = true;
	(void)shutdown(flow->fd, SHUT_WR);
	return !end_if_over(flow);
}

static bool read_some(struct flow *flow)
{
	size_t want = is_record(flow) ? RECORD_BYTES
		      : flow->credit < READ_BYTES ? (size_t)flow->credit
						  : READ_BYTES;
	ssize_t n = recv(flow->fd, buffer, want, MSG_DONTWAIT);

	if (n > 0) {
		flow->credit -= n;
		link_tell(WIRE_FLOW_DATA, flow->id, buffer, (size_t)n);
		return true;
	}
	if (n < 0 && errno == EINTR)
		return true;
	flow->is_readable = false;
	if (n < 0 && errno == EAGAIN)
		return false;
	if (n < 0) {
		net_stream_abort(flow, errno);
		return false;
	}
	flow->has_ended_up = true;
	link_tell(WIRE_FLOW_HALF_CLOSE, flow->id, NULL, 0);
	net_changed();
	(void)end_if_over(flow);
	return false;
}

static void pump_up(struct flow *flow)
{
	int turns = 0;

	while (flow->is_readable && !flow->has_ended_up && !flow->is_resetting && flow->credit > 0) {
		if (!link_has_room()) {
			flow->waits_for_room = true;
			return;
		}
		if (turns++ == TURN_READS) {
			flow->waits_for_room = true;
			net_loop_wake();
			return;
		}
		if (!read_some(flow))
			return;
	}
}

void net_stream_pump(struct flow *flow)
{
	flow->waits_for_room = false;
	if (flow->state == FLOW_OPEN && !flow->is_handed && pump_down(flow))
		pump_up(flow);
}

void net_stream_open(struct flow *flow)
{
	int large = 1 << 20;

	/* Read by our thread in large pieces; the app's own options are its own. */
	(void)setsockopt(flow->fd, SOL_SOCKET, SO_RCVBUF, &large, sizeof(large));
	flow_set_state(flow, FLOW_OPEN);
	if (net_hand(flow))
		return;
	flow->is_readable = flow->is_writable = true;
	net_stream_pump(flow);
}

void net_stream_data(struct flow *flow, const uint8_t *data, size_t len)
{
	struct chunk *chunk;
	ssize_t sent = 0;

	if (flow->is_resetting || flow->has_ended_down || flow->is_handed || flow->state == FLOW_FAILED ||
	    len == 0)
		return;
	if (flow->queued + len > 2 * WIRE_FLOW_CREDIT_BYTES) {
		link_log(1, "network: the client sent more than it may; the connection is reset");
		net_stream_abort(flow, EPROTO);
		return;
	}
	if (flow->state == FLOW_OPEN && !flow->first && flow->is_writable) {
		sent = send(flow->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent > 0)
			grant(flow, (size_t)sent);
		if (sent < 0)
			sent = 0; /* pump_down meets the error again */
		if ((size_t)sent == len)
			return;
	}
	chunk = malloc(sizeof(*chunk) + len - (size_t)sent);
	if (!chunk) {
		net_stream_abort(flow, ENOMEM);
		return;
	}
	*chunk = (struct chunk){.len = len - (size_t)sent};
	memcpy(chunk->data, data + sent, chunk->len);
	if (flow->last)
		flow->last->next = chunk;
	else
		flow->first = chunk;
	flow->last = chunk;
	flow->queued += chunk->len;
	if (flow->state == FLOW_OPEN)
		(void)pump_down(flow);
}

void net_stream_half_close(struct flow *flow)
{
	flow->has_ended_down = true;
	if (flow->is_handed)
		end(flow);
	else if (flow->state == FLOW_OPEN)
		(void)pump_down(flow);
}

bool net_stream_try_reset(struct flow *flow)
{
	int unread = 0;

	(void)ioctl(flow->fd, SIOCOUTQ, &unread);
	if (flow->first || unread > 0)
		return true;
	end_hard(flow);
	return false;
}

void net_stream_reset(struct flow *flow, int error)
{
	if (flow->state != FLOW_OPEN) {
		flow->error = error;
		end_hard(flow);
		return;
	}
	/* What came before the reset is the app's, as it would be in the receive queue of a direct connection. */
	flow->is_resetting = true;
	flow->error = error == ECONNRESET ? 0 : error;
	flow->since_ms = net_now_ms();
	if (net_stream_try_reset(flow))
		net_loop_hurry();
}
