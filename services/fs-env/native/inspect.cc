// Looking at files: each path is located once (O_PATH) and then asked about, so that both steps mean the same file.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <climits>

#include "operations.h"
#include "resolve.h"

namespace fs_env {

namespace {

constexpr unsigned STAT_MASK = STATX_BASIC_STATS | STATX_BTIME;

} // namespace

Reply stat_file(const Descriptor &file)
{
	struct statx stat;
	if (statx(file.get(), "", AT_EMPTY_PATH, STAT_MASK, &stat) != 0)
		return failed(errno);
	return stat_reply(stat);
}

Reply stat_path(const Target &target, const std::string &path, bool no_follow)
{
	int fd = locate(target.root->get(), path, no_follow);
	return fd < 0 ? failed(-fd) : stat_file(Descriptor(fd));
}

Reply stat_fs_file(const Descriptor &file)
{
	struct statfs stat;
	return fstatfs(file.get(), &stat) == 0 ? stat_fs_reply(stat) : failed(errno);
}

Reply stat_fs_path(const Target &target, const std::string &path)
{
	int fd = locate(target.root->get(), path, false);
	return fd < 0 ? failed(-fd) : stat_fs_file(Descriptor(fd));
}

Reply read_link(const Target &target, const std::string &path)
{
	int fd = locate(target.root->get(), path, true);
	if (fd < 0)
		return failed(-fd);
	Descriptor link(fd);
	struct statx stat;
	if (statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &stat) != 0)
		return failed(errno);
	// readlinkat(2) with an empty path would say ENOENT.
	if (!S_ISLNK(stat.stx_mode))
		return failed(EINVAL);
	Reply reply;
	reply.data.resize(PATH_MAX);
	ssize_t length = readlinkat(fd, "", reinterpret_cast<char *>(reply.data.data()), reply.data.size());
	if (length < 0)
		return failed(errno);
	reply.data.resize(static_cast<size_t>(length));
	return reply;
}

Reply access_path(const Target &target, const std::string &path, uint32_t mode, uint32_t flags)
{
	if (flags & ~static_cast<uint32_t>(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return failed(EINVAL);
	int fd = locate(target.root->get(), path, flags & AT_SYMLINK_NOFOLLOW);
	if (fd < 0)
		return failed(-fd);
	Descriptor found(fd);
	// Without AT_EACCESS our real user, not the target's, would be asked about.
	long result = syscall(SYS_faccessat2, fd, "", mode, AT_EMPTY_PATH | AT_EACCESS);
	return result == 0 ? succeeded() : failed(errno);
}

} // namespace fs_env
