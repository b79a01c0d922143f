// The filter of a socket and the program at an interface: every packet is shown to both, which have to answer alike.
#pragma once

#include <bpf/bpf.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernel_filter.h"
#include "packets.h"
#include "tap.h"

namespace packets {

using sniffer::FlowKey;
using sniffer::KernelFilter;
using sniffer::PortRule;
using sniffer::TapRing;

constexpr size_t ETHERNET_BYTES = 14;

constexpr uint32_t RING_BYTES = 1 << 20;

// By which packets come to the program at an interface; loopback, unless somebody says another.
inline uint32_t interface_of_tap = 1;

inline FlowKey key_of(const Bytes &packet, sniffer::Direction direction = sniffer::Direction::TO_TARGET)
{
	sniffer::Segment segment;
	sniffer::Fragment fragment;
	sniffer::Captured whole = captured(packet, packet[0] >> 4 == 6 ? 0x86dd : 0x0800);
	HOLDS(parse(whole, &segment, &fragment) == sniffer::Parsed::SEGMENT);
	return FlowKey(segment, direction);
}

// The programs at interfaces, and the ring that they fill.
class Tap {
      public:
	KernelFilter filter;

	explicit Tap(uint64_t bulk_bytes_per_second) : filter(true, 7, bulk_bytes_per_second, RING_BYTES)
	{
		const sniffer::TapPrograms *taps = filter.taps();
		HOLDS(taps != nullptr);
		memory_ = map(taps->ring, MEMORY_BYTES, PROT_READ);
		state_ = map(taps->state, sizeof(capture_taps), PROT_READ | PROT_WRITE);
		ring_ = TapRing(static_cast<uint8_t *>(memory_), static_cast<capture_taps *>(state_), RING_BYTES, taps->ring_secret);
	}
	~Tap()
	{
		munmap(memory_, MEMORY_BYTES);
		munmap(state_, sizeof(capture_taps));
	}
	// What the last record told beside its packet.
	capture_record told{};

	// As by records that nobody has read yet.
	void fill() { state()->consumed -= RING_BYTES; }
	void empty() { state()->consumed += RING_BYTES; }
	// Bytes of the record that a packet has become; 0 without one.
	size_t record_of(const bpf_test_run_opts &packet)
	{
		bpf_test_run_opts run = packet;
		__sk_buff context{};
		context.ifindex = interface_of_tap;
		run.ctx_in = &context;
		run.ctx_size_in = sizeof(context);
		EQUAL(bpf_prog_test_run_opts(filter.taps()->in, &run), 0);
		EQUAL(static_cast<int>(run.retval), -1);
		const capture_record *record = ring_.next();
		if (record == nullptr)
			return 0;
		EQUAL(size_t{record->bytes}, packet.data_size_in - ETHERNET_BYTES);
		EQUAL(record->captured, std::min(record->bytes, record->captured));
		EQUAL(memcmp(record + 1, static_cast<const uint8_t *>(packet.data_in) + ETHERNET_BYTES, record->captured), 0);
		ring_.release();
		told = *record;
		return record->captured;
	}

      private:
	static constexpr size_t MEMORY_BYTES = TapRing::memory_bytes(RING_BYTES);

	capture_taps *state() { return static_cast<capture_taps *>(state_); }
	void *map(int fd, size_t bytes, int protection)
	{
		void *memory = mmap(nullptr, bytes, protection, MAP_SHARED, fd, 0);
		HOLDS(memory != MAP_FAILED);
		return memory;
	}

	void *memory_ = nullptr;
	void *state_ = nullptr;
	TapRing ring_;
};

// What is set is set for both, what is counted has to be the same.
class Both {
      public:
	KernelFilter socket;
	Tap tap;

	explicit Both(uint64_t bulk_bytes_per_second) : socket(true, 7, bulk_bytes_per_second), tap(bulk_bytes_per_second) {}
	int set_port(const PortRule &rule)
	{
		EQUAL(tap.filter.set_port(rule), 0);
		return socket.set_port(rule);
	}
	int remove_port(uint8_t protocol, uint16_t port)
	{
		EQUAL(tap.filter.remove_port(protocol, port), 0);
		return socket.remove_port(protocol, port);
	}
	int want_acknowledgements(bool wanted)
	{
		EQUAL(tap.filter.want_acknowledgements(wanted), 0);
		return socket.want_acknowledgements(wanted);
	}
	void mute(const FlowKey &key)
	{
		tap.filter.mute(key);
		socket.mute(key);
	}
	void unmute(const FlowKey &key)
	{
		tap.filter.unmute(key);
		socket.unmute(key);
	}
	capture_counters counters() const
	{
		capture_counters sum = socket.counters(), of_tap = tap.filter.counters();
		if (sum.prefiltered_packets > 0) {
			sum.passed_packets = of_tap.passed_packets;
			sum.passed_bytes = of_tap.passed_bytes;
		}
		EQUAL(memcmp(&sum, &of_tap, sizeof(sum)), 0);
		return sum;
	}
	int slot_of(uint8_t protocol, uint16_t port) const { return socket.slot_of(protocol, port); }
	capture_counters counters_of(unsigned slot) const { return socket.counters_of(slot); }
};

class Filter {
      public:
	Both filter;

	explicit Filter(capture_rule rule = {}, uint64_t bulk_bytes_per_second = 0) : filter(bulk_bytes_per_second)
	{
		EQUAL(filter.socket.refusal(), "");
		EQUAL(filter.set_port({sniffer::PROTOCOL_TCP, 80, rule}), 0);
	}
	// Bytes that pass; 0 for none.
	size_t pass(const Bytes &packet) { return pass(packet, packet[0] >> 4 == 6 ? 0x86dd : 0x0800); }
	size_t pass(const Bytes &packet, uint16_t ethertype)
	{
		auto [at_socket, at_tap] = pass_each(packet, ethertype);
		EQUAL(at_tap, at_socket);
		return at_socket;
	}
	// At a socket, whose packets have no place for it, what nobody wants passes with its headers; at an interface nothing of it.
	size_t leave_out(const Bytes &packet) { return leave_out(packet, packet[0] >> 4 == 6 ? 0x86dd : 0x0800); }
	size_t leave_out(const Bytes &packet, uint16_t ethertype)
	{
		auto [at_socket, at_tap] = pass_each(packet, ethertype);
		EQUAL(at_tap, size_t{0});
		return at_socket;
	}

	// At the socket and at the interface.
	std::pair<size_t, size_t> pass_each(const Bytes &packet) { return pass_each(packet, packet[0] >> 4 == 6 ? 0x86dd : 0x0800); }
	std::pair<size_t, size_t> pass_each(const Bytes &packet, uint16_t ethertype)
	{
		return pass_each(packet, ethertype, true);
	}
	// At the interface alone: half of the time.
	size_t pass_tap(const Bytes &packet) { return pass_each(packet, 0x0800, false).second; }

      private:
	std::pair<size_t, size_t> pass_each(const Bytes &packet, uint16_t ethertype, bool wants_socket)
	{
		Bytes frame(ETHERNET_BYTES - 2, 0);
		put16(&frame, ethertype);
		frame = frame + packet;
		LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame.data(),
			    .data_size_in = static_cast<uint32_t>(frame.size()), .repeat = 1);
		size_t bytes_at_tap = filter.tap.record_of(run);
		if (!wants_socket)
			return {0, bytes_at_tap};
		EQUAL(bpf_prog_test_run_opts(filter.socket.program(), &run), 0);
		size_t bytes = run.retval == 0xffffffff ? packet.size() : run.retval;
		return {bytes, bytes_at_tap};
	}
};

} // namespace packets
