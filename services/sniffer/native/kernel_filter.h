// What the kernel leaves out of the ring: the eBPF program of bpf/capture.bpf.c where bpf(2) is allowed, a classic filter of
// ports where it is not. Both pass everything that belongs to a watched port; the classic one also passes what is of no use.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "../../../bpf/capture.h"
#include "flow_key.h"
#include "taps.h"

struct bpf_object;

namespace sniffer {

struct PortRule {
	uint8_t protocol = 0;
	uint16_t port = 0;
	capture_rule rule{};
};

class KernelFilter {
      public:
	// The classic filter is used when `wants_ebpf` is false or the kernel refuses; `refusal` then says why.
	// `bulk_bytes_per_second`: 0 for all; the classic filter always passes all.
	// `tap_ring_bytes`: 0 for no taps.
	explicit KernelFilter(bool wants_ebpf, uint32_t sample_seed, uint64_t bulk_bytes_per_second = 0,
			      uint32_t tap_ring_bytes = 0);
	~KernelFilter();
	KernelFilter(const KernelFilter &) = delete;
	KernelFilter &operator=(const KernelFilter &) = delete;

	bool is_ebpf() const { return object_ != nullptr; }
	// Of the eBPF program, -1 without one.
	int program() const { return program_; }
	// Null where there are none. They are in the place of `attach`.
	const TapPrograms *taps() const { return taps_.ring < 0 ? nullptr : &taps_; }
	// They are of no use here; before the first port.
	void leave_taps();
	const std::string &refusal() const { return refusal_; }
	// All of these: 0 or an errno. `attach` comes first; nothing passes before a port is set.
	int attach(int socket);
	int set_port(const PortRule &rule);
	int remove_port(uint8_t protocol, uint16_t port);
	int want_acknowledgements(bool wanted);
	// No byte more of this connection, until it begins a request; the classic filter knows no connections.
	void mute(const FlowKey &key);
	void unmute(const FlowKey &key);
	// Of all ports.
	capture_counters counters() const;
	// Which counters are a port's, -1 where it is not watched. Slot 0 is shared.
	int slot_of(uint8_t protocol, uint16_t port) const;
	capture_counters counters_of(unsigned slot) const;

      private:
	static void add(const capture_counters &one, capture_counters *sum);
	void load_best(uint32_t tap_ring_bytes);
	int load(uint32_t tap_ring_bytes);
	int shape_ring(uint32_t ring_bytes);
	void close();
	int map_of(const char *name) const;
	int attach_classic();
	void watch(uint8_t protocol, uint16_t port, uint8_t how);
	int renew_settings(bool wants_acknowledgements);
	unsigned take_slot(uint8_t protocol, uint16_t port);
	capture_rule in_its_watch(const PortRule &rule);
	int place_rule(unsigned slot, const capture_rule &rule);
	int write_settings(const capture_settings &set);

	const uint32_t sample_seed_;
	bpf_object *object_ = nullptr;
	std::string refusal_;
	int socket_ = -1;
	int program_ = -1;
	int ports_ = -1;
	int muted_ = -1;
	int settings_ = -1;
	int counters_ = -1;
	TapPrograms taps_;
	uint64_t secret_ = 0; // of their ring
	capture_watched *watched_ = nullptr; // shared with the kernel
	capture_settings set_{};
	capture_port slots_[CAPTURE_SLOTS] = {}; // port 0: free
	uint32_t places_[CAPTURE_SLOTS] = {};	 // of their rules
	// For the classic filter, which knows no map, and for which protocols fragments pass. Set from one thread and the
	// capture's own.
	std::map<std::pair<uint8_t, uint16_t>, uint32_t> rules_;
	// Each watch of a port has its own.
	std::map<std::pair<uint8_t, uint16_t>, uint32_t> generations_;
	uint32_t last_generation_ = 0;
};

// The classic program for these ports and flags of capture_rule; of too many it passes all TCP and UDP.
struct ClassicInstruction {
	uint16_t code;
	uint8_t if_true;
	uint8_t if_false;
	uint32_t operand;
};
std::vector<ClassicInstruction> classic_program(const std::map<std::pair<uint8_t, uint16_t>, uint32_t> &rules);

} // namespace sniffer
