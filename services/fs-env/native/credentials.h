// With whose rights the calling thread touches files. Everything here is per thread: the kernel keeps credentials by thread,
// and the raw calls are used where the C library would change all threads (nptl(7)).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

namespace fs_env {

struct Credentials {
	uid_t uid = 0;
	gid_t gid = 0;
	std::vector<gid_t> groups;
	// Those in effect (capabilities(7)), as bits.
	uint64_t capabilities = 0;

	bool operator==(const Credentials &other) const
	{
		return uid == other.uid && gid == other.gid && groups == other.groups &&
		       capabilities == other.capabilities;
	}
};

// Puts the thread's folder and umask apart from the process's and the umask to 0: modes come with the caller's umask taken
// off. Once per worker.
void separate_thread();

// As this process was started.
Credentials own_credentials();

// From here on the thread has these rights and no others; or an errno (0: done). Without root there is
// nothing to put on and we remain who we are.
int assume(const Credentials &credentials);

} // namespace fs_env
