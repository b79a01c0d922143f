/* Addresses, the table of flows and the filter of the network calls. */
#include "../call_table.h"
#include "../filter.h"
#include "../net_addr.h"
#include "../net_flow.h"
#include "../shared.h"
#include "../wire.h"
#include "tap.h"

#include <arpa/inet.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>

static struct net_addr v4(const char *text, uint16_t port)
{
	struct net_addr addr = net_addr_loopback(AF_INET, port);

	inet_pton(AF_INET, text, &addr.in.sin_addr);
	return addr;
}

static struct net_addr v6(const char *text, uint16_t port)
{
	struct net_addr addr = net_addr_loopback(AF_INET6, port);

	inet_pton(AF_INET6, text, &addr.in6.sin6_addr);
	return addr;
}

static struct net_addr through_the_wire(const struct net_addr *addr, bool *is_good)
{
	uint8_t bytes[WIRE_ADDR_BYTES + 8];
	struct wire_writer w = {bytes, bytes + sizeof(bytes), 0};
	struct wire_addr wire;
	struct wire_reader r;
	struct net_addr back;
	size_t len;

	net_addr_to_wire(&wire, addr);
	wire_put_addr(&w, &wire);
	len = (size_t)(w.at - bytes);
	*is_good = !w.bad && len <= WIRE_ADDR_BYTES;
	for (size_t cut = 0; cut < len; cut++) {
		r = (struct wire_reader){bytes, bytes + cut, 0};
		wire_get_addr(&r, &wire);
		*is_good = *is_good && r.bad && wire.family == 0;
	}
	r = (struct wire_reader){bytes, bytes + len, 0};
	wire_get_addr(&r, &wire);
	*is_good = *is_good && !r.bad && r.at == r.end;
	net_addr_from_wire(&back, &wire);
	return back;
}

static void test_addresses(void)
{
	struct net_addr four = v4("10.9.9.9", 80), six = v6("fd00::9", 81), mapped = v6("::ffff:10.9.9.9", 80), back;
	struct net_addr any = v6("::ffff:0.0.0.0", 1), path = {.len = 0};
	const char abstract[] = "\1\0\0name";
	bool is_good;

	back = through_the_wire(&four, &is_good);
	ok(is_good && net_addr_equal(&back, &four), "an IPv4 address survives the wire, cut short it is bad");
	back = through_the_wire(&six, &is_good);
	ok(is_good && net_addr_equal(&back, &six), "an IPv6 address likewise");
	back = through_the_wire(&mapped, &is_good);
	ok(is_good && back.sa.sa_family == AF_INET && net_addr_equal(&back, &mapped), "v4-mapped travels as IPv4");
	net_addr_as(&back, AF_INET6);
	ok(back.len == sizeof(back.in6) && memcmp(&back.in6, &mapped.in6, sizeof(back.in6)) == 0,
	   "and is v4-mapped again in an IPv6 socket");
	ok(net_addr_is_any(&any) && !net_addr_is_any(&six), "0.0.0.0 is any address, mapped too");
	ok(net_addr_port(&six) == 81 && net_addr_port(&path) == 0, "ports are numbers");
	ok(net_addr_read(&path, abstract, sizeof(abstract) - 1), "an abstract name is read");
	back = through_the_wire(&path, &is_good);
	ok(is_good && net_addr_equal(&back, &path), "and keeps its length");
	ok(!net_addr_read(&path, &four.in, 15) && !net_addr_read(&path, &six.in6, 23) && !net_addr_read(&path, "", 1),
	   "what is too short is the kernel's to refuse");
}

static void test_flows(void)
{
	struct net_socket socket = {.inode = 7, .domain = AF_INET};
	struct flow *first = flow_new(1, &socket), *second = flow_new(4097, &socket), *found;

	net_lock();
	ok(flow_of_id(1) == first && flow_of_id(4097) == second, "flows of one bucket are told apart");
	ok(flow_of_inode(7) == second, "the newest flow of a socket is found");
	flow_set_id(second, 9);
	ok(flow_of_id(9) == second && !flow_of_id(4097), "a flow is found by its new id only");
	flow_destroy(second);
	ok(flow_of_inode(7) == first && flow_count() == 1, "then the one before");
	flow_set_unconnected(first);
	flow_destroy(first);
	ok(flow_count() == 0 && flow_count_unconnected() == 0 && !flow_first(), "nothing is left");
	for (uint64_t i = 1; i <= 6000; i++) {
		socket.inode = i;
		found = flow_new(i, &socket);
		flow_set_state(found, FLOW_ENDED);
	}
	ok(flow_count() <= 4098, "ended flows are remembered only so far");
	while ((found = flow_first()))
		flow_destroy(found);
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

static bool is_trapped(uint32_t features, int nr, uint64_t a1, uint64_t a2, uint64_t a4)
{
	struct seccomp_data data = {.nr = nr, .arch = AUDIT_ARCH_X86_64, .args = {3, a1, a2, 0, a4, 0}};
	struct sock_filter code[FILTER_MAX];

	filter_build(features, true, 0, code);
	return simulate(code, &data) == SECCOMP_RET_USER_NOTIF;
}

static void test_filter(void)
{
	const uint32_t on = WIRE_FEATURE_NETWORK | WIRE_FEATURE_FILES_READ | WIRE_FEATURE_FILES_WRITE;
	const uint32_t off = WIRE_FEATURE_FILES_READ | WIRE_FEATURE_FILES_WRITE;

	ok(is_trapped(on, SYS_connect, 0, 0, 0) && !is_trapped(off, SYS_connect, 0, 0, 0),
	   "connect is trapped only with the feature");
	ok(!is_trapped(on, SYS_sendto, 1, 1, 0) && !is_trapped(on, SYS_recvfrom, 1, 1, 0), "send and recv never are");
	ok(is_trapped(on, SYS_sendto, 1, 1, 0x1000) && is_trapped(on, SYS_recvfrom, 1, 1, 0x700000000000),
	   "sendto and recvfrom are, wherever the address lies");
	ok(is_trapped(on, SYS_getsockopt, 1, 4, 0) && !is_trapped(on, SYS_getsockopt, 1, 3, 0) &&
		   !is_trapped(on, SYS_getsockopt, 6, 4, 0),
	   "getsockopt is for SO_ERROR alone");
	ok(is_trapped(on, SYS_recvmsg, 0, 0, 0) && !is_trapped(off, SYS_recvmsg, 0, 0, 0), "recvmsg likewise");
	ok(is_trapped(on, SYS_openat, 0, 0, 0) && !is_trapped(on, SYS_read, 0, 0, 0), "files are as before");
	ok(is_trapped(WIRE_FEATURE_UNIX, SYS_connect, 0, 0, 0) && !is_trapped(WIRE_FEATURE_UNIX, SYS_sendto, 1, 1, 1),
	   "for unix sockets alone no datagram call is trapped");
}

int main(void)
{
	if (shared_create() != 0)
		return 1;
	test_addresses();
	test_flows();
	test_filter();
	return tap_done();
}
