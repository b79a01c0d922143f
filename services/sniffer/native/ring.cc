// See ring.h.
#include "ring.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <cerrno>

namespace sniffer {

Ring::~Ring()
{
	if (memory_ != nullptr)
		munmap(memory_, static_cast<size_t>(options_.block_bytes) * options_.blocks);
}

int Ring::make(const RingOptions &options, const char **step)
{
	options_ = options;
	*step = "AF_PACKET";
	// Protocol 0: nothing is received before `listen`.
	socket_ = Descriptor(::socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	if (!socket_.valid())
		return errno;
	*step = "PACKET_VERSION";
	int version = TPACKET_V3;
	if (setsockopt(socket_.get(), SOL_PACKET, PACKET_VERSION, &version, sizeof(version)) != 0)
		return errno;
	*step = "PACKET_RX_RING";
	tpacket_req3 request{};
	request.tp_block_size = options.block_bytes;
	request.tp_block_nr = options.blocks;
	request.tp_frame_size = TPACKET_ALIGNMENT << 7;
	request.tp_frame_nr = options.block_bytes / request.tp_frame_size * options.blocks;
	request.tp_retire_blk_tov = options.retire_ms;
	if (setsockopt(socket_.get(), SOL_PACKET, PACKET_RX_RING, &request, sizeof(request)) != 0)
		return errno;
	*step = "mmap";
	size_t bytes = static_cast<size_t>(options.block_bytes) * options.blocks;
	void *memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, socket_.get(), 0);
	if (memory == MAP_FAILED)
		return errno;
	memory_ = static_cast<uint8_t *>(memory);
	return 0;
}

int Ring::listen()
{
	sockaddr_ll everywhere{};
	everywhere.sll_family = AF_PACKET;
	everywhere.sll_protocol = htons(ETH_P_ALL);
	return bind(socket_.get(), reinterpret_cast<sockaddr *>(&everywhere), sizeof(everywhere)) != 0 ? errno : 0;
}

tpacket_block_desc *Ring::ready_block() const
{
	auto *block = reinterpret_cast<tpacket_block_desc *>(memory_ + static_cast<size_t>(next_) * options_.block_bytes);
	uint32_t status = __atomic_load_n(&block->hdr.bh1.block_status, __ATOMIC_ACQUIRE);
	return status & TP_STATUS_USER ? block : nullptr;
}

const uint8_t *Ring::first_packet(const tpacket_block_desc *block, uint32_t *count) const
{
	*count = block->hdr.bh1.num_pkts;
	return reinterpret_cast<const uint8_t *>(block) + block->hdr.bh1.offset_to_first_pkt;
}

const uint8_t *Ring::read_packet(const uint8_t *at, Captured *packet)
{
	auto *head = reinterpret_cast<const tpacket3_hdr *>(at);
	auto *link = reinterpret_cast<const sockaddr_ll *>(at + TPACKET_ALIGN(sizeof(tpacket3_hdr)));
	packet->data = at + head->tp_net;
	packet->captured_bytes = head->tp_snaplen;
	packet->bytes = head->tp_len;
	packet->ethertype = ntohs(link->sll_protocol);
	packet->interface = static_cast<uint32_t>(link->sll_ifindex);
	packet->is_outgoing = link->sll_pkttype == PACKET_OUTGOING;
	packet->ethertype = ethertype_of(*packet, (head->tp_status & TP_STATUS_VLAN_VALID) != 0);
	packet->has_checksum = (head->tp_status & (TP_STATUS_CSUMNOTREADY | TP_STATUS_CSUM_VALID)) == 0;
	packet->is_unfinished = (head->tp_status & TP_STATUS_CSUMNOTREADY) != 0;
	packet->time_ns = head->tp_sec * 1'000'000'000ull + head->tp_nsec;
	packets_++;
	if (packet->captured_bytes < packet->bytes)
		truncated_++;
	return at + head->tp_next_offset;
}

void Ring::release(tpacket_block_desc *block)
{
	__atomic_store_n(&block->hdr.bh1.block_status, static_cast<uint32_t>(TP_STATUS_KERNEL), __ATOMIC_RELEASE);
	next_ = (next_ + 1) % options_.blocks;
}

uint32_t Ring::take_losses()
{
	tpacket_stats_v3 statistics{};
	socklen_t bytes = sizeof(statistics);
	if (getsockopt(socket_.get(), SOL_PACKET, PACKET_STATISTICS, &statistics, &bytes) != 0)
		return 0;
	// The kernel's sum of packets holds those that it has dropped.
	accepted_ += statistics.tp_packets - statistics.tp_drops;
	return statistics.tp_drops;
}

} // namespace sniffer
