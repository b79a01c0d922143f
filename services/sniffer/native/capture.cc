// See capture.h.
#include "capture.h"

#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>

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

uint64_t random_number()
{
	uint64_t number = 0;
	if (getrandom(&number, sizeof(number), 0) != sizeof(number))
		number = clock_of(CLOCK_MONOTONIC);
	return number;
}

} // namespace

Capture::Capture(CaptureOptions options, std::shared_ptr<Backlog> backlog, OnBatch on_batch)
    : options_(options), backlog_(std::move(backlog)), on_batch_(std::move(on_batch)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), fragments_({}, random_number())
{
	auto seed = static_cast<uint32_t>(random_number());
	filter_ = std::make_unique<KernelFilter>(options_.wants_ebpf, seed, options_.bulk_bytes_per_second);
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
	ssize_t written = write(wake_.get(), &one, sizeof(one));
	(void)written; // a counter that is full wakes as well
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
	if (int error = ring_.make(options_.ring, &open_step_))
		return error;
	open_step_ = "filter";
	if (int error = filter_->attach(ring_.fd()))
		return error;
	if (redirects_.prepare())
		tracker_->set_redirects(&redirects_);
	open_step_ = "bind";
	return ring_.listen();
}

void Capture::loop()
{
	pollfd waiting[] = {{ring_.fd(), POLLIN | POLLERR, 0}, {wake_.get(), POLLIN, 0}};
	while (!is_stopping_) {
		int count = poll(waiting, 2, TICK_MS);
		if (count < 0 && errno != EINTR) {
			failure_ = errno;
			return;
		}
		{
			std::lock_guard lock(mutex_);
			counters_.wakeups++;
			uint64_t wakes;
			if (waiting[1].revents != 0 && read(wake_.get(), &wakes, sizeof(wakes)) < 0)
				counters_.wakeups--; // nobody has called
			make_marks();
			pass_marks();
		}
		while (!is_stopping_ && read_ring()) {
		}
		flush();
	}
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
		has_read = ring_.read_block([this](const Captured &packet) {
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
	uint32_t losses = ring_.take_losses();
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
		marks_.push_back({number, ring_.accepted(), passed});
	new_marks_.clear();
}

void Capture::pass_marks()
{
	while (!marks_.empty() && ring_.packets() >= marks_.front().packets) {
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
	// Nobody knows of which port fragments were.
	if (protocol == PROTOCOL_UDP && slot > 0)
		lost.packets += lost_[0].packets;
	return lost;
}

void Capture::end_flow(uint32_t flow)
{
	std::lock_guard lock(mutex_);
	tracker_->end_flow(flow, now_);
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
	if (tracker_->mute(flow, &key))
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
	counters.packets = ring_.packets();
	counters.truncated = ring_.truncated();
	counters.flows = tracker_->flows();
	counters.held_bytes = tracker_->held_bytes();
	counters.fragments = fragments_.counters();
	counters.tracker = tracker_->counters();
	counters.kernel = filter_->counters();
	return counters;
}

} // namespace sniffer
