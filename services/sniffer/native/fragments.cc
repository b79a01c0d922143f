// See fragments.h.
#include "fragments.h"

namespace sniffer {

namespace {

// What a datagram and a fragment take beside their bytes.
constexpr size_t DATAGRAM_COST = 512;
constexpr size_t PIECE_COST = 96;

// IPv6 has one number for all protocols between two hosts (RFC 8200 section 4.5).
FlowKey key_of(const Fragment &fragment, bool is_pair)
{
	FlowKey key;
	memset(&key, 0, sizeof(key));
	memcpy(key.local, fragment.destination, sizeof(key.local));
	memcpy(key.peer, fragment.source, sizeof(key.peer));
	key.family = fragment.family;
	if (is_pair)
		return key;
	key.local_port = static_cast<uint16_t>(fragment.id >> 16);
	key.peer_port = static_cast<uint16_t>(fragment.id);
	key.protocol = fragment.family == 4 ? fragment.protocol : 0;
	return key;
}

} // namespace

Fragments::Fragments(FragmentLimits limits, uint64_t secret)
    : limits_(limits), hash_{{secret, secret * 0x9e3779b97f4a7c15ull}}, datagrams_(16, hash_), pairs_(16, hash_)
{
}

const Fragment *Fragments::add(const Fragment &fragment, uint64_t now_ms)
{
	if (fragment.is_outgoing)
		return nullptr;
	tick(now_ms);
	counters_.fragments++;
	FlowKey key = key_of(fragment, false);
	auto found = datagrams_.find(key);
	Datagram *datagram = found == datagrams_.end() ? nullptr : found->second.get();
	if (datagram != nullptr && datagram->is_whole) {
		if (is_again(*datagram, fragment)) {
			counters_.again++;
			return nullptr;
		}
		remove(*datagram);
		datagram = nullptr;
	}
	if (datagram != nullptr) {
		uint32_t end = fragment.offset + fragment.bytes;
		bool is_beyond = fragment.has_more ? datagram->has_end && end > datagram->end
						   : end < datagram->end || (datagram->has_end && end != datagram->end);
		Fit how = fit(*datagram, fragment);
		if (is_beyond || how == Fit::OVERLAP) {
			counters_.overlapping++;
			remove(*datagram);
			return nullptr;
		}
		if (how == Fit::AGAIN) {
			counters_.again++;
			return nullptr;
		}
	}
	size_t cost = PIECE_COST + fragment.bytes + (datagram == nullptr ? DATAGRAM_COST : 0);
	if (!make_room(datagram, key_of(fragment, true), cost)) {
		counters_.lost++;
		return nullptr;
	}
	if (datagram == nullptr)
		datagram = begin(fragment, key, now_ms);
	hold(*datagram, cost);
	Piece piece{fragment.bytes, hash_of(fragment), std::make_unique<uint8_t[]>(fragment.bytes)};
	memcpy(piece.data.get(), fragment.data, fragment.bytes);
	datagram->pieces.emplace(fragment.offset, std::move(piece));
	datagram->bytes += fragment.bytes;
	if (fragment.offset == 0)
		datagram->head.protocol = fragment.protocol;
	if (fragment.offset + fragment.bytes > datagram->end)
		datagram->end = fragment.offset + fragment.bytes;
	datagram->has_end = datagram->has_end || !fragment.has_more;
	datagram->head.is_unfinished = datagram->head.is_unfinished || fragment.is_unfinished;
	datagram->head.may_be_unfinished = datagram->head.may_be_unfinished || fragment.may_be_unfinished;
	datagram->head.time_ns = fragment.time_ns;
	if (datagram->has_end && datagram->bytes == datagram->end)
		return complete(*datagram, now_ms);
	return nullptr;
}

// Bytes that are there in full are a fragment sent again, however they were cut.
Fragments::Fit Fragments::fit(const Datagram &datagram, const Fragment &fragment)
{
	uint32_t end = fragment.offset + fragment.bytes;
	auto next = datagram.pieces.upper_bound(fragment.offset);
	uint32_t at = fragment.offset;
	if (next != datagram.pieces.begin()) {
		auto before = std::prev(next);
		uint32_t before_end = before->first + before->second.bytes;
		if (before_end > at)
			at = before_end;
	}
	if (at == fragment.offset)
		return next != datagram.pieces.end() && next->first < end ? Fit::OVERLAP : Fit::NEW;
	for (; at < end && next != datagram.pieces.end() && next->first == at; next++)
		at += next->second.bytes;
	return at >= end ? Fit::AGAIN : Fit::OVERLAP;
}

uint64_t Fragments::hash_of(const Fragment &fragment) const
{
	uint64_t hash = hash_.secret[0] ^ fragment.bytes;
	for (uint32_t at = 0; at < fragment.bytes; at += 8) {
		uint64_t word = 0;
		memcpy(&word, fragment.data + at, fragment.bytes - at < 8 ? fragment.bytes - at : 8);
		hash = (hash ^ word) * 0xff51afd7ed558ccdull;
		hash ^= hash >> 32;
	}
	return hash;
}

bool Fragments::is_again(const Datagram &whole, const Fragment &fragment) const
{
	auto found = whole.pieces.find(fragment.offset);
	return found != whole.pieces.end() && found->second.bytes == fragment.bytes &&
	       found->second.hash == hash_of(fragment);
}

Fragments::Datagram *Fragments::begin(const Fragment &fragment, const FlowKey &key, uint64_t now_ms)
{
	auto owned = std::make_unique<Datagram>();
	Datagram *datagram = owned.get();
	bool is_ipv4 = fragment.family == 4;
	datagram->key = key;
	datagram->pair = key_of(fragment, true);
	datagram->started_ms = now_ms;
	datagram->until_ms = now_ms + (is_ipv4 ? limits_.ipv4_ms : limits_.ipv6_ms);
	datagram->head = fragment;
	datagram->head.data = nullptr;
	datagram->list = &waiting_[is_ipv4 ? 0 : 1];
	datagram->place = datagram->list->insert(datagram->list->end(), datagram);
	datagrams_.emplace(key, std::move(owned));
	return datagram;
}

// For so much of this datagram, or of a new one of these hosts. False: there is nothing left that could make it.
bool Fragments::make_room(Datagram *datagram, const FlowKey &pair, size_t bytes)
{
	while (datagram == nullptr && waiting() >= limits_.most_datagrams) {
		if (!drop_oldest(nullptr, nullptr))
			return false;
	}
	for (auto found = pairs_.find(pair); found != pairs_.end() && found->second + bytes > limits_.most_bytes_of_pair;
	     found = pairs_.find(pair)) {
		if (!drop_oldest(datagram, &pair))
			return false;
	}
	while (held_bytes_ + bytes > limits_.most_bytes) {
		if (!whole_.empty())
			remove(*whole_.front());
		else if (!drop_oldest(datagram, nullptr))
			return false;
	}
	return true;
}

bool Fragments::drop_oldest(const Datagram *but, const FlowKey *pair)
{
	Datagram *oldest = nullptr;
	for (std::list<Datagram *> &list : waiting_) {
		for (Datagram *datagram : list) {
			if (datagram == but || (pair != nullptr && !(datagram->pair == *pair)))
				continue;
			if (oldest == nullptr || datagram->started_ms < oldest->started_ms)
				oldest = datagram;
			break;
		}
	}
	if (oldest == nullptr)
		return false;
	counters_.lost += oldest->pieces.size();
	remove(*oldest);
	return true;
}

void Fragments::hold(Datagram &datagram, size_t bytes)
{
	datagram.held_bytes += bytes;
	held_bytes_ += bytes;
	pairs_[datagram.pair] += bytes;
}

const Fragment *Fragments::complete(Datagram &datagram, uint64_t now_ms)
{
	counters_.datagrams++;
	result_bytes_.clear();
	for (const auto &[offset, piece] : datagram.pieces)
		result_bytes_.insert(result_bytes_.end(), piece.data.get(), piece.data.get() + piece.bytes);
	result_ = datagram.head;
	result_.offset = 0;
	result_.has_more = false;
	result_.data = result_bytes_.data();
	result_.bytes = datagram.bytes;
	remember(datagram, now_ms);
	return &result_;
}

void Fragments::remember(Datagram &datagram, uint64_t now_ms)
{
	forget_bytes(datagram);
	for (auto &[offset, piece] : datagram.pieces)
		piece.data.reset();
	datagram.is_whole = true;
	datagram.until_ms = now_ms + limits_.whole_ms;
	datagram.held_bytes = DATAGRAM_COST + datagram.pieces.size() * PIECE_COST;
	held_bytes_ += datagram.held_bytes;
	whole_.splice(whole_.end(), *datagram.list, datagram.place);
	datagram.list = &whole_;
	if (whole_.size() > limits_.most_datagrams)
		remove(*whole_.front());
}

void Fragments::forget_bytes(Datagram &datagram)
{
	held_bytes_ -= datagram.held_bytes;
	if (datagram.is_whole)
		return;
	auto pair = pairs_.find(datagram.pair);
	pair->second -= datagram.held_bytes;
	if (pair->second == 0)
		pairs_.erase(pair);
}

void Fragments::remove(Datagram &datagram)
{
	forget_bytes(datagram);
	datagram.list->erase(datagram.place);
	datagrams_.erase(FlowKey(datagram.key));
}

void Fragments::tick(uint64_t now_ms)
{
	for (std::list<Datagram *> *list : {&waiting_[0], &waiting_[1], &whole_}) {
		while (!list->empty() && list->front()->until_ms <= now_ms) {
			counters_.incomplete += list->front()->is_whole ? 0 : 1;
			remove(*list->front());
		}
	}
}

} // namespace sniffer
