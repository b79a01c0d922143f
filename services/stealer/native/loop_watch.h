/*
 * Tells when an epoll descriptor has something, on the event loop of the thread that made it. The first one of a thread waits in
 * the loop's stead: the loop's own descriptor is put in with its sockets, so that one epoll_wait tells of all, and a turn that
 * concerns sockets alone has no other system call and nothing of the loop's. It goes on as soon as it has anything to do. Others of
 * the same thread are told by it.
 */
#ifndef MIRRORD_STEALER_LOOP_WATCH_H
#define MIRRORD_STEALER_LOOP_WATCH_H

#include <cstddef>

#include "sockets.h"
#include "uv_poll.h"

extern "C" {
struct uv_prepare_s;
struct uv_idle_s;
}

class LoopWatch
{
      public:
	/* Told of those that are ready. */
	using Turn = void (*)(void *owner, const struct ready_socket *ready, size_t count);

	/* Null, and `*error`, when it cannot be. The descriptor stays the caller's. */
	static LoopWatch *begin(struct uv_loop_s *loop, int epoll_fd, Turn turn, void *owner, int *error);
	/* Whether the loop waits for the sockets, and lives as long as it does. */
	void watch(bool is_on);
	/* Those that are ready now, beyond what a turn was told. The array is this one's until the next call. */
	const struct ready_socket *ready_now(size_t *count);
	/* Nothing is told any more, and this is gone once the loop knows. The descriptor may be closed right after it. */
	void close();

      private:
	LoopWatch(struct uv_loop_s *loop, int epoll_fd, Turn turn, void *owner) : loop_(loop), epoll_fd_(epoll_fd), turn_(turn), owner_(owner) {}
	~LoopWatch() = default;

	bool begin_waiting();
	int begin_being_told();
	int patience() const;
	bool take_ready(int wait_ms);
	void wait();
	static void on_prepare(struct uv_prepare_s *prepare);
	static void on_idle(struct uv_idle_s *idle);
	static void on_poll(struct uv_poll_s *poll, int status, int events);
	static void on_closed(struct uv_handle_s *handle);

	struct uv_loop_s *const loop_;
	const int epoll_fd_;
	const Turn turn_;
	void *owner_;
	/* Who waits has the two, others the third. */
	struct uv_prepare_s *prepare_ = nullptr;
	struct uv_idle_s *idle_ = nullptr;
	struct uv_poll_s *poll_ = nullptr;
	int open_handles_ = 0;
	bool is_on_ = false;
	/* The loop's own descriptor was among those that are ready. */
	bool is_loop_due_ = false;
	struct ready_socket ready_[SOCKETS_PER_WAIT] = {};
	size_t ready_count_ = 0;
};

#endif
