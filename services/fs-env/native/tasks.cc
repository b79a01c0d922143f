// Finished tasks are gathered and settled together: one wake-up of the event loop for as many as are ready.
#include "tasks.h"

#include <mutex>
#include <vector>

#include "pool.h"

namespace fs_env {

namespace {

struct Finished {
	napi_deferred deferred;
	Settle settle;
	bool keeps_alive;
};

// Of one environment. Workers hold it too and find it closed when the environment has gone.
struct Loop {
	std::mutex mutex;
	std::vector<Finished> finished;
	bool is_closed = false;
	napi_threadsafe_function wake = nullptr;
	// Event loop only: tasks that keep the loop alive.
	size_t running = 0;
};

using SharedLoop = std::shared_ptr<Loop>;

void finish(const SharedLoop &loop, Finished task)
{
	std::lock_guard lock(loop->mutex);
	if (loop->is_closed)
		return;
	loop->finished.push_back(std::move(task));
	if (loop->finished.size() == 1)
		napi_call_threadsafe_function(loop->wake, nullptr, napi_tsfn_nonblocking);
}

void settle_finished(napi_env env, napi_value, void *context, void *)
{
	if (env == nullptr)
		return;
	auto &loop = *static_cast<SharedLoop *>(context);
	std::vector<Finished> finished;
	{
		std::lock_guard lock(loop->mutex);
		finished.swap(loop->finished);
	}
	for (Finished &task : finished) {
		Napi::HandleScope scope(env);
		try {
			napi_resolve_deferred(env, task.deferred, task.settle(env));
		} catch (const Napi::Error &error) {
			napi_reject_deferred(env, task.deferred, error.Value());
		}
		if (task.keeps_alive && --loop->running == 0)
			napi_unref_threadsafe_function(env, loop->wake);
	}
}

void close_loop(void *context)
{
	auto *loop = static_cast<SharedLoop *>(context);
	std::lock_guard lock((*loop)->mutex);
	(*loop)->is_closed = true;
	(*loop)->finished.clear();
}

SharedLoop &loop_of(Napi::Env env)
{
	return *env.GetInstanceData<SharedLoop>();
}

// The deferred is a bare pointer, so that a worker that holds it has nothing to do with JavaScript's memory.
Napi::Promise make_promise(Napi::Env env, napi_deferred *deferred)
{
	napi_value promise;
	napi_status status = napi_create_promise(env, deferred, &promise);
	if (status != napi_ok)
		throw Napi::Error::New(env);
	return Napi::Promise(env, promise);
}

} // namespace

void open_tasks(Napi::Env env)
{
	auto *loop = new SharedLoop(std::make_shared<Loop>());
	env.SetInstanceData(loop);
	napi_status status = napi_create_threadsafe_function(env, nullptr, nullptr, Napi::String::New(env, "fs-env"), 0,
							     1, nullptr, nullptr, loop, settle_finished, &(*loop)->wake);
	NAPI_THROW_IF_FAILED_VOID(env, status);
	napi_unref_threadsafe_function(env, (*loop)->wake);
	napi_add_env_cleanup_hook(env, close_loop, loop);
}

Napi::Promise run_task(Napi::Env env, std::function<Settle()> work)
{
	SharedLoop loop = loop_of(env);
	napi_deferred deferred;
	Napi::Promise promise = make_promise(env, &deferred);
	if (loop->running++ == 0)
		napi_ref_threadsafe_function(env, loop->wake);
	run_in_pool([loop, deferred, work = std::move(work)]() mutable {
		Settle settle = work();
		work = nullptr;
		finish(loop, Finished{deferred, std::move(settle), true});
	});
	return promise;
}

Napi::Promise wait_task(Napi::Env env, const std::function<void(std::function<void(Settle)>)> &start)
{
	SharedLoop loop = loop_of(env);
	napi_deferred deferred;
	Napi::Promise promise = make_promise(env, &deferred);
	start([loop, deferred](Settle settle) { finish(loop, Finished{deferred, std::move(settle), false}); });
	return promise;
}

} // namespace fs_env
