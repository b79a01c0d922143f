// Tells when processes end, by their pidfds, from one thread of its own.
#pragma once

#include <cstdint>
#include <functional>

#include "descriptor.h"

namespace fs_env {

// Calls on_end once, from the watcher's thread: true when the process has ended, false when forget came first. Returns
// the name of the watch, 0 when there can be none (errno).
uint64_t watch_end(SharedDescriptor pidfd, std::function<void(bool)> on_end);

// Has no effect on a watch that is over.
void forget(uint64_t watch);

} // namespace fs_env
