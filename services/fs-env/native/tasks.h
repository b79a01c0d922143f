// Work of the pool as promises of one Node environment (the main thread or a worker's).
#pragma once

#include <napi.h>

#include <functional>
#include <memory>

namespace fs_env {

// Makes the value on the event loop.
using Settle = std::function<Napi::Value(Napi::Env)>;

// Called when the addon is loaded into an environment.
void open_tasks(Napi::Env env);

// Runs work in the pool; what it returns makes the value of the promise.
Napi::Promise run_task(Napi::Env env, std::function<Settle()> work);

// A promise settled from any thread, once, by calling what `start` is given. It does not keep the event loop alive.
Napi::Promise wait_task(Napi::Env env, const std::function<void(std::function<void(Settle)>)> &start);

} // namespace fs_env
