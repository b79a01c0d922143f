// See taps.h. The bell is a ring of Documentation/bpf/ringbuf.rst: a page with where we are, and one with where the kernel is.
#include "taps.h"

#include <bpf/bpf.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

namespace sniffer {

namespace {

// Of linux/bpf.h since Linux 6.6.
constexpr auto TCX_INGRESS = static_cast<bpf_attach_type>(46);
constexpr auto TCX_EGRESS = static_cast<bpf_attach_type>(47);
// Before whatever is there: others may take packets away.
constexpr uint32_t FIRST = 1 << 3;

// ARPHRD_NONE of linux/if_arp.h, which cannot be included beside net/if.h: tun, WireGuard.
constexpr unsigned short ARPHRD_NO_LINK = 0xfffe;

constexpr size_t NEWS_BYTES = 8192;

size_t page_bytes()
{
	return static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

uint64_t now_of(clockid_t clock)
{
	timespec time{};
	clock_gettime(clock, &time);
	return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000ull + static_cast<uint64_t>(time.tv_nsec);
}

enum class Kind { NONE, ETHERNET, BARE, STRANGE };

// NONE: it is gone, or of a kind that is not known, and down: such ones stand in every network once somebody has tunnels.
Kind kind_of(const Descriptor &any, unsigned interface)
{
	ifreq request{};
	if (if_indextoname(interface, request.ifr_name) == nullptr || ioctl(any.get(), SIOCGIFHWADDR, &request) != 0)
		return Kind::NONE;
	switch (request.ifr_hwaddr.sa_family) {
	case ARPHRD_ETHER:
	case ARPHRD_LOOPBACK:
		return Kind::ETHERNET;
	case ARPHRD_NO_LINK:
		return Kind::BARE;
	}
	if (ioctl(any.get(), SIOCGIFFLAGS, &request) != 0)
		return Kind::NONE;
	return request.ifr_flags & IFF_UP ? Kind::STRANGE : Kind::NONE;
}

Descriptor link_of(int program, unsigned interface, bpf_attach_type where, uint32_t flags)
{
	LIBBPF_OPTS(bpf_link_create_opts, options, .flags = flags);
	return Descriptor(bpf_link_create(program, static_cast<int>(interface), where, &options));
}

} // namespace

Taps::~Taps()
{
	unmap();
}

void Taps::unmap()
{
	if (state_ != nullptr)
		munmap(state_, page_bytes());
	if (memory_ != nullptr)
		munmap(memory_, TapRing::memory_bytes(programs_.ring_bytes));
	if (heard_ != nullptr)
		munmap(heard_, page_bytes());
	if (rung_ != nullptr)
		munmap(rung_, page_bytes());
	state_ = nullptr;
	memory_ = nullptr;
	heard_ = rung_ = nullptr;
}

int Taps::attach(const TapPrograms &programs)
{
	programs_ = programs;
	int error = map_all();
	if (error == 0) {
		// First the news, then what there is already.
		news_ = Descriptor(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
		sockaddr_nl address{};
		address.nl_family = AF_NETLINK;
		address.nl_groups = RTMGRP_LINK;
		if (!news_.valid() || bind(news_.get(), reinterpret_cast<sockaddr *>(&address), sizeof(address)) != 0)
			error = errno;
	}
	if (error == 0)
		error = follow();
	if (error == 0)
		return 0;
	links_.clear();
	unmap();
	return error;
}

int Taps::map_all()
{
	auto map = [](int fd, size_t bytes, int protection, size_t offset) {
		void *memory = mmap(nullptr, bytes, protection, MAP_SHARED, fd, static_cast<off_t>(offset));
		return memory == MAP_FAILED ? nullptr : memory;
	};
	size_t page = page_bytes();
	state_ = static_cast<capture_taps *>(map(programs_.state, page, PROT_READ | PROT_WRITE, 0));
	if (state_ == nullptr)
		return errno;
	memory_ = map(programs_.ring, TapRing::memory_bytes(programs_.ring_bytes), PROT_READ, 0);
	if (memory_ == nullptr)
		return errno;
	heard_ = static_cast<uint64_t *>(map(programs_.bell, page, PROT_READ | PROT_WRITE, 0));
	if (heard_ == nullptr)
		return errno;
	rung_ = static_cast<uint64_t *>(map(programs_.bell, page, PROT_READ, page));
	if (rung_ == nullptr)
		return errno;
	ring_ = TapRing(static_cast<const uint8_t *>(memory_), state_, programs_.ring_bytes, programs_.ring_secret);
	return 0;
}

int Taps::follow()
{
	uint8_t news[NEWS_BYTES];
	// What it says is asked anew; also when there was more than it could hold (ENOBUFS).
	while (recv(news_.get(), news, sizeof(news), 0) > 0 || errno == ENOBUFS) {
	}
	std::unique_ptr<struct if_nameindex, decltype(&if_freenameindex)> all(if_nameindex(), if_freenameindex);
	if (all == nullptr)
		return errno;
	std::map<unsigned, std::vector<Descriptor>> before;
	before.swap(links_);
	for (auto *at = all.get(); at->if_index != 0; at++) {
		auto known = before.find(at->if_index);
		if (known != before.end())
			links_[at->if_index] = std::move(known->second);
		else if (int error = attach_to(at->if_index))
			return error;
	}
	return 0;
}

int Taps::attach_to(unsigned interface)
{
	Kind kind = kind_of(news_, interface);
	if (kind == Kind::NONE)
		return 0;
	if (kind == Kind::STRANGE)
		return EOPNOTSUPP;
	bool is_bare = kind == Kind::BARE;
	std::vector<Descriptor> links;
	links.push_back(link_of(is_bare ? programs_.in_bare : programs_.in, interface, TCX_INGRESS, FIRST));
	if (links.back().valid())
		links.push_back(link_of(is_bare ? programs_.out_bare : programs_.out, interface, TCX_EGRESS, 0));
	if (!links.back().valid())
		return errno == ENODEV ? 0 : errno;
	links_[interface] = std::move(links);
	return 0;
}

uint64_t Taps::monotonic_offset() const
{
	uint64_t monotonic = now_of(CLOCK_MONOTONIC);
	return now_of(CLOCK_REALTIME) - monotonic;
}

bool Taps::doze()
{
	__atomic_store_n(&state_->is_dozing, 1, __ATOMIC_SEQ_CST);
	if (end() == position())
		return true;
	awake();
	return false;
}

void Taps::awake()
{
	__atomic_store_n(&state_->is_dozing, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(heard_, __atomic_load_n(rung_, __ATOMIC_ACQUIRE), __ATOMIC_RELEASE);
}

uint32_t Taps::take_losses()
{
	uint64_t all = __atomic_load_n(&state_->lost, __ATOMIC_RELAXED);
	auto losses = static_cast<uint32_t>(all - losses_);
	losses_ = all;
	return losses;
}

} // namespace sniffer
