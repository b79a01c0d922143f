// epoll(7): a pidfd becomes readable when its process ends (pidfd_open(2)).
#include "watcher.h"

#include <fcntl.h>
#include <sys/epoll.h>

#include <cerrno>
#include <csignal>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

namespace fs_env {

namespace {

struct Watch {
	SharedDescriptor pidfd;
	std::function<void(bool)> on_end;
};

struct Watcher {
	std::mutex mutex;
	std::map<uint64_t, Watch> watches;
	uint64_t next = 1;
	int epoll = -1;
};

Watcher &watcher()
{
	static Watcher *instance = new Watcher;
	return *instance;
}

std::optional<Watch> take(uint64_t id)
{
	Watcher &own = watcher();
	std::lock_guard lock(own.mutex);
	auto found = own.watches.find(id);
	if (found == own.watches.end())
		return std::nullopt;
	Watch watch = std::move(found->second);
	own.watches.erase(found);
	epoll_ctl(own.epoll, EPOLL_CTL_DEL, watch.pidfd->get(), nullptr);
	return watch;
}

void watch_for_ever()
{
	sigset_t all;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, nullptr);
	for (;;) {
		struct epoll_event event;
		if (epoll_wait(watcher().epoll, &event, 1, -1) != 1)
			continue;
		if (auto watch = take(event.data.u64))
			watch->on_end(true);
	}
}

bool start(Watcher &own)
{
	if (own.epoll >= 0)
		return true;
	own.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (own.epoll < 0)
		return false;
	std::thread(watch_for_ever).detach();
	return true;
}

} // namespace

uint64_t watch_end(SharedDescriptor pidfd, std::function<void(bool)> on_end)
{
	Watcher &own = watcher();
	std::lock_guard lock(own.mutex);
	if (!start(own))
		return 0;
	uint64_t id = own.next++;
	struct epoll_event event = {};
	event.events = EPOLLIN;
	event.data.u64 = id;
	// A descriptor stands once in an epoll: each watch has its own copy.
	auto copy = std::make_shared<Descriptor>(fcntl(pidfd->get(), F_DUPFD_CLOEXEC, 0));
	if (!copy->valid() || epoll_ctl(own.epoll, EPOLL_CTL_ADD, copy->get(), &event) != 0)
		return 0;
	own.watches.emplace(id, Watch{std::move(copy), std::move(on_end)});
	return id;
}

void forget(uint64_t watch)
{
	if (auto taken = take(watch))
		taken->on_end(false);
}

} // namespace fs_env
