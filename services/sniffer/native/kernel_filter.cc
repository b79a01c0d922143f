// See kernel_filter.h. The program is part of this file: there is no second one to be found at run time.
#include "kernel_filter.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/filter.h>
#include <sys/socket.h>

#include <cerrno>
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

capture_port key_of(uint8_t protocol, uint16_t port)
{
	capture_port key{};
	key.port = port;
	key.protocol = protocol;
	return key;
}

int result_of(int code)
{
	return code < 0 ? (code == -1 && errno != 0 ? errno : -code) : 0;
}

} // namespace

KernelFilter::KernelFilter(bool wants_ebpf, uint32_t sample_seed) : sample_seed_(sample_seed)
{
	if (wants_ebpf)
		load();
	else
		refusal_ = "not wanted";
}

KernelFilter::~KernelFilter()
{
	if (object_ != nullptr)
		bpf_object__close(object_);
}

int KernelFilter::map_of(const char *name) const
{
	return bpf_object__find_map_fd_by_name(object_, name);
}

void KernelFilter::load()
{
	libbpf_set_print(nullptr);
	auto bytes = static_cast<size_t>(mirrord_capture_program_end - mirrord_capture_program);
	object_ = bpf_object__open_mem(mirrord_capture_program, bytes, nullptr);
	if (object_ == nullptr) {
		refusal_ = std::string("the program cannot be read: ") + strerror(errno);
		return;
	}
	int error = bpf_object__load(object_);
	if (error == 0) {
		program_ = bpf_program__fd(bpf_object__find_program_by_name(object_, "capture"));
		ports_ = map_of("ports");
		settings_ = map_of("settings");
		counters_ = map_of("counters");
		error = write_settings(false);
	}
	if (error == 0)
		return;
	refusal_ = std::string("bpf(2): ") + strerror(error < 0 ? -error : error);
	bpf_object__close(object_);
	object_ = nullptr;
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
		return result_of(bpf_map_update_elem(ports_, &key, &rule.rule, BPF_ANY));
	}
	rules_[{rule.protocol, rule.port}] = rule.rule.flags;
	return attach_classic();
}

int KernelFilter::remove_port(uint8_t protocol, uint16_t port)
{
	if (is_ebpf()) {
		capture_port key = key_of(protocol, port);
		int error = result_of(bpf_map_delete_elem(ports_, &key));
		return error == ENOENT ? 0 : error;
	}
	rules_.erase({protocol, port});
	return attach_classic();
}

int KernelFilter::write_settings(bool wants_acknowledgements)
{
	uint32_t zero = 0;
	capture_settings settings{wants_acknowledgements ? 1u : 0u, sample_seed_};
	return result_of(bpf_map_update_elem(settings_, &zero, &settings, BPF_ANY));
}

int KernelFilter::want_acknowledgements(bool wanted)
{
	// The classic filter always passes them.
	return is_ebpf() ? write_settings(wanted) : 0;
}

capture_counters KernelFilter::counters() const
{
	capture_counters sum{};
	if (!is_ebpf())
		return sum;
	int cpus = libbpf_num_possible_cpus();
	if (cpus <= 0)
		return sum;
	uint32_t zero = 0;
	std::vector<capture_counters> each(static_cast<size_t>(cpus));
	if (bpf_map_lookup_elem(counters_, &zero, each.data()) != 0)
		return sum;
	auto *total = reinterpret_cast<uint64_t *>(&sum);
	for (const capture_counters &one : each) {
		auto *numbers = reinterpret_cast<const uint64_t *>(&one);
		for (size_t at = 0; at < sizeof(sum) / sizeof(uint64_t); at++)
			total[at] += numbers[at];
	}
	return sum;
}

} // namespace sniffer
