/* Waits for sockets and the event loop at once. */
#include "loop_watch.h"

#include <cstdlib>
#include <sys/epoll.h>

/* Of libuv's stable interface, as uv_poll.h has it. */
extern "C" {
int uv_backend_fd(const struct uv_loop_s *loop);
int uv_backend_timeout(const struct uv_loop_s *loop);
void uv_update_time(struct uv_loop_s *loop);
void uv_unref(struct uv_handle_s *handle);
int uv_prepare_init(struct uv_loop_s *loop, struct uv_prepare_s *handle);
int uv_prepare_start(struct uv_prepare_s *handle, void (*callback)(struct uv_prepare_s *));
int uv_prepare_stop(struct uv_prepare_s *handle);
int uv_idle_init(struct uv_loop_s *loop, struct uv_idle_s *handle);
int uv_idle_start(struct uv_idle_s *handle, void (*callback)(struct uv_idle_s *));
int uv_idle_stop(struct uv_idle_s *handle);
}

/* UV_HANDLE_TYPE_MAP of uv.h. */
constexpr int UV_IDLE_TYPE = 6;
constexpr int UV_PREPARE_TYPE = 9;

/* One of this thread waits in its loop's stead. */
static thread_local bool is_waited_for;

template <typename Handle> static Handle *new_handle(int type)
{
	return static_cast<Handle *>(calloc(1, uv_handle_size(type)));
}

template <typename Handle> static struct uv_handle_s *handle_of(Handle *one)
{
	return reinterpret_cast<struct uv_handle_s *>(one);
}

LoopWatch *LoopWatch::begin(struct uv_loop_s *loop, int epoll_fd, Turn turn, void *owner, int *error)
{
	LoopWatch *self = new LoopWatch(loop, epoll_fd, turn, owner);

	*error = self->begin_waiting() ? 0 : self->begin_being_told();
	if (*error == 0)
		return self;
	delete self;
	return nullptr;
}

bool LoopWatch::begin_waiting()
{
	struct epoll_event event = {};
	int loop_fd = uv_backend_fd(loop_);

	event.events = EPOLLIN;
	event.data.u64 = static_cast<uint64_t>(static_cast<uint32_t>(loop_fd)) << 32;
	if (is_waited_for || epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, loop_fd, &event) < 0)
		return false;
	is_waited_for = true;
	prepare_ = new_handle<struct uv_prepare_s>(UV_PREPARE_TYPE);
	idle_ = new_handle<struct uv_idle_s>(UV_IDLE_TYPE);
	/* Neither can fail. */
	uv_prepare_init(loop_, prepare_);
	uv_idle_init(loop_, idle_);
	uv_unref(handle_of(idle_));
	uv_handle_set_data(handle_of(prepare_), this);
	uv_handle_set_data(handle_of(idle_), this);
	open_handles_ = 2;
	return true;
}

int LoopWatch::begin_being_told()
{
	int error;

	poll_ = new_handle<struct uv_poll_s>(UV_POLL_TYPE);
	error = uv_poll_init(loop_, poll_, epoll_fd_);
	if (error < 0) {
		free(poll_);
		return error;
	}
	uv_handle_set_data(handle_of(poll_), this);
	open_handles_ = 1;
	return 0;
}

void LoopWatch::watch(bool is_on)
{
	if (is_on == is_on_)
		return;
	is_on_ = is_on;
	if (poll_ != nullptr && is_on)
		uv_poll_start(poll_, UV_POLL_READABLE, on_poll);
	else if (poll_ != nullptr)
		uv_poll_stop(poll_);
	else if (is_on) {
		uv_prepare_start(prepare_, on_prepare);
		uv_idle_start(idle_, on_idle);
	} else {
		uv_prepare_stop(prepare_);
		uv_idle_stop(idle_);
	}
}

void LoopWatch::close()
{
	watch(false);
	owner_ = nullptr;
	if (poll_ != nullptr)
		/* Its descriptor may be closed right after it (libuv, "uv_poll_t"). */
		uv_close(handle_of(poll_), on_closed);
	else {
		is_waited_for = false;
		sockets_remove(epoll_fd_, uv_backend_fd(loop_));
		uv_close(handle_of(prepare_), on_closed);
		uv_close(handle_of(idle_), on_closed);
	}
}

void LoopWatch::on_closed(struct uv_handle_s *handle)
{
	LoopWatch *self = static_cast<LoopWatch *>(uv_handle_get_data(handle));

	free(handle);
	if (--self->open_handles_ == 0)
		delete self;
}

/* How long the loop would wait. While the idle handle is started it does not wait at all, as it does not see our sockets. */
int LoopWatch::patience() const
{
	int wait_ms;

	uv_update_time(loop_);
	uv_idle_stop(idle_);
	wait_ms = uv_backend_timeout(loop_);
	uv_idle_start(idle_, on_idle);
	return wait_ms;
}

/* False when there is nothing. */
bool LoopWatch::take_ready(int wait_ms)
{
	int count = sockets_ready(epoll_fd_, ready_, wait_ms);
	int loop_fd = poll_ == nullptr ? uv_backend_fd(loop_) : -1;

	ready_count_ = 0;
	for (int at = 0; at < count; at++) {
		if (ready_[at].fd == loop_fd)
			is_loop_due_ = true;
		else
			ready_[ready_count_++] = ready_[at];
	}
	return count > 0;
}

const struct ready_socket *LoopWatch::ready_now(size_t *count)
{
	take_ready(0);
	*count = ready_count_;
	return ready_;
}

/* In the place where the loop would wait, until it has something to do: also when a turn has given it something. */
void LoopWatch::wait()
{
	is_loop_due_ = false;
	while (is_on_ && !is_loop_due_) {
		int wait_ms = patience();
		bool is_any = take_ready(wait_ms);

		if (ready_count_ > 0)
			turn_(owner_, ready_, ready_count_);
		/* What is due by time is due by the loop's clock. */
		if (!is_any)
			uv_update_time(loop_);
		if (wait_ms == 0 || !is_any)
			return;
	}
}

void LoopWatch::on_prepare(struct uv_prepare_s *prepare)
{
	static_cast<LoopWatch *>(uv_handle_get_data(handle_of(prepare)))->wait();
}

/* It only keeps the loop from waiting. */
void LoopWatch::on_idle(struct uv_idle_s *)
{
}

void LoopWatch::on_poll(struct uv_poll_s *poll, int, int)
{
	LoopWatch *self = static_cast<LoopWatch *>(uv_handle_get_data(handle_of(poll)));

	if (self->take_ready(0) && self->owner_ != nullptr)
		self->turn_(self->owner_, self->ready_, self->ready_count_);
}
