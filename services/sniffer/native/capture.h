// One capture: a thread in the target's network namespace that reads the ring, puts streams together and hands batches of
// events on. Shared by every session of the target.
//
// Buffers: batches that were not taken yet hold at most what Backlog allows; above it the thread lets the ring fill, where
// the kernel counts what does not fit and reassembly marks where it is missing. There is no second place of loss.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "backlog.h"
#include "batch.h"
#include "fragments.h"
#include "kernel_filter.h"
#include "redirects.h"
#include "ring.h"
#include "taps.h"

namespace sniffer {

struct CaptureOptions {
	int namespace_fd = -1; // the capture's own from here on
	bool wants_ebpf = true;
	bool wants_taps = true; // with eBPF
	uint64_t bulk_bytes_per_second = 0; // 0: all
	RingOptions ring;
	TrackerLimits tracker;
	Budget budget;
};

struct CaptureCounters {
	uint64_t packets = 0;
	uint64_t ring_losses = 0;
	uint64_t truncated = 0;
	uint64_t malformed = 0;
	uint64_t bad_checksums = 0;
	uint64_t wakeups = 0;
	uint64_t pauses = 0; // batches were not taken in time
	uint64_t flows = 0;
	uint64_t held_bytes = 0;
	FragmentCounters fragments;
	TrackerCounters tracker;
	capture_counters kernel{};
};

// To or from a port; the bytes are payload to it, the connections are SYNs.
struct Passed {
	uint64_t packets = 0;
	uint64_t connections = 0;
	uint64_t bytes = 0;
	// No loss: requests that nobody wants, by now; 0 where the port has no counters of its own.
	uint64_t left_out = 0;
};

class Capture {
      public:
	// Called on the capture thread; the receiver tells the backlog when it is done with it. Both outlive the capture.
	using OnBatch = std::function<void(std::vector<uint8_t>)>;

	Capture(CaptureOptions options, std::shared_ptr<Backlog> backlog, OnBatch on_batch);
	~Capture();
	Capture(const Capture &) = delete;
	Capture &operator=(const Capture &) = delete;

	// Blocks until the capture runs: 0, or an errno and what failed.
	int start(const char **step);
	// The thread has failed after it had started: an errno, else 0.
	int failure() const { return failure_; }

	bool is_ebpf() const { return filter_->is_ebpf(); }
	bool has_taps() const { return taps_.is_attached(); }
	const std::string &refusal() const { return filter_->refusal(); }
	// 0 or an errno.
	int set_port(const PortRule &rule, uint8_t wishes);
	int remove_port(uint8_t protocol, uint16_t port);
	// Nobody wants more of this flow, until it begins a request.
	void mute(uint32_t flow);
	CaptureCounters counters() const;
	// An event of that number follows those of every packet that is in the ring now.
	void mark(uint64_t number);
	// What the kernel let pass for this port and the ring had no room for, up to the last mark whose event was told.
	Passed lost_of(uint8_t protocol, uint16_t port) const;
	// It is over; true when its end was lost.
	bool end_flow(uint32_t flow);

      private:
	void run();
	int prepare();
	void loop();
	bool watch_with_taps();
	bool wait();
	template <typename Visit> bool read_some(Visit visit);
	uint64_t position() const { return taps_.is_attached() ? taps_.position() : ring_.packets(); }
	bool read_ring();
	void visit(const Captured &packet);
	void flush();
	void count_losses();
	void count_read(const Segment &segment);
	void make_marks();
	void pass_marks();
	void pass_unmuted();
	void stop();
	void wake();

	CaptureOptions options_;
	std::shared_ptr<Backlog> backlog_;
	OnBatch on_batch_;
	std::unique_ptr<KernelFilter> filter_;
	// One of both is used.
	Ring ring_;
	Taps taps_;
	TrackedRedirects redirects_;
	Descriptor wake_;
	std::thread thread_;

	// Guards the tracker, the fragments, the batch and the counters: the thread holds it for one block at a time.
	mutable std::mutex mutex_;
	std::condition_variable changed_;
	std::unique_ptr<Batch> batch_;
	std::unique_ptr<Tracker> tracker_;
	Fragments fragments_;
	CaptureCounters counters_;
	Now now_;
	uint64_t lost_at_ms_ = 0;
	bool wants_acknowledgements_ = false;
	bool is_quiet_ = true;
	using PassedOfSlots = std::array<Passed, CAPTURE_SLOTS>;
	struct Mark {
		uint64_t number;
		uint64_t position; // in the ring
		PassedOfSlots passed;
	};
	std::vector<uint64_t> new_marks_;
	std::deque<Mark> marks_;
	PassedOfSlots read_{};
	PassedOfSlots lost_{};
	bool has_opened_ = false;
	int open_error_ = 0;
	const char *open_step_ = "";
	std::atomic<bool> is_stopping_{false};
	std::atomic<int> failure_{0};
};

} // namespace sniffer
