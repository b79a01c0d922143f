// One target process: its root folder, its identity and its rights, all taken at one moment under the protection of a pidfd.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "credentials.h"
#include "descriptor.h"

namespace fs_env {

struct Target {
	SharedDescriptor root;
	SharedDescriptor pidfd;
	// Names of the watches on its end; of the event loop only.
	std::vector<uint64_t> watches;

	Target(SharedDescriptor root, SharedDescriptor pidfd, Descriptor process, Credentials credentials);

	// As the process has them: many start as root and then become who they are. At most a second old.
	Credentials credentials();

    private:
	// The process's folder in /proc; with the process gone it says ESRCH, never another's.
	Descriptor process_;
	std::mutex mutex_;
	Credentials credentials_;
	std::chrono::steady_clock::time_point read_at_;
};

struct Attached {
	// 0, or ESRCH: no such process, or another one than was meant.
	int errno_value = 0;
	// The step that failed, for the message.
	const char *step = "";
	std::shared_ptr<Target> target;
	uint64_t start_time_ticks = 0;
	std::string environment;
};

// start_time_ticks 0: whoever has the id now. The environment is E2BIG beyond environment_bytes, and not read for 0.
Attached attach(pid_t pid, uint64_t start_time_ticks, size_t environment_bytes);

} // namespace fs_env
