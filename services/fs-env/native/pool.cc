// Never torn down: a thread may hang in the kernel, and waiting for it would hang the end of the process.
#include "pool.h"

#include <condition_variable>
#include <csignal>
#include <deque>
#include <mutex>
#include <thread>

#include "credentials.h"

namespace fs_env {

namespace {

// Eight operations of each of 64 sessions, so that no session's file system that hangs holds up another session; an idle
// thread costs a few KiB, and none is made before it is needed.
constexpr size_t MAX_THREADS = 512;

struct Pool {
	std::mutex mutex;
	std::condition_variable arrived;
	std::deque<std::function<void()>> queue;
	size_t threads = 0;
	size_t idle = 0;
};

Pool &pool()
{
	static Pool *instance = new Pool;
	return *instance;
}

void work_for_ever()
{
	// Signals are the business of the main thread.
	sigset_t all;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, nullptr);
	separate_thread();
	Pool &own = pool();
	for (;;) {
		std::unique_lock lock(own.mutex);
		own.idle++;
		own.arrived.wait(lock, [&] { return !own.queue.empty(); });
		own.idle--;
		auto work = std::move(own.queue.front());
		own.queue.pop_front();
		lock.unlock();
		work();
	}
}

} // namespace

void run_in_pool(std::function<void()> work)
{
	Pool &own = pool();
	std::unique_lock lock(own.mutex);
	own.queue.push_back(std::move(work));
	if (own.queue.size() > own.idle && own.threads < MAX_THREADS) {
		try {
			std::thread(work_for_ever).detach();
			own.threads++;
		} catch (const std::system_error &) {
			// No more threads in this machine: those that are there come to it.
		}
	}
	lock.unlock();
	own.arrived.notify_one();
}

} // namespace fs_env
