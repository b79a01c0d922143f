// What JavaScript gives and gets: checked arguments, targets and files as objects, replies. A wrong argument throws a
// TypeError that names its place.
#pragma once

#include <napi.h>

#include <memory>
#include <optional>
#include <string>

#include "operations.h"
#include "tasks.h"

namespace fs_env {

using Arguments = const Napi::CallbackInfo &;

uint32_t number_at(Arguments info, size_t index);
uint64_t bigint_at(Arguments info, size_t index);
bool boolean_at(Arguments info, size_t index);
std::string bytes_at(Arguments info, size_t index);

std::optional<uint32_t> optional_number_at(Arguments info, size_t index);
std::optional<uint64_t> optional_bigint_at(Arguments info, size_t index);
// null: unchanged; 'now'; or nanoseconds since the epoch.
struct timespec time_at(Arguments info, size_t index);

// Throw when the object is none, or closed.
std::shared_ptr<Target> target_at(Arguments info, size_t index);
SharedDescriptor file_at(Arguments info, size_t index);

// After it the object counts as closed. The last one who works with what was behind it ends it, on a worker's thread.
void close_target_at(Arguments info, size_t index);
void close_file_at(Arguments info, size_t index);

Napi::Value wrap_target(Napi::Env env, std::shared_ptr<Target> target);

// Runs an operation; the promise is of { head, data, file }.
Napi::Value run_operation(Napi::Env env, std::function<Reply()> operation);

} // namespace fs_env
