// Fragments of IPv4 and IPv6, put together as the target's kernel does it: the same waiting times, one that is there already is
// left out, one that overlaps ends its datagram (RFC 5722, and Linux for IPv4 too). Knows neither sockets nor threads.
//
// What never becomes whole reaches the target as little as us, so it is no loss of the copy. What the limits take away is.
//
// Limits: FragmentLimits, with what keeping costs counted; the oldest datagram makes room, of the same two hosts first. Those that
// have become whole are remembered for a moment, without their bytes: a second interface, or a network that doubles packets, shows
// their fragments again.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "flow_key.h"

namespace sniffer {

struct FragmentLimits {
	size_t most_bytes = 4 * 1024 * 1024;
	size_t most_bytes_of_pair = 1024 * 1024; // of hosts
	size_t most_datagrams = 1'024;		 // that wait; and as many that are whole
	uint64_t ipv4_ms = 30'000;
	uint64_t ipv6_ms = 60'000;
	uint64_t whole_ms = 1'000;
};

struct FragmentCounters {
	uint64_t fragments = 0;
	uint64_t datagrams = 0; // that became whole
	uint64_t again = 0;	// fragments that were there already
	uint64_t overlapping = 0;
	uint64_t incomplete = 0; // their time was over
	uint64_t lost = 0;	 // fragments, to the limits
};

class Fragments {
      public:
	Fragments(FragmentLimits limits, uint64_t secret);

	// What it makes whole, until the next call; else nullptr.
	const Fragment *add(const Fragment &fragment, uint64_t now_ms);
	void tick(uint64_t now_ms);

	size_t held_bytes() const { return held_bytes_; }
	size_t waiting() const { return waiting_[0].size() + waiting_[1].size(); }
	const FragmentCounters &counters() const { return counters_; }

      private:
	struct Piece {
		uint32_t bytes;
		uint64_t hash;
		std::unique_ptr<uint8_t[]> data; // none of a datagram that was whole
	};
	struct Datagram {
		FlowKey key;
		FlowKey pair;
		uint64_t started_ms = 0;
		uint64_t until_ms = 0;
		bool is_whole = false;
		bool has_end = false;
		uint32_t end = 0; // the furthest that is known
		uint32_t bytes = 0;
		size_t held_bytes = 0;
		Fragment head; // the circumstances of the one that came first, and the protocol of the first in order
		std::map<uint32_t, Piece> pieces;
		std::list<Datagram *> *list = nullptr;
		std::list<Datagram *>::iterator place;
	};
	enum class Fit { NEW, AGAIN, OVERLAP };

	static Fit fit(const Datagram &datagram, const Fragment &fragment);
	uint64_t hash_of(const Fragment &fragment) const;
	bool is_again(const Datagram &whole, const Fragment &fragment) const;
	Datagram *begin(const Fragment &fragment, const FlowKey &key, uint64_t now_ms);
	bool make_room(Datagram *datagram, const FlowKey &pair, size_t bytes);
	bool drop_oldest(const Datagram *but, const FlowKey *pair);
	void hold(Datagram &datagram, size_t bytes);
	const Fragment *complete(Datagram &datagram, uint64_t now_ms);
	// Without its bytes, for what comes again.
	void remember(Datagram &datagram, uint64_t now_ms);
	void forget_bytes(Datagram &datagram);
	void remove(Datagram &datagram);

	const FragmentLimits limits_;
	const FlowKeyHash hash_;
	FragmentCounters counters_;
	size_t held_bytes_ = 0;
	std::unordered_map<FlowKey, std::unique_ptr<Datagram>, FlowKeyHash> datagrams_;
	std::unordered_map<FlowKey, size_t, FlowKeyHash> pairs_; // bytes of those that wait
	// In the order of their beginnings: IPv4, IPv6; and those that were whole, in the order of their ends.
	std::list<Datagram *> waiting_[2];
	std::list<Datagram *> whole_;
	Fragment result_;
	std::vector<uint8_t> result_bytes_;
};

} // namespace sniffer
