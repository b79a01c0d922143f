/* Questions about unconnected sockets (net_ask.h). */
#include "net_ask.h"

#include <errno.h>
#include <stdlib.h>

#include "link.h"
#include "net_loop.h"
#include "net_peer.h"
#include "wire.h"

static void open_done(void *arg, int32_t result, const uint8_t *body, size_t len)
{
	uint8_t none[4] = {0};
	struct flow *flow;

	(void)len;
	if (!body) {
		net_loop_wake();
		return;
	}
	net_lock();
	flow = flow_of_id((uintptr_t)arg);
	if (!flow) {
		if (result == 0)
			link_tell(WIRE_FLOW_RESET, (uintptr_t)arg, none, sizeof(none));
	} else if (result != 0) {
		(void)held_answer(held_take(&flow->held), result > -512 ? result : -EIO, result == WIRE_LOCAL);
		flow_destroy(flow);
	} else {
		flow->is_linked = true;
		flow_set_state(flow, FLOW_OPEN);
		held_retry(held_take(&flow->held));
	}
	net_unlock();
}

void net_ask_open(struct flow *flow)
{
	uint8_t body[8];
	struct wire_writer w = {body, body + sizeof(body), 0};
	uint64_t id = link_reserve();

	flow_set_state(flow, FLOW_ASKED);
	flow_set_id(flow, id);
	flow->is_linked = false;
	wire_put_u32(&w, (uint32_t)flow->process);
	wire_put_u8(&w, (uint8_t)flow->domain);
	link_request_as(id, WIRE_UDP_OPEN, body, (size_t)(w.at - body), open_done, (void *)(uintptr_t)id);
	if (flow_count() == 1)
		net_loop_wake();
}

struct question {
	uint64_t inode;
	struct net_addr asked;
};

static void peer_done(void *arg, int32_t result, const uint8_t *body, size_t len)
{
	struct question *question = arg;
	struct wire_reader r = {body, body + len, 0};
	struct wire_addr instead;
	struct flow *flow;
	struct net_peer *peer;

	if (!body) {
		free(question);
		net_loop_wake();
		return;
	}
	net_lock();
	flow = flow_of_inode(question->inode);
	peer = flow ? net_peer_find(flow, &question->asked) : NULL;
	if (peer) {
		peer->is_known = true;
		peer->is_local = result == WIRE_LOCAL;
		if (peer->is_local) {
			wire_get_addr(&r, &instead);
			net_addr_from_wire(&peer->here, &instead);
			net_addr_as(&peer->here, flow->domain);
			if (!instead.family)
				peer->here.len = 0;
		} else if (result < 0) {
			peer->error = result > -512 ? -result : EIO;
		}
		held_retry(held_take(&peer->held));
	}
	net_unlock();
	free(question);
}

void net_ask_peer(struct flow *flow, struct net_peer *peer, const struct seccomp_notif *n)
{
	uint8_t body[8 + WIRE_ADDR_BYTES];
	struct wire_writer w = {body, body + sizeof(body), 0};
	struct question *question;
	struct wire_addr addr;
	bool is_asked = peer->held != NULL;

	if (!held_add(&peer->held, n) || is_asked)
		return;
	question = malloc(sizeof(*question));
	if (!question) {
		(void)held_answer(held_take(&peer->held), -ENOMEM, false);
		return;
	}
	*question = (struct question){flow->inode, peer->asked};
	net_addr_to_wire(&addr, &peer->asked);
	wire_put_u64(&w, flow->id);
	wire_put_addr(&w, &addr);
	link_request(WIRE_UDP_PEER, body, (size_t)(w.at - body), NULL, 0, peer_done, question);
}
