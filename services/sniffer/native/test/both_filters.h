// The filter of a socket and the program at an interface: every packet is shown to both, which have to answer alike.
#pragma once

#include <bpf/bpf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "kernel_filter.h"
#include "packets.h"
#include "tap.h"

namespace packets {

using sniffer::FlowKey;
using sniffer::KernelFilter;
using sniffer::PortRule;

constexpr size_t ETHERNET_BYTES = 14;

constexpr uint32_t RING_BYTES = 1 << 20;

// The programs at interfaces, and the ring that they fill.
class Tap {
      public:
	KernelFilter filter;

	explicit Tap(uint64_t bulk_bytes_per_second) : filter(true, 7, bulk_bytes_per_second, RING_BYTES)
	{
		HOLDS(filter.taps() != nullptr);
		consumed_ = static_cast<uint64_t *>(map(page_, PROT_READ | PROT_WRITE, 0));
		produced_ = static_cast<uint64_t *>(map(page_ + 2 * RING_BYTES, PROT_READ, page_));
	}
	~Tap()
	{
		munmap(consumed_, page_);
		munmap(produced_, page_ + 2 * RING_BYTES);
	}
	// Bytes of the record that a packet has become; 0 without one.
	size_t record_of(const bpf_test_run_opts &packet)
	{
		bpf_test_run_opts run = packet;
		EQUAL(bpf_prog_test_run_opts(filter.taps()->in, &run), 0);
		EQUAL(static_cast<int>(run.retval), -1);
		if (*produced_ == *consumed_)
			return 0;
		capture_record record;
		const uint8_t *records = reinterpret_cast<const uint8_t *>(produced_) + page_;
		memcpy(&record, records + *consumed_ % RING_BYTES + BPF_RINGBUF_HDR_SZ, sizeof(record));
		EQUAL(size_t{record.bytes}, packet.data_size_in - ETHERNET_BYTES);
		*consumed_ = *produced_;
		return record.captured;
	}

      private:
	void *map(size_t bytes, int protection, size_t offset)
	{
		void *memory = mmap(nullptr, bytes, protection, MAP_SHARED, filter.taps()->ring, static_cast<off_t>(offset));
		HOLDS(memory != MAP_FAILED);
		return memory;
	}

	const size_t page_ = static_cast<size_t>(sysconf(_SC_PAGESIZE));
	uint64_t *consumed_ = nullptr;
	uint64_t *produced_ = nullptr;
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
		Bytes frame(ETHERNET_BYTES - 2, 0);
		put16(&frame, ethertype);
		frame = frame + packet;
		LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame.data(),
			    .data_size_in = static_cast<uint32_t>(frame.size()), .repeat = 1);
		size_t bytes_at_tap = filter.tap.record_of(run);
		EQUAL(bpf_prog_test_run_opts(filter.socket.program(), &run), 0);
		size_t bytes = run.retval == 0xffffffff ? packet.size() : run.retval;
		EQUAL(bytes_at_tap, bytes);
		return bytes;
	}
};

} // namespace packets
