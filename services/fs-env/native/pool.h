// Threads for calls that block. Started one by one as they are needed, up to a limit, and kept: a file system that hangs
// takes only the threads of those who wait for it. Node's own pool has four threads, which name lookups need as well.
#pragma once

#include <functional>

namespace fs_env {

// Runs work on a thread of the pool, which lives as long as the process. Never blocks, never throws.
void run_in_pool(std::function<void()> work);

} // namespace fs_env
