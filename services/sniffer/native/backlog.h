// Batches that JavaScript has not taken yet: how much of them there may be, and waiting until there is less.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <mutex>

namespace sniffer {

class Backlog {
      public:
	explicit Backlog(size_t most_bytes) : most_bytes_(most_bytes) {}

	bool is_full() const { return bytes_ >= most_bytes_; }
	void add(size_t bytes) { bytes_ += bytes; }
	void taken(size_t bytes)
	{
		size_t before = bytes_.fetch_sub(bytes);
		if (before >= most_bytes_ / 2 && before - bytes < most_bytes_ / 2)
			wake();
	}
	// Until half of it is taken, or for good after `stop`.
	void wait()
	{
		std::unique_lock lock(mutex_);
		changed_.wait(lock, [this] { return is_stopped_ || bytes_ < most_bytes_ / 2; });
	}
	void stop()
	{
		is_stopped_ = true;
		wake();
	}

      private:
	void wake()
	{
		// The waiter has either not looked yet, or it sleeps.
		std::lock_guard lock(mutex_);
		changed_.notify_all();
	}

	const size_t most_bytes_;
	std::atomic<size_t> bytes_{0};
	std::atomic<bool> is_stopped_{false};
	std::mutex mutex_;
	std::condition_variable changed_;
};

} // namespace sniffer
