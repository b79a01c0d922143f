// The program in the kernel that will run it, one packet at a time (BPF_PROG_TEST_RUN): how much of each passes. Needs bpf(2).
// A packet of a test run comes in over loopback, where both directions of a connection do.
#include <bpf/libbpf.h>

#include "both_filters.h"
#include "packets.h"
#include "tap.h"

extern "C" const unsigned char mirrord_capture_program[];
extern "C" const unsigned char mirrord_capture_program_end[];

using namespace sniffer;
using namespace packets;

namespace {

Bytes between(uint16_t from, uint16_t to, const std::string &payload = "payload", uint8_t flags = TCP_ACK,
	      bool is_version6 = false)
{
	Tcp of;
	of.from = from;
	of.to = to;
	of.flags = flags;
	of.payload = payload;
	return is_version6 ? ipv6(tcp(of)) : ipv4(tcp(of));
}

capture_rule with(uint32_t flags)
{
	capture_rule rule{};
	rule.flags = flags;
	return rule;
}

void verified()
{
	tap::test("the programs pass the verifier as they are for a processor that shows stores in another order", [] {
		auto bytes = static_cast<size_t>(mirrord_capture_program_end - mirrord_capture_program);
		bpf_object *object = bpf_object__open_mem(mirrord_capture_program, bytes, nullptr);
		HOLDS(object != nullptr);
		EQUAL(bpf_object__load(object), 0);
		bpf_object__close(object);
	});
}

void ports()
{
	tap::test("packets to a watched port pass whole, answers with their beginnings and ends alone, in both families", [] {
		Filter f;
		for (bool is_version6 : {false, true}) {
			size_t headers = is_version6 ? 60 : 40;
			EQUAL(f.pass(between(40000, 80, "payload", TCP_ACK, is_version6)), headers + 7);
			EQUAL(f.pass(between(80, 40000, "payload", TCP_ACK, is_version6)), size_t{0});
			for (uint8_t flag : {TCP_SYN, TCP_FIN, TCP_RST})
				EQUAL(f.pass(between(80, 40000, "payload", flag, is_version6)), headers);
			EQUAL(f.pass(between(40000, 81, "payload", TCP_ACK, is_version6)), size_t{0});
			EQUAL(f.pass(between(81, 40000, "payload", TCP_FIN, is_version6)), size_t{0});
		}
	});
	tap::test("fragments pass while a port of their protocol is watched, but those behind a first one of a port that is not", [] {
		Filter f;
		Bytes first = ipv4(udp(4000, 53, "12345678"), PROTOCOL_UDP, 0x2000), later = ipv4(Bytes(16, 1), PROTOCOL_UDP, 2);
		Bytes segment = ipv4(tcp({}), PROTOCOL_TCP, 0x2000);
		EQUAL(f.pass(first), size_t{0});
		EQUAL(f.pass(later), size_t{0});
		EQUAL(f.pass(segment), segment.size());
		EQUAL(f.filter.set_port({PROTOCOL_UDP, 53, {}}), 0);
		// In any order.
		EQUAL(f.pass(later), later.size());
		EQUAL(f.pass(first), first.size());
		Bytes foreign = ipv4(udp(4000, 54, "12345678"), PROTOCOL_UDP, 0x2000);
		EQUAL(f.pass(foreign), size_t{0});
		EQUAL(f.pass(later), size_t{0});
		EQUAL(f.filter.counters().foreign_fragments, uint64_t{2});
		// The number comes again.
		EQUAL(f.pass(first), first.size());
		EQUAL(f.pass(later), later.size());
		EQUAL(f.pass(ipv4(Bytes(16, 0), 1, 0x2000)), size_t{0});
		EQUAL(f.filter.remove_port(PROTOCOL_UDP, 53), 0);
		EQUAL(f.pass(first), size_t{0});
		EQUAL(f.pass(later), size_t{0});
		EQUAL(f.pass(segment), segment.size());
	});
	tap::test("fragments of IPv6 likewise, whatever headers are before and in them", [] {
		Filter f;
		EQUAL(f.filter.set_port({PROTOCOL_UDP, 53, {}}), 0);
		auto fragment = [](uint8_t next, uint8_t place, const Bytes &bytes) {
			return ipv6(bytes, 60, Bytes{44, 0, 0, 0, 0, 0, 0, 0, next, 0, 0, place, 0, 0, 0, 9});
		};
		Bytes watched = fragment(17, 1, udp(4000, 53, "12345678")), foreign = fragment(17, 1, udp(4000, 54, "12345678"));
		Bytes later = fragment(17, 16, Bytes(16, 1)), options = fragment(60, 1, Bytes(16, 0));
		EQUAL(f.pass(watched), watched.size());
		EQUAL(f.pass(later), later.size());
		EQUAL(f.pass(foreign), size_t{0});
		EQUAL(f.pass(later), size_t{0});
		EQUAL(f.pass(options), options.size());
		EQUAL(f.pass(later), later.size());
		// All of its packet: a packet like any other.
		Bytes whole = fragment(17, 0, udp(4000, 53, "12345678")), nobodys = fragment(17, 0, udp(4000, 54, "12345678"));
		EQUAL(f.pass(whole), whole.size());
		EQUAL(f.pass(nobodys), size_t{0});
	});
	tap::test("answers pass whole where they are wanted, and their headers where acknowledgements are", [] {
		Filter f(with(CAPTURE_ANSWERS));
		EQUAL(f.pass(between(80, 40000)), size_t{47});
		Filter g;
		EQUAL(g.filter.want_acknowledgements(true), 0);
		EQUAL(g.pass(between(80, 40000)), size_t{40});
		EQUAL(g.filter.want_acknowledgements(false), 0);
		EQUAL(g.pass(between(80, 40000)), size_t{0});
	});
	tap::test("bare acknowledgements stay and are counted, beginnings and ends pass", [] {
		Filter f;
		EQUAL(f.pass(between(40000, 80, "")), size_t{0});
		EQUAL(f.filter.counters().bare_acknowledgements, uint64_t{1});
		for (uint8_t flag : {TCP_SYN, TCP_FIN, TCP_RST})
			EQUAL(f.pass(between(40000, 80, "", flag)), size_t{40});
		EQUAL(f.filter.counters().packets, uint64_t{3});
	});
	tap::test("IPv4 options, extension headers, TCP options, datagrams, other protocols", [] {
		Filter f;
		EQUAL(f.filter.set_port({PROTOCOL_UDP, 53, {}}), 0);
		Tcp of;
		of.payload = "payload";
		of.option_bytes = 12;
		for (const Bytes &packet : {ipv4(tcp(of)), ipv4(tcp(of), PROTOCOL_TCP, 0, 8),
					    ipv6(tcp(of), 60, Bytes{6, 0, 0, 0, 0, 0, 0, 0}),
					    // An authentication header counts in units of four bytes.
					    ipv6(tcp(of), 51, Bytes{6, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}),
					    ipv4(udp(4000, 53, "question"), PROTOCOL_UDP),
					    ipv6(udp(4000, 53, ""), PROTOCOL_UDP)})
			EQUAL(f.pass(packet), packet.size());
		EQUAL(f.pass(ipv4(udp(4000, 80, "question"), PROTOCOL_UDP)), size_t{0});
		EQUAL(f.pass(ipv4(Bytes(30, 0), 1)), size_t{0});
	});
	tap::test("what passes is counted for its port, whether its payload is left out or not", [] {
		Filter f(with(CAPTURE_ANSWERS), 1'100);
		EQUAL(f.filter.set_port({PROTOCOL_TCP, 81, {}}), 0);
		EQUAL(f.filter.slot_of(PROTOCOL_UDP, 80), -1);
		auto passed = [&](uint16_t port) {
			int slot = f.filter.slot_of(PROTOCOL_TCP, port);
			HOLDS(slot > 0);
			capture_counters c = f.filter.counters_of(static_cast<unsigned>(slot));
			return std::to_string(c.passed_connections) + "/" + std::to_string(c.passed_packets) + "/" +
			       std::to_string(c.passed_bytes);
		};
		f.pass(between(40000, 80, "", TCP_SYN));
		f.pass(between(80, 40000, "", TCP_SYN | TCP_ACK));
		f.pass(between(40000, 80, ""));
		f.pass(between(40000, 80, std::string(1400, 'x')));
		f.pass(between(40000, 80, std::string(1400, 'x')));
		f.pass(between(80, 40000, "answer"));
		f.pass(between(40000, 81, "seven b"));
		f.pass(between(40000, 82, "nobody"));
		EQUAL(passed(80), "1/5/2800");
		EQUAL(passed(81), "0/1/7");
		EQUAL(f.filter.remove_port(PROTOCOL_TCP, 81), 0);
		EQUAL(f.filter.slot_of(PROTOCOL_TCP, 81), -1);
	});
	tap::test("of more ports than have counters of their own the rest shares one", [] {
		Filter f;
		for (uint16_t port = 1000; port < 1000 + 2 * CAPTURE_SLOTS; port++)
			EQUAL(f.filter.set_port({PROTOCOL_TCP, port, {}}), 0);
		EQUAL(f.filter.slot_of(PROTOCOL_TCP, 1000 + CAPTURE_SLOTS), 0);
		EQUAL(f.pass(between(40000, 1000 + CAPTURE_SLOTS)), size_t{47});
		EQUAL(f.filter.counters_of(0).passed_bytes, uint64_t{7});
	});
	tap::test("behind tags of VLANs that are still in there a packet is what it is without them", [] {
		capture_rule rule = with(CAPTURE_PREFILTER | CAPTURE_ANSWERS);
		rule.prefix_count = 1;
		memcpy(rule.prefixes[0].words, " /orders", 8);
		memset(rule.prefixes[0].masks, 0xff, 8);
		rule.prefixes[0].is_path = 1;
		Filter f(rule);
		EQUAL(f.filter.set_port({PROTOCOL_UDP, 53, {}}), 0);
		uint16_t from = 1;
		const std::string unwanted = "GET /health HTTP/1.1\r\nHost: somebody\r\n\r\n";
		for (bool is_version6 : {false, true}) {
			uint16_t inside = is_version6 ? 0x86dd : 0x0800;
			size_t headers = is_version6 ? 60 : 40;
			Bytes tag = {0, 7};
			put16(&tag, inside);
			Bytes two = Bytes{0, 9, 0x81, 0} + tag;
			for (const Bytes &tags : {tag, two}) {
				for (uint16_t outer : {0x8100, 0x88a8}) {
					auto pass = [&](const Bytes &packet) { return f.pass(tags + packet, outer); };
					size_t all = tags.size() + headers + 7;
					EQUAL(pass(between(40000, 80, "payload", TCP_ACK, is_version6)), all);
					EQUAL(pass(between(80, 40000, "payload", TCP_ACK, is_version6)), all);
					EQUAL(pass(between(40000, 81, "payload", TCP_ACK, is_version6)), size_t{0});
					Bytes request = between(from++, 80, unwanted, TCP_ACK, is_version6);
					EQUAL(f.leave_out(tags + request, outer), tags.size() + headers);
					Bytes datagram = is_version6 ? ipv6(udp(1, 53, "?"), PROTOCOL_UDP) : ipv4(udp(1, 53, "?"), PROTOCOL_UDP);
					EQUAL(pass(datagram), tags.size() + datagram.size());
				}
			}
			EQUAL(f.pass(Bytes{0, 7, 0x81, 0} + two + between(40000, 80, "payload", TCP_ACK, is_version6), 0x88a8), size_t{0});
		}
		EQUAL(f.pass(Bytes{0, 7}, 0x8100), size_t{0});
		EQUAL(f.pass(Bytes{0, 7, 8, 0}, 0x8100), size_t{0});
	});
	tap::test("a port that is no longer watched passes nothing", [] {
		Filter f;
		EQUAL(f.filter.remove_port(PROTOCOL_TCP, 80), 0);
		EQUAL(f.pass(between(40000, 80)), size_t{0});
		EQUAL(f.filter.remove_port(PROTOCOL_TCP, 80), 0);
	});
}

void rules()
{
	tap::test("a sample takes the connections that the capture takes, in both directions", [] {
		capture_rule rule = with(CAPTURE_ANSWERS);
		rule.sample_per_million = 300'000;
		Filter f(rule);
		size_t taken = 0;
		for (uint16_t port = 1000; port < 1200; port++) {
			bool is_version6 = port % 2 != 0;
			Bytes request = between(port, 80, "payload", TCP_ACK, is_version6);
			bool is_taken = sample_of(key_of(request), 7) < rule.sample_per_million;
			EQUAL(f.pass(request) > 0, is_taken);
			Bytes answer = between(80, port, "payload", TCP_ACK, is_version6);
			bool is_answer_taken = sample_of(key_of(answer, Direction::FROM_TARGET), 7) < rule.sample_per_million;
			EQUAL(f.pass(answer) > 0, is_answer_taken);
			taken += is_taken;
		}
		HOLDS(taken > 20 && taken < 120);
		EQUAL(f.filter.counters().not_sampled_packets, uint64_t{200} - taken);
	});
	tap::test("beyond its bytes a connection passes with headers", [] {
		capture_rule rule{};
		rule.connection_bytes = 10;
		Filter f(rule);
		EQUAL(f.pass(between(40000, 80, "0123456789")), size_t{50});
		EQUAL(f.pass(between(40000, 80, "more")), size_t{40});
		EQUAL(f.pass(between(40001, 80, "other")), size_t{45});
		EQUAL(f.filter.counters().capped_bytes, uint64_t{4});
	});
	tap::test("beyond its rate bulk passes with headers and is counted, small packets pass", [] {
		Filter f(with(CAPTURE_ANSWERS), 2'000);
		const std::string bulk(1400, 'x');
		uint64_t whole = 0;
		for (uint64_t at = 0; at < 40; at++) {
			size_t kept = at % 2 ? f.pass(between(40000, 80, bulk)) : f.pass(between(80, 40000, bulk));
			HOLDS(kept == 40 || kept == 1440);
			whole += kept == 1440;
		}
		// The first, and one for each fifth of a second that this took.
		HOLDS(whole >= 1 && whole < 40);
		EQUAL(f.filter.counters().bulk_bytes, (40 - whole) * 1400);
		EQUAL(f.pass(between(40000, 80, "small")), size_t{45});
		Filter all;
		for (int count = 0; count < 40; count++)
			EQUAL(all.pass(between(40000, 80, bulk)), size_t{1440});
	});
}

void muting()
{
	tap::test("of a muted connection nothing passes but its ends, and a beginning of a request", [] {
		for (bool is_version6 : {false, true}) {
			Filter f;
			auto to = [&](const std::string &payload, uint8_t flags = TCP_ACK, uint16_t port = 40000) {
				return f.pass(between(port, 80, payload, flags, is_version6));
			};
			f.filter.mute(key_of(between(40000, 80, "", TCP_SYN, is_version6)));
			EQUAL(to("payload"), size_t{0});
			EQUAL(f.filter.counters().muted_bytes, uint64_t{7});
			HOLDS(to("payload", TCP_ACK, 40001) > 0);
			HOLDS(to("", TCP_FIN) > 0);
			HOLDS(to("", TCP_RST) > 0);
			for (const char *method : {"GET /", "POST /", "PUT /", "HEAD /", "DELETE /", "PATCH /", "OPTIONS /",
						   "TRACE /", "CONNECT a", "PRI * HTTP/2.0"}) {
				f.filter.mute(key_of(between(40000, 80, "", TCP_SYN, is_version6)));
				EQUAL(to("GE"), size_t{0});
				EQUAL(to("payload"), size_t{0});
				HOLDS(to(method) > 0);
				HOLDS(to("its body") > 0);
			}
		}
	});
	tap::test("it is another one after a SYN, and passes again when it is unmuted", [] {
		Filter f;
		FlowKey key = key_of(between(40000, 80));
		f.filter.mute(key);
		HOLDS(f.pass(between(40000, 80, "", TCP_SYN)) > 0);
		HOLDS(f.pass(between(40000, 80)) > 0);
		f.filter.mute(key);
		EQUAL(f.pass(between(40000, 80)), size_t{0});
		f.filter.unmute(key);
		HOLDS(f.pass(between(40000, 80)) > 0);
	});
}

} // namespace

int main()
{
	verified();
	ports();
	rules();
	muting();
	return tap::done();
}
