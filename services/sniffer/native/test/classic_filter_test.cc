// The classic program in the kernel that will run it: attached to a socket pair, packets are sent through it.
#include <linux/filter.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kernel_filter.h"
#include "packets.h"
#include "tap.h"

using namespace sniffer;
using namespace packets;

namespace {

using Rules = std::map<std::pair<uint8_t, uint16_t>, uint32_t>;

class Filter {
      public:
	explicit Filter(const Rules &rules)
	{
		std::vector<ClassicInstruction> code = classic_program(rules);
		sock_fprog program{static_cast<unsigned short>(code.size()), reinterpret_cast<sock_filter *>(code.data())};
		HOLDS(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends_) == 0);
		EQUAL(setsockopt(ends_[1], SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)), 0);
	}
	~Filter()
	{
		close(ends_[0]);
		close(ends_[1]);
	}
	// Bytes that pass; 0 for none.
	size_t pass(const Bytes &packet)
	{
		EQUAL(send(ends_[0], packet.data(), packet.size(), 0), static_cast<ssize_t>(packet.size()));
		char buffer[4096];
		ssize_t got = recv(ends_[1], buffer, sizeof(buffer), 0);
		return got < 0 ? 0 : static_cast<size_t>(got);
	}

      private:
	int ends_[2] = {-1, -1};
};

Bytes between(uint16_t from, uint16_t to, bool is_version6 = false)
{
	Tcp of;
	of.from = from;
	of.to = to;
	of.payload = std::string(1000, 'x');
	return is_version6 ? ipv6(tcp(of)) : ipv4(tcp(of));
}

} // namespace

int main()
{
	tap::test("without ports nothing passes", [] {
		Filter filter({});
		EQUAL(filter.pass(between(40000, 80)), size_t{0});
	});
	tap::test("packets to a watched port pass whole, those from it with their headers, in both families", [] {
		Filter filter({{{PROTOCOL_TCP, 80}, 0}, {{PROTOCOL_TCP, 8080}, 0}});
		for (bool is_version6 : {false, true}) {
			size_t whole = between(1, 2, is_version6).size();
			EQUAL(filter.pass(between(40000, 80, is_version6)), whole);
			EQUAL(filter.pass(between(40000, 8080, is_version6)), whole);
			EQUAL(filter.pass(between(80, 40000, is_version6)), size_t{256});
			EQUAL(filter.pass(between(40000, 81, is_version6)), size_t{0});
			EQUAL(filter.pass(between(81, 40000, is_version6)), size_t{0});
		}
	});
	tap::test("answers pass whole where they are wanted", [] {
		Filter filter({{{PROTOCOL_TCP, 80}, CAPTURE_ANSWERS}});
		EQUAL(filter.pass(between(80, 40000)), size_t{1040});
		EQUAL(filter.pass(between(80, 40000, true)), size_t{1060});
	});
	tap::test("IPv4 options, extension headers, datagrams, fragments", [] {
		Filter filter({{{PROTOCOL_TCP, 80}, 0}, {{PROTOCOL_UDP, 53}, 0}});
		Tcp of;
		Bytes options = ipv4(tcp(of), PROTOCOL_TCP, 0, 8);
		EQUAL(filter.pass(options), options.size());
		Bytes extended = ipv6(tcp(of), 60, Bytes{6, 0, 0, 0, 0, 0, 0, 0});
		EQUAL(filter.pass(extended), extended.size());
		Bytes authenticated = ipv6(tcp(of), 51, Bytes{6, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});
		EQUAL(filter.pass(authenticated), authenticated.size());
		Bytes datagram = ipv4(udp(4000, 53, "question"), PROTOCOL_UDP);
		EQUAL(filter.pass(datagram), datagram.size());
		Bytes fragment = ipv4(udp(4000, 54, std::string(900, 'x')), PROTOCOL_UDP, 100);
		EQUAL(filter.pass(fragment), fragment.size());
		Bytes first = ipv4(udp(4000, 54, std::string(900, 'x')), PROTOCOL_UDP, 0x2000);
		EQUAL(filter.pass(first), first.size());
		Bytes fragment6 = ipv6(Bytes(900, 0), 44, Bytes{17, 0, 1, 0, 0, 0, 0, 1});
		EQUAL(filter.pass(fragment6), fragment6.size());
		EQUAL(filter.pass(ipv4(Bytes(30, 0), 1)), size_t{0});
	});
	tap::test("as many ports as jumps can reach, and more", [] {
		for (uint16_t count : {100, 101, 1000}) {
			Rules rules;
			for (uint16_t port = 0; port < count; port++)
				rules[{PROTOCOL_TCP, static_cast<uint16_t>(1000 + port)}] = 0;
			Filter filter(rules);
			for (bool is_version6 : {false, true}) {
				HOLDS(filter.pass(between(40000, 1000, is_version6)) > 1000);
				HOLDS(filter.pass(between(40000, static_cast<uint16_t>(1000 + count - 1), is_version6)) > 1000);
				HOLDS(filter.pass(between(1000, 40000, is_version6)) >= 256);
			}
		}
	});
	return tap::done();
}
