/* Start of the network engine, and the way of calls and frames into it (net.h). */
#include "net.h"

#include <errno.h>
#include <sys/resource.h>

#include "answer.h"
#include "call_table.h"
#include "in.h"
#include "link.h"
#include "net_connect.h"
#include "net_datagram.h"
#include "net_dial.h"
#include "net_flow.h"
#include "net_gate.h"
#include "net_hand.h"
#include "net_loop.h"
#include "net_name.h"
#include "net_receive.h"
#include "net_send.h"
#include "net_stream.h"
#include "wire.h"

static uint32_t enabled;
static bool is_dead;

uint32_t net_features(void)
{
	return enabled;
}

static void stream_frame(struct flow *flow, const struct wire_frame *frame)
{
	struct wire_reader r = {frame->body, frame->body + frame->body_len, 0};
	uint32_t value;

	switch (frame->kind) {
	case WIRE_FLOW_DATA:
		net_stream_data(flow, frame->body, frame->body_len);
		break;
	case WIRE_FLOW_CREDIT:
		value = wire_get_u32(&r);
		flow->credit += value;
		net_stream_pump(flow);
		break;
	case WIRE_FLOW_HALF_CLOSE:
		net_stream_half_close(flow);
		break;
	case WIRE_FLOW_RESET:
		value = wire_get_u32(&r);
		if (flow->is_linked)
			net_stream_reset(flow, (int)value);
		break;
	case WIRE_FLOW_DIALING:
		net_dial_goes_on(flow);
		break;
	}
}

static void receive_frame(const struct wire_frame *frame)
{
	struct flow *flow;

	net_lock();
	if (frame->kind == WIRE_ARRIVAL || frame->kind == WIRE_ARRIVAL_OVER) {
		in_frame(frame);
		net_unlock();
		return;
	}
	flow = flow_of_id(frame->id);
	if (flow && flow->transport == WIRE_TRANSPORT_UDP)
		net_datagram_frame(flow, frame);
	else if (flow)
		stream_frame(flow, frame);
	net_unlock();
}

static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

int net_start(uint32_t features)
{
	static const struct link_flows flows = {receive_frame, net_loop_wake, net_loop_wake};
	int failed;

	if (!(features & (WIRE_FEATURE_NETWORK | WIRE_FEATURE_UNIX | WIRE_FEATURE_DNS | WIRE_FEATURE_INCOMING)))
		return 0;
	enabled = features;
	raise_descriptor_limit();
	failed = net_loop_start();
	if (!failed && features & ~(uint32_t)WIRE_FEATURE_INCOMING)
		failed = net_gate_start(features & WIRE_FEATURE_UNIX);
	if (!failed)
		failed = net_hand_start();
	if (!failed)
		link_set_flows(&flows);
	return failed;
}

void net_start_dead(uint32_t features)
{
	enabled = features;
	is_dead = true;
}

void net_call(const struct seccomp_notif *n)
{
	const struct call_spec *spec = call_find(n->data.nr);

	if (is_dead) {
		net_connect_dead(n, spec->op == CALL_CONNECT && enabled & ~(uint32_t)WIRE_FEATURE_INCOMING);
		return;
	}
	switch (spec->op) {
	case CALL_CONNECT:
		net_connect(n);
		break;
	case CALL_SOCKET_NAME:
		if (!(enabled & WIRE_FEATURE_INCOMING) || !in_name(n))
			net_name(n);
		break;
	case CALL_SOCKET_ERROR:
		net_error(n);
		break;
	case CALL_SEND:
		net_send(n);
		break;
	case CALL_RECEIVE:
		net_receive(n);
		break;
	case CALL_BIND:
		in_bind(n);
		break;
	case CALL_LISTEN:
		in_listen(n);
		break;
	case CALL_ACCEPT:
		in_accept(n);
		break;
	default:
		(void)answer_continue(n->id);
	}
}
