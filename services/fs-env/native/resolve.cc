// The kernel resolves (openat2(2), Linux 5.6): RESOLVE_IN_ROOT makes `/`, `..` and absolute links mean the target's, and
// RESOLVE_NO_MAGICLINKS refuses the links of /proc that jump elsewhere.
#include "resolve.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/syscall.h>

#include <cerrno>
#include <climits>

namespace fs_env {

namespace {

// While anything is renamed or mounted in the machine the kernel cannot be sure about a `..` and says EAGAIN; after so
// many tries the caller gets it.
constexpr int MAX_TRIES = 128;

int path_fault(const std::string &path)
{
	if (path.empty())
		return ENOENT;
	if (path.size() >= PATH_MAX)
		return ENAMETOOLONG;
	if (path[0] != '/' || path.find('\0') != std::string::npos)
		return EINVAL;
	return 0;
}

} // namespace

int open_in_root(int root, const std::string &path, uint64_t flags, uint64_t mode)
{
	if (int fault = path_fault(path))
		return -fault;
	struct open_how how = {flags | O_CLOEXEC, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	for (int tries = 1;; tries++) {
		long fd = syscall(SYS_openat2, root, path.c_str(), &how, sizeof(how));
		if (fd >= 0)
			return static_cast<int>(fd);
		if (errno != EINTR && (errno != EAGAIN || tries >= MAX_TRIES))
			return -errno;
		if (tries > 4)
			sched_yield();
	}
}

int locate(int root, const std::string &path, bool no_follow)
{
	return open_in_root(root, path, O_PATH | (no_follow ? O_NOFOLLOW : 0), 0);
}

Place find_place(int root, const std::string &path)
{
	Place place;
	place.errno_value = path_fault(path);
	if (place.errno_value != 0)
		return place;
	size_t last = path.find_last_not_of('/');
	place.is_root = last == std::string::npos;
	size_t start = place.is_root ? 0 : path.rfind('/', last) + 1;
	// Of the root itself every call says the same as of `.`, the exceptions are the callers'.
	place.name = place.is_root ? "." : path.substr(start);
	int fd = open_in_root(root, place.is_root ? "/" : path.substr(0, start), O_PATH | O_DIRECTORY, 0);
	if (fd < 0)
		place.errno_value = -fd;
	else
		place.folder = Descriptor(fd);
	return place;
}

std::string own_path(int fd)
{
	return "/proc/self/fd/" + std::to_string(fd);
}

} // namespace fs_env
