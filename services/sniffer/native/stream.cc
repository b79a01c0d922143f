// See stream.h.
#include "stream.h"

#include <algorithm>
#include <utility>

namespace sniffer {

namespace {

// RFC 7323 section 2.3: no window is larger, so a segment that is further away is of another time.
constexpr int64_t LARGEST_WINDOW = 1ll << 30;
// So many of them in a row, near each other: the loss was larger than that, and they are the stream.
constexpr int RESYNC_AFTER = 4;
constexpr uint32_t NEAR_EACH_OTHER = 16 * 1024 * 1024;
// Of a piece, beside its bytes.
constexpr size_t PIECE_OVERHEAD = 128;

} // namespace

Stream::~Stream()
{
	if (budget_ != nullptr)
		budget_->held_bytes -= held_bytes_;
}

void Stream::start(uint32_t sequence, Budget *budget, StreamCounters *counters)
{
	budget_ = budget;
	counters_ = counters;
	first_sequence_ = sequence;
}

bool Stream::is_near(uint32_t sequence) const
{
	int64_t distance = static_cast<int32_t>(sequence - this->sequence());
	return distance <= LARGEST_WINDOW && distance >= -LARGEST_WINDOW;
}

uint32_t Stream::last_sequence() const
{
	uint64_t last = has_fin_ ? fin_ + 1 : pieces_.empty() ? next_ : pieces_.rbegin()->second.end;
	return first_sequence_ + static_cast<uint32_t>(last);
}

bool Stream::ends_at(uint32_t sequence) const
{
	return static_cast<int32_t>(sequence - this->sequence()) <= 0 || sequence == last_sequence();
}

size_t Stream::cost_of(const Piece &piece)
{
	return piece.bytes.size() + PIECE_OVERHEAD;
}

uint64_t Stream::first_known() const
{
	return pieces_.empty() ? fin_ : pieces_.begin()->first;
}

Loss Stream::reason_of_hole(Now now) const
{
	if (next_ < doubtful_until_)
		return Loss::NOT_WANTED;
	return now.ring_losses > 0 ? Loss::RING_FULL : Loss::NOT_SEEN;
}

void Stream::segment(uint32_t sequence, const uint8_t *data, uint32_t captured, uint32_t bytes, bool is_fin, Loss rest,
		     Now now, StreamSink &sink)
{
	if (has_ended_)
		return;
	if (!is_near(sequence)) {
		counters_->unplaceable_segments++;
		if (bytes == 0)
			return;
		bool is_neighbour = unplaceable_in_row_ > 0 && sequence - last_unplaceable_ < NEAR_EACH_OTHER;
		unplaceable_in_row_ = is_neighbour ? static_cast<uint8_t>(unplaceable_in_row_ + 1) : 1;
		last_unplaceable_ = sequence;
		if (unplaceable_in_row_ < RESYNC_AFTER)
			return;
		resync(sequence, now, sink);
	}
	unplaceable_in_row_ = 0;
	int64_t start = static_cast<int64_t>(next_) + static_cast<int32_t>(sequence - this->sequence());
	int64_t stop = start + bytes;
	if (is_fin && !has_fin_ && stop >= static_cast<int64_t>(next_)) {
		has_fin_ = true;
		fin_ = static_cast<uint64_t>(stop);
		// Nothing is sent behind a FIN; what claims to be is not kept.
		for (auto piece = pieces_.lower_bound(fin_); piece != pieces_.end();) {
			held_bytes_ -= cost_of(piece->second);
			budget_->held_bytes -= cost_of(piece->second);
			piece = pieces_.erase(piece);
		}
		if (!pieces_.empty() && pieces_.rbegin()->second.end > fin_)
			fin_ = pieces_.rbegin()->second.end;
	}
	if (has_fin_)
		stop = std::min(stop, static_cast<int64_t>(fin_));
	int64_t begin = std::max(start, static_cast<int64_t>(next_));
	if (bytes > 0 && begin > start)
		counters_->duplicate_bytes += static_cast<uint64_t>(std::min(begin, std::max(stop, start)) - start);
	if (begin < stop) {
		uint64_t data_end = static_cast<uint64_t>(std::min(stop, start + static_cast<int64_t>(captured)));
		const uint8_t *from = begin - start < static_cast<int64_t>(captured) ? data + (begin - start) : data;
		if (static_cast<uint64_t>(begin) == next_ && pieces_.empty()) {
			deliver(next_, static_cast<uint64_t>(stop), from, data_end, rest, sink);
		} else {
			counters_->out_of_order_segments++;
			place(static_cast<uint64_t>(begin), static_cast<uint64_t>(stop), from, data_end, rest);
		}
	}
	drain(now, sink);
	while (held_bytes_ > budget_->most_bytes_of_stream ||
	       (held_bytes_ > 0 && budget_->held_bytes > budget_->most_bytes))
		skip_to(pieces_.begin()->first, now, Loss::REASSEMBLY_LIMIT, sink);
}

// It may yet come.
void Stream::doubt(uint32_t sequence)
{
	auto missing = static_cast<int32_t>(sequence - this->sequence());
	if (is_near(sequence) && missing > 0)
		doubtful_until_ = std::max(doubtful_until_, next_ + static_cast<uint64_t>(missing));
}

// Bytes [begin, data_end) are at `data`, [data_end, end) are lost; only what is not there yet is added.
void Stream::place(uint64_t begin, uint64_t end, const uint8_t *data, uint64_t data_end, Loss rest)
{
	uint64_t origin = begin;
	auto next = pieces_.upper_bound(begin);
	if (next != pieces_.begin())
		begin = std::max(begin, std::prev(next)->second.end);
	while (begin < end) {
		uint64_t stop = next == pieces_.end() ? end : std::min(end, next->first);
		uint64_t known = std::min(stop, std::max(begin, data_end));
		if (begin < known)
			add(begin, known, data + (begin - origin), Loss::NONE);
		if (known < stop)
			add(known, stop, nullptr, rest);
		if (next == pieces_.end())
			return;
		counters_->duplicate_bytes += std::min(end, next->second.end) - std::min(end, next->first);
		begin = std::max(stop, next->second.end);
		++next;
	}
}

void Stream::add(uint64_t begin, uint64_t end, const uint8_t *data, Loss lost)
{
	Piece piece;
	piece.end = end;
	piece.lost = lost;
	if (lost == Loss::NONE)
		piece.bytes.assign(data, data + (end - begin));
	held_bytes_ += cost_of(piece);
	budget_->held_bytes += cost_of(piece);
	pieces_.emplace(begin, std::move(piece));
}

void Stream::deliver(uint64_t begin, uint64_t end, const uint8_t *data, uint64_t data_end, Loss rest, StreamSink &sink)
{
	next_ = end;
	if (begin < data_end)
		sink.on_bytes(data, static_cast<size_t>(data_end - begin));
	uint64_t known = std::max(begin, data_end);
	if (known < end)
		sink.on_gap(end - known, rest);
}

// Hands on what is in order now, and remembers since when there is a hole.
void Stream::drain(Now now, StreamSink &sink)
{
	while (!pieces_.empty() && pieces_.begin()->first <= next_) {
		auto node = pieces_.extract(pieces_.begin());
		Piece &piece = node.mapped();
		held_bytes_ -= cost_of(piece);
		budget_->held_bytes -= cost_of(piece);
		uint64_t data_end = piece.lost == Loss::NONE ? piece.end : node.key();
		deliver(node.key(), piece.end, piece.bytes.data(), data_end, piece.lost, sink);
		hole_since_ms_ = 0;
	}
	if (has_fin_ && next_ >= fin_) {
		has_ended_ = true;
		sink.on_end();
		return;
	}
	if (!has_hole())
		hole_since_ms_ = 0;
	else if (hole_since_ms_ == 0)
		hole_since_ms_ = now.ms;
}

void Stream::skip_to(uint64_t offset, Now now, Loss reason, StreamSink &sink)
{
	uint64_t bytes = offset - next_;
	next_ = offset;
	hole_since_ms_ = 0;
	if (bytes > 0)
		sink.on_gap(bytes, reason);
	drain(now, sink);
}

void Stream::acknowledged(uint32_t sequence, Now now, StreamSink &sink)
{
	if (!is_near(sequence))
		return;
	int64_t offset = static_cast<int64_t>(next_) + static_cast<int32_t>(sequence - this->sequence());
	while (has_hole() && offset > static_cast<int64_t>(next_))
		skip_to(std::min(static_cast<uint64_t>(offset), first_known()), now, reason_of_hole(now), sink);
}

void Stream::check_hole(Now now, StreamSink &sink)
{
	if (!has_hole() || hole_since_ms_ == 0)
		return;
	bool is_soon = now.ring_losses > 0 || next_ < doubtful_until_;
	uint64_t patience_ms = is_soon ? HOLE_OF_RING_MS : HOLE_MS;
	if (now.ms - hole_since_ms_ >= patience_ms)
		skip_to(first_known(), now, reason_of_hole(now), sink);
}

void Stream::finish(Now now, StreamSink &sink)
{
	while (has_started() && has_hole())
		skip_to(first_known(), now, reason_of_hole(now), sink);
}

void Stream::abandon()
{
	if (has_started())
		budget_->held_bytes -= held_bytes_;
	held_bytes_ = 0;
	pieces_.clear();
	has_ended_ = true;
}

void Stream::resync(uint32_t sequence, Now now, StreamSink &sink)
{
	counters_->resyncs++;
	has_fin_ = false;
	Loss reason = reason_of_hole(now);
	finish(now, sink);
	sink.on_gap(0, reason);
	first_sequence_ = sequence - static_cast<uint32_t>(next_);
}

} // namespace sniffer
