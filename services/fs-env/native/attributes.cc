// Mode, owner, size and times of a file that was located (O_PATH) or is open.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "operations.h"
#include "resolve.h"

namespace fs_env {

namespace {

constexpr uint32_t MODE_BITS = 07777;
constexpr uid_t UNCHANGED = static_cast<uid_t>(-1);

int told(long result)
{
	return result == 0 ? 0 : errno;
}

// chmod(2) of an O_PATH descriptor: fchmodat2(2) is of Linux 6.6, the way through /proc is older. On a link the latter
// would change its mode on some file systems, which the kernel means to refuse (EOPNOTSUPP).
int change_mode(int fd, bool is_open, uint32_t mode)
{
	if (is_open)
		return told(fchmod(fd, mode & MODE_BITS));
	struct statx stat;
	if (statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &stat) != 0)
		return errno;
	if (S_ISLNK(stat.stx_mode))
		return EOPNOTSUPP;
	return told(chmod(own_path(fd).c_str(), mode & MODE_BITS));
}

int change_size(int fd, bool is_open, uint64_t size)
{
	// Of an O_PATH descriptor: what was located is a link only if links were not to be followed.
	if (is_open)
		return told(ftruncate(fd, static_cast<off_t>(size)));
	struct statx stat;
	if (statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &stat) != 0)
		return errno;
	if (!S_ISREG(stat.stx_mode))
		return S_ISDIR(stat.stx_mode) ? EISDIR : EINVAL;
	return told(truncate(own_path(fd).c_str(), static_cast<off_t>(size)));
}

bool has_times(const Attributes &wanted)
{
	return wanted.times[0].tv_nsec != UTIME_OMIT || wanted.times[1].tv_nsec != UTIME_OMIT;
}

Reply apply(const Descriptor &file, bool is_open, const Attributes &wanted)
{
	int fd = file.get();
	int error = 0;
	if (wanted.mode)
		error = change_mode(fd, is_open, *wanted.mode);
	if (error == 0 && (wanted.uid || wanted.gid))
		error = told(fchownat(fd, "", wanted.uid.value_or(UNCHANGED), wanted.gid.value_or(UNCHANGED),
				      AT_EMPTY_PATH));
	if (error == 0 && wanted.size)
		error = change_size(fd, is_open, *wanted.size);
	if (error == 0 && has_times(wanted))
		error = told(syscall(SYS_utimensat, fd, "", wanted.times, AT_EMPTY_PATH));
	return error == 0 ? stat_file(file) : failed(error);
}

} // namespace

Reply set_attributes_path(const Target &target, const std::string &path, bool no_follow, const Attributes &wanted)
{
	int fd = locate(target.root->get(), path, no_follow);
	return fd < 0 ? failed(-fd) : apply(Descriptor(fd), false, wanted);
}

Reply set_attributes_file(const Descriptor &file, const Attributes &wanted)
{
	return apply(file, true, wanted);
}

} // namespace fs_env
