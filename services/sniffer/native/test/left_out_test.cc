// The prefilter in the kernel that will run it: which requests leave no trace in the ring, and what its records tell of them.
// Needs bpf(2).
#include <net/if.h>
#include <sched.h>

#include <cstdlib>

#include "both_filters.h"

using namespace sniffer;
using namespace packets;

namespace {

constexpr uint8_t END = TCP_FIN | TCP_ACK;
constexpr uint32_t FIRST = 1000;

capture_rule wants(const std::string &prefix)
{
	capture_rule rule{};
	rule.flags = CAPTURE_PREFILTER;
	rule.prefix_count = 1;
	memcpy(rule.prefixes[0].words, prefix.data(), prefix.size());
	memset(rule.prefixes[0].masks, 0xff, prefix.size());
	rule.prefixes[0].is_path = prefix[0] == ' ';
	return rule;
}

std::string request(const std::string &path, const std::string &method = "GET")
{
	return method + " " + path + " HTTP/1.1\r\nHost: somebody\r\n\r\n";
}

const std::string UNWANTED = request("/health"), WANTED = request("/orders/1");

// What a peer sends to the port.
struct Peer {
	Filter &filter;
	uint16_t port;
	uint32_t next = FIRST;
	bool is_version6 = false;

	Bytes at(uint32_t sequence, const std::string &payload, uint8_t flags = TCP_ACK) const
	{
		Tcp of;
		of.from = port;
		of.sequence = sequence;
		of.flags = flags;
		of.payload = payload;
		return is_version6 ? ipv6(tcp(of)) : ipv4(tcp(of));
	}
	Bytes says(const std::string &payload, uint8_t flags = TCP_ACK)
	{
		Bytes packet = at(next, payload, flags);
		next += static_cast<uint32_t>(payload.size()) + ((flags & (TCP_SYN | TCP_FIN)) != 0);
		return packet;
	}
	size_t headers() const { return is_version6 ? 60 : 40; }
	void is_left_out(const std::string &payload) { EQUAL(filter.leave_out(says(payload)), headers()); }
	void passes(const std::string &payload, uint8_t flags = TCP_ACK)
	{
		EQUAL(filter.pass(says(payload, flags)), headers() + payload.size());
	}
	void is_lost(const std::string &payload) { EQUAL(filter.pass_each(says(payload)).second, size_t{0}); }
	// Of the last record: "[1000+40]", with a "?" in front where there may be more.
	std::string told() const
	{
		const capture_record &record = filter.filter.tap.told;
		std::string range = record.left_bytes == 0
					? ""
					: "[" + std::to_string(record.left_from) + "+" + std::to_string(record.left_bytes) + "]";
		return (record.flags & CAPTURE_RECORD_DOUBTFUL ? "?" : "") + range;
	}
};

void judged()
{
	tap::test("of requests that nobody wants nothing passes, what is in doubt passes, and from there on everything", [] {
		Filter f(wants(" /orders"));
		for (bool is_version6 : {false, true}) {
			Peer peer{f, 40000, FIRST, is_version6};
			peer.is_left_out(UNWANTED);
			peer.passes(WANTED);
			peer.is_left_out(UNWANTED);
			peer.passes(UNWANTED + WANTED);
			peer.passes(UNWANTED);
			uint64_t left_out = is_version6 ? 4 : 2;
			EQUAL(f.filter.counters().prefiltered_packets, left_out);
			EQUAL(f.filter.counters().prefiltered_bytes, left_out * UNWANTED.size());
		}
	});
	tap::test("a sample takes whom the capture takes, and of those the filter what it wants", [] {
		capture_rule rule = wants(" /orders");
		rule.sample_per_million = 300'000;
		Filter f(rule);
		uint64_t taken = 0;
		for (uint16_t port = 1000; port < 1200; port++) {
			Peer peer{f, port};
			bool is_taken = sample_of(key_of(peer.at(0, WANTED)), 7) < rule.sample_per_million;
			EQUAL(f.pass_each(peer.says(UNWANTED)).second, size_t{0});
			EQUAL(f.pass(peer.says(WANTED)), is_taken ? 40 + WANTED.size() : 0);
			taken += is_taken;
		}
		HOLDS(taken > 20 && taken < 120);
		EQUAL(f.filter.counters().not_sampled_packets, 2 * (200 - taken));
		EQUAL(f.filter.counters().prefiltered_packets, taken);
	});
	tap::test("what does not come in order is in doubt, what was seen before passes again and changes nothing", [] {
		Filter f(wants(" /orders"));
		Peer peer{f, 40000};
		peer.passes("", TCP_SYN);
		peer.is_left_out(UNWANTED);
		EQUAL(f.pass(peer.at(FIRST + 1, UNWANTED)), 40 + UNWANTED.size());
		EQUAL(f.pass(peer.at(FIRST + 3, "x")), size_t{41});
		peer.is_left_out(UNWANTED);
		// Of a body that overtakes its head.
		peer.next += 50;
		peer.passes(UNWANTED);
		peer.passes(UNWANTED);
	});
	tap::test("a head of any length is known to be one, and an empty line in it wherever it is; a wanted path by any method", [] {
		const std::string prefix = " /orders/of/somebody/else/entire";
		Filter f(wants(prefix));
		constexpr size_t MOST_HEAD = 1024;
		uint16_t from = 1000;
		auto another = [&] { return Peer{f, from++}; };
		for (const std::string method : {"GET", "HEAD"}) {
			for (size_t length = 36; length < 1100; length += length < 150 ? 1 : 37) {
				std::string head = method + " /health ";
				while (head.size() < length - 4)
					head += head.size() % 23 == 22 ? '\r' : head.size() % 23 == 0 ? '\n' : 'a';
				head += "\r\n\r\n";
				// A longer one is not looked at.
				if (length <= MOST_HEAD)
					another().is_left_out(head);
				else
					another().passes(head);
				size_t empty_at = 12 + from * 7 % (length - 19);
				if (empty_at + 4 <= length - 4)
					another().passes(head.substr(0, empty_at) + "\r\n\r\n" + head.substr(empty_at + 4));
			}
			another().passes(method + prefix + "\r\n\r\n");
			another().passes(method + prefix + "/1 HTTP/1.1\r\n\r\n");
			another().is_left_out(method + " /orders/of/somebody/else/entirx HTTP/1.1\r\n\r\n");
		}
	});
}

void told()
{
	// To load the programs takes longer than all that is asked of them.
	Filter f(wants(" /orders"));
	uint16_t port = 40000;
	auto size = static_cast<uint32_t>(UNWANTED.size());
	auto range = [size](uint32_t from, uint32_t count) {
		return "[" + std::to_string(from) + "+" + std::to_string(count * size) + "]";
	};
	tap::test("the next record tells what was left out, once; that may be a request, an end or a reset", [&] {
		for (uint8_t end : {uint8_t{TCP_ACK}, END, uint8_t{TCP_RST}}) {
				Peer peer{f, port++};
			peer.passes("", TCP_SYN);
			EQUAL(peer.told(), "");
			for (int count = 0; count < 3; count++)
				peer.is_left_out(UNWANTED);
			peer.passes(end == TCP_ACK ? WANTED : "", end);
			EQUAL(peer.told(), range(FIRST + 1, 3));
			peer.passes(WANTED);
			EQUAL(peer.told(), "");
		}
	});
	tap::test("in the middle of a connection a jump may be over what was forgotten", [&] {
		Peer peer{f, port++};
		// The last one before it, sent again.
		peer.passes(WANTED);
		EQUAL(peer.told(), "?");
		peer.next += 500;
		peer.passes(UNWANTED);
		EQUAL(peer.told(), "?");
		peer.passes(WANTED);
		EQUAL(peer.told(), "");
	});
	tap::test("one that ends its connection passes with its headers, and tells what was left out before it", [&] {
		Peer peer{f, port++};
		peer.is_left_out(UNWANTED);
		EQUAL(f.pass(peer.says(UNWANTED, END)), size_t{40});
		EQUAL(peer.told(), "?" + range(FIRST, 1));
	});
	tap::test("in the middle of a connection there may be more in front", [&] {
		Peer peer{f, port++, 0xffffffff - size};
		peer.is_left_out(UNWANTED);
		peer.is_left_out(UNWANTED);
		peer.passes(WANTED);
		EQUAL(peer.told(), "?" + range(0xffffffff - size, 2));
	});
	tap::test("a new connection with the same addresses, and another watch of the port, know nothing of what was before", [&] {
		Peer peer{f, port++};
		peer.is_left_out(UNWANTED);
		peer.next = 5000;
		peer.passes("", TCP_SYN);
		EQUAL(peer.told(), "?");
		peer.is_left_out(UNWANTED);
		EQUAL(f.filter.remove_port(PROTOCOL_TCP, 80), 0);
		EQUAL(f.filter.set_port({PROTOCOL_TCP, 80, wants(" /orders")}), 0);
		peer.next += 100;
		peer.is_left_out(UNWANTED);
		uint32_t from = peer.next - size;
		peer.passes(WANTED);
		EQUAL(peer.told(), "?" + range(from, 1));
	});
	tap::test("when the filter goes what it has left out is told, and requests are known in order when it is back", [&] {
		Peer peer{f, port++};
		peer.passes("", TCP_SYN);
		peer.is_left_out(UNWANTED);
		EQUAL(f.filter.set_port({PROTOCOL_TCP, 80, {}}), 0);
		peer.passes(UNWANTED);
		EQUAL(peer.told(), range(FIRST + 1, 1));
		peer.passes(UNWANTED);
		EQUAL(peer.told(), "");
		EQUAL(f.filter.set_port({PROTOCOL_TCP, 80, wants(" /orders")}), 0);
		peer.is_left_out(UNWANTED);
		EQUAL(f.filter.set_port({PROTOCOL_TCP, 80, wants(" /health")}), 0);
		peer.passes(UNWANTED);
		EQUAL(peer.told(), range(FIRST + 1 + 3 * size, 1));
		peer.is_left_out(WANTED);
		EQUAL(f.filter.set_port({PROTOCOL_TCP, 80, wants(" /orders")}), 0);
	});
	tap::test("a muted connection that begins a request again is a new one", [&] {
		Peer peer{f, port++};
		peer.passes("", TCP_SYN);
		peer.is_left_out(UNWANTED);
		f.filter.mute(key_of(peer.at(0, "")));
		EQUAL(f.pass(peer.says("payload")), size_t{0});
		peer.is_left_out(UNWANTED);
		uint32_t from = peer.next - size;
		peer.passes(WANTED);
		EQUAL(peer.told(), "?" + range(from, 1));
	});
	tap::test("a record that finds no room tells nothing, and the next packet passes, so that it is missed", [&] {
		Peer peer{f, port++}, other{f, port++};
		uint64_t before = f.filter.tap.filter.counters().prefiltered_packets;
		peer.passes("", TCP_SYN);
		peer.is_left_out(UNWANTED);
		f.filter.tap.fill();
		peer.is_lost(WANTED);
		peer.is_lost(UNWANTED);
		other.is_left_out(UNWANTED);
		EQUAL(f.filter.tap.filter.counters().prefiltered_packets - before, uint64_t{2});
		f.filter.tap.empty();
		EQUAL(f.pass(peer.says(UNWANTED)), size_t{40});
		EQUAL(peer.told(), range(FIRST + 1, 1));
		peer.is_left_out(UNWANTED);
		uint32_t from = peer.next - size;
		peer.passes(WANTED);
		EQUAL(peer.told(), range(from, 1));
	});
}

void pushed_out()
{
	tap::test("where others have pushed out what is known of a connection there may be more in front", [] {
		Filter f(wants(" /orders"));
		Peer peer{f, 40000};
		peer.passes("", TCP_SYN);
		peer.is_left_out(UNWANTED);
		Bytes packet = peer.at(FIRST, UNWANTED);
		for (uint32_t other = 0; other < CAPTURE_MAX_FLOWS + CAPTURE_MAX_FLOWS / 8; other++) {
			// The peer's address.
			memcpy(packet.data() + 12, &other, sizeof(other));
			EQUAL(f.pass_tap(packet), size_t{0});
		}
		EQUAL(f.pass_tap(peer.says(UNWANTED)), size_t{0});
		uint32_t from = peer.next - static_cast<uint32_t>(UNWANTED.size());
		EQUAL(f.pass_tap(peer.says(WANTED)), 40 + WANTED.size());
		EQUAL(peer.told(), "?[" + std::to_string(from) + "+" + std::to_string(UNWANTED.size()) + "]");
	});
}

// In a network of its own.
uint32_t make_interface()
{
	EQUAL(unshare(CLONE_NEWNET), 0);
	EQUAL(system("ip link add v0 type veth peer name v1"), 0);
	return if_nametoindex("v0");
}

} // namespace

int main()
{
	// Over loopback every packet is judged, as those of IPv6; here plain ones are known at a look first (bpf/plain.h).
	interface_of_tap = make_interface();
	judged();
	told();
	pushed_out();
	return tap::done();
}
