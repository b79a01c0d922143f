/* The tables of listeners and arrivals, and which calls are trapped for them. */
#include "../filter.h"
#include "../in_datagram.h"
#include "../in_table.h"
#include "../shared.h"
#include "../wire.h"
#include "tap.h"

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>

static struct net_addr source_of(uint32_t nth)
{
	struct net_addr addr = net_addr_loopback(AF_INET, 1024);

	addr.in.sin_addr.s_addr = htonl(0x7f400000u + nth);
	return addr;
}

static void test_arrivals(void)
{
	struct net_addr peer = net_addr_loopback(AF_INET, 1), local = net_addr_loopback(AF_INET, 2), source = source_of(1);
	struct net_addr mapped = source;
	unsigned int known = 0;

	net_lock();
	ok(in_table_is_empty() && !in_arrival_find(&source), "nothing is known at first");
	ok(in_arrival_add(&source, &peer, &local) && net_addr_port(&in_arrival_find(&source)->peer) == 1,
	   "an arrival is found by its source");
	net_addr_as(&mapped, AF_INET6);
	ok(in_arrival_find(&mapped) == in_arrival_find(&source), "v4-mapped as well");
	ok(in_arrival_add(&source, &local, &peer) && net_addr_port(&in_arrival_find(&source)->peer) == 2,
	   "a source that is used again belongs to the newer one");
	in_arrival_over(&source);
	in_arrival_over(&source);
	ok(in_arrival_find(&source) != NULL, "one that is over can still be asked about");
	for (uint32_t i = 2; i < 20000; i++) {
		source = source_of(i);
		(void)in_arrival_add(&source, &peer, &local);
		if (i % 2)
			in_arrival_over(&source);
	}
	for (uint32_t i = 1; i < 20000; i++) {
		source = source_of(i);
		known += in_arrival_find(&source) != NULL;
	}
	ok(known == 9999 + 8192, "those that live are kept, those that are over only so far");
	source = source_of(1);
	ok(!in_arrival_find(&source), "the oldest went first");
	net_unlock();
}

static void test_datagrams(void)
{
	struct net_addr peer = net_addr_loopback(AF_INET, 7777), other = net_addr_loopback(AF_INET, 7778);
	struct net_addr local = net_addr_loopback(AF_INET, 53), source = source_of(30000), again = source_of(30001);
	struct net_socket socket = {.inode = 17, .domain = AF_INET};
	struct in_listener *listener;

	net_lock();
	listener = in_listener_new(&socket, 3, &local);
	listener->is_listening = true;
	(void)in_arrival_add(&source, &peer, &local);
	ok(!in_datagram_is(17) && !in_datagram_peer(17, &peer), "a socket of connections has no peers of datagrams");
	listener->is_datagram = true;
	ok(in_datagram_is(17) && !in_datagram_is(18), "a socket of datagrams is known");
	ok(net_addr_equal(in_datagram_source(&source), &peer) && !in_datagram_source(&again), "so is who sent in truth");
	ok(net_addr_equal(in_datagram_peer(17, &peer), &source) && !in_datagram_peer(17, &other),
	   "what goes to a peer of the target is told from everything else");
	(void)in_arrival_add(&again, &peer, &local);
	ok(net_addr_equal(in_datagram_peer(17, &peer), &again), "a peer that comes again is the newer one");
	(void)in_arrival_add(&again, &other, &local);
	ok(net_addr_equal(in_datagram_peer(17, &peer), &source) && net_addr_equal(in_datagram_peer(17, &other), &again),
	   "and a source that is used again is its new peer's alone");
	net_addr_as(&peer, AF_INET6);
	ok(net_addr_equal(in_datagram_peer(17, &peer), &source), "v4-mapped as well");
	in_listener_destroy(listener);
	net_unlock();
}

static void test_listeners(void)
{
	struct net_socket socket = {.inode = 7, .domain = AF_INET};
	struct net_addr asked = net_addr_loopback(AF_INET, 80);
	struct in_listener *first, *second;

	net_lock();
	first = in_listener_new(&socket, 3, &asked);
	socket.inode = 8;
	second = in_listener_new(&socket, 4, &asked);
	ok(in_listener_find(7) == first && in_listener_find(8) == second && !in_listener_find(9),
	   "listeners are found by their inode");
	in_listener_destroy(first);
	ok(!in_listener_find(7) && in_listener_first() == second, "and forgotten one by one");
	in_listener_destroy(second);
	net_unlock();
}

/* The few instructions that filter_build uses. */
static uint32_t simulate(const struct sock_filter *code, const struct seccomp_data *data)
{
	uint32_t a = 0;

	for (size_t at = 0;; at++) {
		const struct sock_filter *i = &code[at];

		if (i->code == (BPF_RET | BPF_K))
			return i->k;
		if (i->code == (BPF_LD | BPF_W | BPF_ABS))
			memcpy(&a, (const char *)data + i->k, sizeof(a));
		else if (BPF_OP(i->code) == BPF_JEQ)
			at += a == i->k ? i->jt : i->jf;
		else
			at += a & i->k ? i->jt : i->jf;
	}
}

static bool is_trapped(uint32_t features, int nr, uint64_t address)
{
	struct seccomp_data data = {.nr = nr, .arch = AUDIT_ARCH_X86_64, .args = {3, address, 0, 0, 0, 0}};
	struct sock_filter code[FILTER_MAX];

	filter_build(features, true, 0, code);
	return simulate(code, &data) == SECCOMP_RET_USER_NOTIF;
}

static void test_filter(void)
{
	const int calls[] = {SYS_bind, SYS_listen, SYS_accept, SYS_accept4, SYS_getsockname, SYS_getpeername};
	const uint32_t on = WIRE_FEATURE_INCOMING, off = WIRE_FEATURE_FILES_READ | WIRE_FEATURE_FILES_WRITE;
	bool are_on = true, are_off = true;

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		are_on = are_on && is_trapped(on, calls[i], 0x1000);
		are_off = are_off && !is_trapped(off, calls[i], 0x1000);
	}
	ok(are_on && are_off, "what listens and is asked for its name is trapped only with the feature");
	ok(!is_trapped(off | WIRE_FEATURE_NETWORK, SYS_bind, 1) && !is_trapped(off | WIRE_FEATURE_NETWORK, SYS_accept, 1),
	   "nor for outgoing connections");
	ok(!is_trapped(on, SYS_accept, 0) && !is_trapped(on, SYS_accept4, 0), "accept that asks for no address never is");
	ok(is_trapped(on, SYS_accept4, 0x700000000000), "wherever the address lies");
	ok(is_trapped(on, SYS_sendto, 0) == false && is_trapped(on, SYS_recvmsg, 1) && is_trapped(on, SYS_connect, 1),
	   "who sends to and hears from a peer of the target is, and no call without an address");
}

int main(void)
{
	if (shared_create() != 0)
		return 1;
	test_arrivals();
	test_listeners();
	test_datagrams();
	test_filter();
	return tap_done();
}
