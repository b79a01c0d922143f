// See capture.h.
#include "capture.h"

#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>

#include <algorithm>
#include <cerrno>

namespace sniffer {

namespace {

// A wake-up without packets: holes and ages are looked at so often.
constexpr int TICK_MS = 100;
// What was lost shows only behind everything that is in the ring and that streams hold.
constexpr uint64_t LOSS_MEMORY_MS = 10'000;
// A batch is handed on when it has this size, or when there is no full block left.
constexpr size_t BATCH_BYTES = 256 * 1024;

uint64_t clock_of(clockid_t clock)
{
	timespec time{};
	clock_gettime(clock, &time);
	return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000ull + static_cast<uint64_t>(time.tv_nsec);
}

// A power of two, at most so much.
uint32_t ring_bytes_of(const RingOptions &options)
{
	uint32_t bytes = std::min(options.block_bytes * options.blocks, CAPTURE_MOST_RING_BYTES);
	return bytes == 0 ? 0 : 1u << (31 - __builtin_clz(bytes));
}

uint64_t random_number()
{
	uint64_t number = 0;
	bool is_random = getrandom(&number, sizeof(number), 0) == sizeof(number);
	return is_random ? number : clock_of(CLOCK_MONOTONIC);
}

} // namespace

Capture::Capture(CaptureOptions options, std::shared_ptr<Backlog> backlog, OnBatch on_batch)
    : options_(options), backlog_(std::move(backlog)), on_batch_(std::move(on_batch)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), fragments_({}, random_number())
{
	auto seed = static_cast<uint32_t>(random_number());
	filter_ = std::make_unique<KernelFilter>(options_.wants_ebpf, seed, options_.bulk_bytes_per_second,
						 options_.wants_taps ? ring_bytes_of(options_.ring) : 0);
	batch_ = std::make_unique<Batch>(seed);
	tracker_ = std::make_unique<Tracker>(*batch_, options_.tracker, options_.budget, random_number());
}

Capture::~Capture()
{
	stop();
	if (thread_.joinable())
		thread_.join();
}

int Capture::start(const char **step)
{
	thread_ = std::thread([this] { run(); });
	std::unique_lock lock(mutex_);
	changed_.wait(lock, [this] { return has_opened_; });
	*step = open_step_;
	return open_error_;
}

void Capture::stop()
{
	is_stopping_ = true;
	wake();
	backlog_->stop();
}

void Capture::wake()
{
	uint64_t one = 1;
	// A counter that is full wakes as well.
	[[maybe_unused]] ssize_t written = write(wake_.get(), &one, sizeof(one));
}

void Capture::run()
{
	int error = prepare();
	{
		std::lock_guard lock(mutex_);
		open_error_ = error;
		has_opened_ = true;
		changed_.notify_all();
	}
	if (error == 0)
		loop();
}

// setns(2) is of this thread alone; the program for the kernel knows no namespace.
int Capture::prepare()
{
	Descriptor space(options_.namespace_fd);
	open_step_ = "setns";
	if (space.valid() && setns(space.get(), CLONE_NEWNET) != 0)
		return errno;
	open_step_ = "eventfd";
	if (!wake_.valid())
		return EMFILE;
	if (redirects_.prepare())
		tracker_->set_redirects(&redirects_);
	if (watch_with_taps())
		return 0;
	if (int error = ring_.make(options_.ring, &open_step_))
		return error;
	open_step_ = "filter";
	if (int error = filter_->attach(ring_.fd()))
		return error;
	open_step_ = "bind";
	return ring_.listen();
}

// Where the kernel is too old for them, or an interface is of a strange kind, a packet socket does the same.
bool Capture::watch_with_taps()
{
	const TapPrograms *programs = filter_->taps();
	if (programs == nullptr)
		return false;
	if (taps_.attach(*programs) == 0)
		return true;
	filter_->leave_taps();
	return false;
}

// Until there may be something to do. False when the capture has failed.
bool Capture::wait()
{
	bool has_taps = taps_.is_attached();
	bool is_dozing = false;
	int most_ms = TICK_MS;
	pollfd waiting[] = {{wake_.get(), POLLIN, 0}, {has_taps ? taps_.news() : -1, POLLIN, 0}, {ring_.fd(), POLLIN | POLLERR, 0}};
	if (has_taps) {
		// While packets come nobody is woken for one.
		is_dozing = is_quiet_ && taps_.doze();
		waiting[2].fd = is_dozing ? taps_.fd() : -1;
		if (!is_dozing)
			most_ms = static_cast<int>(options_.ring.retire_ms);
	}
	int count = poll(waiting, 3, most_ms);
	int error = count < 0 && errno != EINTR ? errno : 0;
	if (is_dozing)
		taps_.awake();
	if (error == 0 && count > 0 && waiting[1].revents != 0)
		error = taps_.follow();
	failure_ = error;
	uint64_t wakes;
	std::lock_guard lock(mutex_);
	// Without that, nobody has called.
	if (count <= 0 || waiting[0].revents == 0 || read(wake_.get(), &wakes, sizeof(wakes)) > 0)
		counters_.wakeups++;
	return error == 0;
}

void Capture::loop()
{
	while (!is_stopping_ && wait()) {
		{
			std::lock_guard lock(mutex_);
			make_marks();
			pass_marks();
		}
		is_quiet_ = true;
		while (!is_stopping_ && read_ring())
			is_quiet_ = false;
		flush();
	}
}

template <typename Visit> bool Capture::read_some(Visit visit)
{
	return taps_.is_attached() ? taps_.read_some(visit) : ring_.read_block(visit);
}

// One block at most. False when there was none.
bool Capture::read_ring()
{
	if (backlog_->is_full()) {
		{
			std::lock_guard lock(mutex_);
			counters_.pauses++;
		}
		backlog_->wait();
	}
	if (is_stopping_)
		return false;
	bool has_read;
	{
		std::lock_guard lock(mutex_);
		count_losses();
		now_.ms = clock_of(CLOCK_MONOTONIC) / 1'000'000;
		now_.ns = clock_of(CLOCK_REALTIME);
		make_marks();
		has_read = read_some([this](const Captured &packet) {
			visit(packet);
			pass_marks();
		});
		tracker_->tick(now_);
		fragments_.tick(now_.ms);
		pass_marks();
		pass_unmuted();
		bool has_holes = tracker_->has_holes();
		if (has_holes != wants_acknowledgements_ && filter_->want_acknowledgements(has_holes) == 0)
			wants_acknowledgements_ = has_holes;
		if (batch_->size() < BATCH_BYTES)
			return has_read;
	}
	flush();
	return has_read;
}

void Capture::count_losses()
{
	uint32_t losses = taps_.is_attached() ? taps_.take_losses() : ring_.take_losses();
	counters_.ring_losses += losses;
	uint64_t now_ms = clock_of(CLOCK_MONOTONIC) / 1'000'000;
	if (losses > 0)
		lost_at_ms_ = now_ms;
	now_.ring_losses = lost_at_ms_ > 0 && now_ms - lost_at_ms_ < LOSS_MEMORY_MS ? 1 : 0;
}

void Capture::mark(uint64_t number)
{
	{
		std::lock_guard lock(mutex_);
		new_marks_.push_back(number);
	}
	wake();
}

void Capture::make_marks()
{
	if (new_marks_.empty())
		return;
	PassedOfSlots passed;
	// Before what the ring has accepted: what passes between both is missing at the next mark at most.
	for (unsigned slot = 0; slot < CAPTURE_SLOTS; slot++) {
		capture_counters counters = filter_->counters_of(slot);
		passed[slot] = {counters.passed_packets, counters.passed_connections, counters.passed_bytes};
	}
	count_losses();
	for (uint64_t number : new_marks_)
		marks_.push_back({number, taps_.is_attached() ? taps_.end() : ring_.accepted(), passed});
	new_marks_.clear();
}

void Capture::pass_marks()
{
	while (!marks_.empty() && position() >= marks_.front().position) {
		const Mark &mark = marks_.front();
		auto missing = [](uint64_t passed, uint64_t read) { return passed > read ? passed - read : 0; };
		// Where the ring has had room for everything nothing is lost, however the two were counted.
		for (unsigned slot = 0; counters_.ring_losses > 0 && slot < CAPTURE_SLOTS; slot++)
			lost_[slot] = {missing(mark.passed[slot].packets, read_[slot].packets),
				       missing(mark.passed[slot].connections, read_[slot].connections),
				       missing(mark.passed[slot].bytes, read_[slot].bytes)};
		tracker_->tell_older();
		batch_->mark(mark.number);
		marks_.pop_front();
	}
}

Passed Capture::lost_of(uint8_t protocol, uint16_t port) const
{
	std::lock_guard lock(mutex_);
	int slot = filter_->slot_of(protocol, port);
	if (slot < 0)
		return {};
	Passed lost = lost_[slot];
	lost.left_out = slot > 0 ? filter_->counters_of(static_cast<unsigned>(slot)).prefiltered_packets : 0;
	// Nobody knows of which port fragments were.
	if (protocol == PROTOCOL_UDP && slot > 0)
		lost.packets += lost_[0].packets;
	return lost;
}

bool Capture::end_flow(uint32_t flow)
{
	std::lock_guard lock(mutex_);
	return tracker_->end_flow(flow, now_);
}

// As the kernel has counted it (bpf/capture.bpf.c).
void Capture::count_read(const Segment &segment)
{
	int slot = segment.is_outgoing ? -1 : filter_->slot_of(segment.protocol, segment.destination_port);
	bool is_request = slot >= 0;
	if (!is_request)
		slot = filter_->slot_of(segment.protocol, segment.source_port);
	if (slot < 0)
		return;
	read_[slot].packets++;
	if (!is_request)
		return;
	read_[slot].bytes += segment.bytes;
	if (segment.protocol == PROTOCOL_TCP && (segment.flags & (TCP_SYN | TCP_ACK)) == TCP_SYN)
		read_[slot].connections++;
}

void Capture::visit(const Captured &packet)
{
	Segment segment;
	Fragment fragment;
	Parsed parsed = parse(packet, &segment, &fragment);
	bool is_fragment = parsed == Parsed::FRAGMENT;
	if (is_fragment) {
		read_[0].packets++;
		const Fragment *whole = fragments_.add(fragment, now_.ms);
		if (whole == nullptr)
			return;
		parsed = parse_whole(*whole, &segment);
	}
	switch (parsed) {
	case Parsed::SEGMENT:
		now_.ns = packet.time_ns;
		if (!is_fragment)
			count_read(segment);
		tracker_->segment(segment, now_);
		return;
	case Parsed::MALFORMED:
		counters_.malformed++;
		return;
	case Parsed::BAD_CHECKSUM:
		counters_.bad_checksums++;
		return;
	case Parsed::FRAGMENT:
	case Parsed::OTHER:
		return;
	}
}

void Capture::flush()
{
	std::vector<uint8_t> bytes;
	{
		std::lock_guard lock(mutex_);
		if (batch_->is_empty())
			return;
		bytes = batch_->take();
	}
	backlog_->add(bytes.size());
	on_batch_(std::move(bytes));
}

int Capture::set_port(const PortRule &rule, uint8_t wishes)
{
	std::lock_guard lock(mutex_);
	// The tracker first: what the kernel passes must not meet a tracker that does not know the port.
	tracker_->set_port(rule.protocol, rule.port, wishes);
	pass_unmuted();
	return filter_->set_port(rule);
}

int Capture::remove_port(uint8_t protocol, uint16_t port)
{
	std::lock_guard lock(mutex_);
	int error = filter_->remove_port(protocol, port);
	tracker_->forget_port(protocol, port, now_);
	return error;
}

void Capture::mute(uint32_t flow)
{
	std::lock_guard lock(mutex_);
	FlowKey key;
	if (tracker_->mute(flow, &key, now_))
		filter_->mute(key);
}

void Capture::pass_unmuted()
{
	for (const FlowKey &key : tracker_->take_unmuted())
		filter_->unmute(key);
}

CaptureCounters Capture::counters() const
{
	std::lock_guard lock(mutex_);
	CaptureCounters counters = counters_;
	counters.packets = ring_.packets() + taps_.packets();
	counters.truncated = ring_.truncated() + taps_.truncated();
	counters.flows = tracker_->flows();
	counters.held_bytes = tracker_->held_bytes();
	counters.fragments = fragments_.counters();
	counters.tracker = tracker_->counters();
	counters.kernel = filter_->counters();
	return counters;
}

} // namespace sniffer
