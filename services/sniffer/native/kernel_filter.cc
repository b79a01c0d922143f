// See kernel_filter.h. The program is part of this file: there is no second one to be found at run time.
#include "kernel_filter.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/filter.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

extern "C" const unsigned char mirrord_capture_program[];
extern "C" const unsigned char mirrord_capture_program_end[];

asm(".section .rodata\n"
    ".balign 8\n"
    ".hidden mirrord_capture_program\n"
    ".global mirrord_capture_program\n"
    "mirrord_capture_program:\n"
    ".incbin \"" CAPTURE_PROGRAM "\"\n"
    ".hidden mirrord_capture_program_end\n"
    ".global mirrord_capture_program_end\n"
    "mirrord_capture_program_end:\n"
    ".byte 0\n"
    ".previous\n");

namespace sniffer {

namespace {

constexpr const char *SOCKET_PROGRAM = "capture";
constexpr const char *TAP_PROGRAMS[] = {"tap_in", "tap_out", "tap_in_bare", "tap_out_bare"};
constexpr const char *TAP_MAPS[] = {"tapped", "taps", "bell"};
// Of the constants of the object.
constexpr const char *CONSTANTS = ".rodata";
#if defined(__x86_64__)
constexpr uint32_t KEEPS_ORDER = 1;
#else
constexpr uint32_t KEEPS_ORDER = 0;
#endif

capture_port key_of(uint8_t protocol, uint16_t port)
{
	capture_port key{};
	key.port = port;
	key.protocol = protocol;
	return key;
}

capture_flow key_of(const FlowKey &flow)
{
	capture_flow key{};
	memcpy(key.local, flow.local, sizeof(key.local));
	memcpy(key.peer, flow.peer, sizeof(key.peer));
	key.local_port = flow.local_port;
	key.peer_port = flow.peer_port;
	key.protocol = flow.protocol;
	return key;
}

// What every packet needs to know of a rule.
uint8_t watched_by(const capture_rule &rule)
{
	bool is_plain = rule.sample_per_million == 0 && rule.connection_bytes == 0 &&
			(rule.flags & (CAPTURE_RATE | CAPTURE_PREFILTER | CAPTURE_TELLS_LEFT)) == 0;
	unsigned answers = rule.flags & CAPTURE_ANSWERS ? CAPTURE_WATCHED_ANSWERS : 0;
	return static_cast<uint8_t>(CAPTURE_WATCHED | answers | (is_plain ? 0 : CAPTURE_WATCHED_RULE));
}

int result_of(int code)
{
	return code < 0 ? (code == -1 && errno != 0 ? errno : -code) : 0;
}

} // namespace

KernelFilter::KernelFilter(bool wants_ebpf, uint32_t sample_seed, uint64_t bulk_bytes_per_second, uint32_t tap_ring_bytes)
    : sample_seed_(sample_seed)
{
	set_.bulk_bytes_per_second = bulk_bytes_per_second;
	if (!wants_ebpf)
		refusal_ = "not wanted";
	else
		load_best(tap_ring_bytes);
}

KernelFilter::~KernelFilter()
{
	close();
}

void KernelFilter::close()
{
	if (watched_ != nullptr)
		munmap(watched_, sizeof(*watched_));
	watched_ = nullptr;
	if (object_ != nullptr)
		bpf_object__close(object_);
	object_ = nullptr;
	taps_ = {};
}

int KernelFilter::map_of(const char *name) const
{
	return bpf_object__find_map_fd_by_name(object_, name);
}

// Taps ask for a newer kernel, and for more capabilities.
void KernelFilter::load_best(uint32_t tap_ring_bytes)
{
	int error = tap_ring_bytes > 0 ? load(tap_ring_bytes) : -EOPNOTSUPP;
	if (error != 0) {
		close();
		error = load(0);
	}
	if (error == 0)
		return;
	refusal_ = (object_ == nullptr ? "the program cannot be read: " : "bpf(2): ") + std::string(strerror(std::abs(error)));
	close();
}

void KernelFilter::leave_taps()
{
	close();
	load_best(0);
}

// 0 or a negative errno.
int KernelFilter::load(uint32_t tap_ring_bytes)
{
	libbpf_set_print(nullptr);
	auto bytes = static_cast<size_t>(mirrord_capture_program_end - mirrord_capture_program);
	object_ = bpf_object__open_mem(mirrord_capture_program, bytes, nullptr);
	if (object_ == nullptr)
		return -errno;
	// One or the other: what is not used would be verified all the same, which takes a third of a second.
	bpf_program__set_autoload(bpf_object__find_program_by_name(object_, SOCKET_PROGRAM), tap_ring_bytes == 0);
	for (const char *name : TAP_PROGRAMS)
		bpf_program__set_autoload(bpf_object__find_program_by_name(object_, name), tap_ring_bytes > 0);
	for (const char *name : TAP_MAPS)
		bpf_map__set_autocreate(bpf_object__find_map_by_name(object_, name), tap_ring_bytes > 0);
	if (int error = tap_ring_bytes > 0 ? shape_ring(tap_ring_bytes) : 0)
		return error;
	if (int error = bpf_object__load(object_))
		return error;
	auto program_of = [this](const char *name) {
		return bpf_program__fd(bpf_object__find_program_by_name(object_, name));
	};
	program_ = tap_ring_bytes == 0 ? program_of(SOCKET_PROGRAM) : -1;
	ports_ = map_of("ports");
	settings_ = map_of("settings");
	counters_ = map_of("counters");
	muted_ = map_of("muted");
	if (tap_ring_bytes > 0) {
		taps_ = {program_of("tap_in"), program_of("tap_out"), program_of("tap_in_bare"), program_of("tap_out_bare"),
			 map_of("tapped"), map_of("taps"), map_of("bell"), tap_ring_bytes, secret_};
	}
	capture_settings set = set_;
	set.hash_seed = sample_seed_;
	if (int error = write_settings(set))
		return -error;
	void *memory = mmap(nullptr, sizeof(*watched_), PROT_READ | PROT_WRITE, MAP_SHARED, map_of("watched"), 0);
	if (memory == MAP_FAILED)
		return -errno;
	watched_ = static_cast<capture_watched *>(memory);
	return 0;
}

int KernelFilter::shape_ring(uint32_t ring_bytes)
{
	capture_constants constants{};
	constants.ring_bytes = ring_bytes;
	if (getrandom(&secret_, sizeof(secret_), 0) != sizeof(secret_))
		return -errno;
	constants.ring_secret = secret_;
	constants.keeps_order = KEEPS_ORDER;
	bpf_map *map = nullptr;
	bpf_object__for_each_map(map, object_) {
		if (strstr(bpf_map__name(map), CONSTANTS) != nullptr)
			break;
	}
	if (map == nullptr)
		return -ENOENT;
	if (int error = bpf_map__set_initial_value(map, &constants, sizeof(constants)))
		return error;
	auto bytes = static_cast<uint32_t>(TapRing::memory_bytes(ring_bytes));
	return bpf_map__set_value_size(bpf_object__find_map_by_name(object_, "tapped"), bytes);
}

int KernelFilter::attach(int socket)
{
	socket_ = socket;
	if (!is_ebpf())
		return attach_classic();
	return setsockopt(socket, SOL_SOCKET, SO_ATTACH_BPF, &program_, sizeof(program_)) != 0 ? errno : 0;
}

int KernelFilter::attach_classic()
{
	std::vector<ClassicInstruction> code = classic_program(rules_);
	static_assert(sizeof(ClassicInstruction) == sizeof(sock_filter), "the same layout");
	sock_fprog program{static_cast<unsigned short>(code.size()), reinterpret_cast<sock_filter *>(code.data())};
	return setsockopt(socket_, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) != 0 ? errno : 0;
}

int KernelFilter::set_port(const PortRule &rule)
{
	if (is_ebpf()) {
		capture_port key = key_of(rule.protocol, rule.port);
		capture_rule full = in_its_watch(rule);
		int error = result_of(bpf_map_update_elem(ports_, &key, &full, BPF_ANY));
		// Last: it leads to the rule.
		if (error != 0)
			return error;
		rules_[{rule.protocol, rule.port}] = full.flags;
		if ((error = renew_settings(set_.wants_acknowledgements)) != 0)
			return error;
		unsigned slot = take_slot(rule.protocol, rule.port);
		if ((error = place_rule(slot, full)) != 0)
			return error;
		watch(rule.protocol, rule.port,
		      static_cast<uint8_t>(watched_by(full) | slot << CAPTURE_SLOT_SHIFT));
		return 0;
	}
	rules_[{rule.protocol, rule.port}] = rule.rule.flags;
	return attach_classic();
}

// What connections are known by counts as long as the port is watched, under one rule or another.
capture_rule KernelFilter::in_its_watch(const PortRule &rule)
{
	capture_rule full = rule.rule;
	auto before = rules_.find({rule.protocol, rule.port});
	uint32_t &generation = generations_[{rule.protocol, rule.port}];
	if (before == rules_.end())
		generation = ++last_generation_;
	else if (before->second & (CAPTURE_PREFILTER | CAPTURE_TELLS_LEFT))
		full.flags |= CAPTURE_TELLS_LEFT;
	full.generation = generation;
	return full;
}

// As bpf/plain.h reads it.
int KernelFilter::place_rule(unsigned slot, const capture_rule &rule)
{
	uint32_t place = places_[slot] = 2 * slot + (places_[slot] + 1) % 2;
	int error = result_of(bpf_map_update_elem(map_of("rules"), &place, &rule, BPF_ANY));
	return error != 0 ? error : result_of(bpf_map_update_elem(map_of("rule_places"), &slot, &place, BPF_ANY));
}

int KernelFilter::remove_port(uint8_t protocol, uint16_t port)
{
	rules_.erase({protocol, port});
	generations_.erase({protocol, port});
	if (!is_ebpf())
		return attach_classic();
	capture_port key = key_of(protocol, port);
	int slot = slot_of(protocol, port);
	watch(protocol, port, 0);
	if (slot > 0)
		slots_[slot] = {};
	renew_settings(set_.wants_acknowledgements);
	int error = result_of(bpf_map_delete_elem(ports_, &key));
	return error == ENOENT ? 0 : error;
}

void KernelFilter::watch(uint8_t protocol, uint16_t port, uint8_t how)
{
	uint8_t *ports = protocol == PROTOCOL_UDP ? watched_->udp : watched_->tcp;
	__atomic_store_n(&ports[port], how, __ATOMIC_RELEASE);
}

// What all rules together ask for.
int KernelFilter::renew_settings(bool wants_acknowledgements)
{
	capture_settings set = set_;
	set.wants_acknowledgements = wants_acknowledgements;
	set.fragments = 0;
	set.wants_ends_alone = !wants_acknowledgements;
	for (const auto &rule : rules_) {
		set.fragments |= rule.first.first == PROTOCOL_UDP ? CAPTURE_FRAGMENTS_UDP : CAPTURE_FRAGMENTS_TCP;
		set.wants_ends_alone &= (rule.second & CAPTURE_ANSWERS) == 0;
	}
	return memcmp(&set, &set_, sizeof(set)) == 0 ? 0 : write_settings(set);
}

int KernelFilter::slot_of(uint8_t protocol, uint16_t port) const
{
	if (watched_ == nullptr)
		return -1;
	uint8_t how = (protocol == PROTOCOL_UDP ? watched_->udp : watched_->tcp)[port];
	return how == 0 ? -1 : how >> CAPTURE_SLOT_SHIFT;
}

unsigned KernelFilter::take_slot(uint8_t protocol, uint16_t port)
{
	int own = slot_of(protocol, port);
	if (own >= 0)
		return static_cast<unsigned>(own);
	for (unsigned slot = 1; slot < CAPTURE_SLOTS; slot++) {
		if (slots_[slot].port != 0)
			continue;
		slots_[slot] = key_of(protocol, port);
		return slot;
	}
	return 0;
}

int KernelFilter::write_settings(const capture_settings &set)
{
	uint32_t zero = 0;
	int error = result_of(bpf_map_update_elem(settings_, &zero, &set, BPF_ANY));
	if (error == 0)
		set_ = set;
	return error;
}

int KernelFilter::want_acknowledgements(bool wanted)
{
	// The classic filter always passes them.
	return is_ebpf() ? renew_settings(wanted) : 0;
}

// Where this fails, packets come that nobody takes: the tracker leaves them out.
void KernelFilter::mute(const FlowKey &key)
{
	if (!is_ebpf())
		return;
	capture_flow flow = key_of(key);
	uint8_t one = 1;
	if (bpf_map_update_elem(muted_, &flow, &one, BPF_ANY) != 0 || set_.has_muted)
		return;
	capture_settings set = set_;
	set.has_muted = 1;
	write_settings(set);
}

void KernelFilter::unmute(const FlowKey &key)
{
	if (!is_ebpf())
		return;
	capture_flow flow = key_of(key);
	bpf_map_delete_elem(muted_, &flow);
}

// Of nothing but numbers of that type.
void KernelFilter::add(const capture_counters &one, capture_counters *sum)
{
	auto *total = reinterpret_cast<__u64 *>(sum);
	auto *numbers = reinterpret_cast<const __u64 *>(&one);
	for (size_t at = 0; at < sizeof(one) / sizeof(__u64); at++)
		total[at] += numbers[at];
}

capture_counters KernelFilter::counters() const
{
	capture_counters sum{};
	for (unsigned slot = 0; is_ebpf() && slot < CAPTURE_SLOTS; slot++)
		add(counters_of(slot), &sum);
	return sum;
}

capture_counters KernelFilter::counters_of(unsigned slot) const
{
	capture_counters sum{};
	if (!is_ebpf())
		return sum;
	int cpus = libbpf_num_possible_cpus();
	if (cpus <= 0)
		return sum;
	uint32_t key = slot;
	std::vector<capture_counters> each(static_cast<size_t>(cpus));
	if (bpf_map_lookup_elem(counters_, &key, each.data()) != 0)
		return sum;
	for (const capture_counters &one : each)
		add(one, &sum);
	return sum;
}

} // namespace sniffer
