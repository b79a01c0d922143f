/* The periodic look (net_sweep.h). */
#include "net_sweep.h"

#include <errno.h>

#include "link.h"
#include "net_datagram.h"
#include "net_dial.h"
#include "net_diag.h"
#include "net_flow.h"
#include "net_receive.h"
#include "net_stream.h"
#include "wire.h"

#define LOOK_MS 1000
#define HURRY_MS 20
/* How long an app may leave the last bytes before a reset unread. */
#define RESET_MS 5000
#define REMEMBERED_MS 60000
/* As net.ipv4.tcp_fin_timeout: the app closed, the target goes on. */
#define ORPHAN_MS 60000

/* A stream whose app has closed its socket entirely: nobody can read what still comes. */
static bool is_orphan(const struct flow *flow)
{
	struct net_addr peer, app;

	if (flow->transport != WIRE_TRANSPORT_TCP || !net_diag_works())
		return false;
	peer = net_socket_name(flow->fd);
	app = net_socket_peer(flow->fd);
	return app.len == 0 || !net_diag_is(IPPROTO_TCP, &app, &peer, flow->inode);
}

/* True: it may be gone after the call. hurry is set when it needs another look soon. */
static void look_at(struct flow *flow, int64_t now, bool *hurry)
{
	int64_t age = now - flow->since_ms;

	if (flow->state == FLOW_ENDED || flow->state == FLOW_FAILED) {
		if (age > REMEMBERED_MS)
			flow_destroy(flow);
	} else if (flow->transport == WIRE_TRANSPORT_UDP) {
		net_datagram_look(flow, now);
	} else if (flow->state == FLOW_OPEN && flow->is_resetting) {
		if (age > RESET_MS)
			net_stream_abort(flow, ECONNRESET);
		else if (net_stream_try_reset(flow))
			*hurry = true;
	} else if (flow->state == FLOW_OPEN && age > ORPHAN_MS && (flow->has_ended_up || flow->is_handed)) {
		flow->since_ms = now;
		if (is_orphan(flow) && flow->is_handed)
			link_tell(WIRE_FLOW_HALF_CLOSE, flow->id, NULL, 0);
		else if (is_orphan(flow))
			net_stream_abort(flow, ECONNRESET);
	} else if (flow->state == FLOW_MEETING && age > LOOK_MS) {
		net_dial_lost(flow, ECONNABORTED);
	}
}

int net_sweep(void)
{
	int64_t now = net_now_ms(), due;
	bool hurry = false;
	struct flow *next;

	for (struct flow *flow = flow_first(); flow; flow = next) {
		next = flow->next;
		look_at(flow, now, &hurry);
	}
	net_receive_look(now);
	if (hurry)
		return HURRY_MS;
	if (flow_count() == 0 && net_receive_count() == 0)
		return -1;
	due = net_receive_due_ms();
	return due < now + LOOK_MS ? (int)(due - now) : LOOK_MS;
}

/* No process is left: what they have written is still on its way, and ends. */
static bool is_on_its_way(const struct flow *flow)
{
	return flow->transport != WIRE_TRANSPORT_UDP && flow->state == FLOW_OPEN && !flow->is_resetting &&
	       (flow->is_handed ? flow->waits_for_hand : !flow->has_ended_up);
}

static bool is_any_on_its_way(void)
{
	for (struct flow *flow = flow_first(); flow; flow = flow->next)
		if (is_on_its_way(flow))
			return true;
	return false;
}

void net_finish(int64_t ms)
{
	int64_t until = net_now_ms() + ms, left = ms;
	struct flow *next;

	net_lock();
	for (struct flow *flow = flow_first(); flow; flow = next) {
		next = flow->next;
		if (flow->transport == WIRE_TRANSPORT_UDP)
			net_datagram_pump(flow);
	}
	while (left > 0 && link_is_alive() && is_any_on_its_way()) {
		net_wait(left);
		left = until - net_now_ms();
	}
	net_unlock();
	if (left > 0)
		link_flush(left);
}

void net_sweep_all(void)
{
	struct flow *next;

	for (struct flow *flow = flow_first(); flow; flow = next) {
		next = flow->next;
		if (flow->state == FLOW_ENDED || flow->state == FLOW_FAILED)
			continue;
		if (flow->transport == WIRE_TRANSPORT_UDP)
			net_datagram_lost(flow);
		else if (flow->state == FLOW_OPEN)
			net_stream_abort(flow, ECONNRESET);
		else
			net_dial_lost(flow, ENETDOWN);
	}
}
