// Names come, go and move. The folder of a name is found in the target's root and the call made with the bare name: none
// of these calls follows a link in the last part of a path.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "operations.h"
#include "resolve.h"

namespace fs_env {

namespace {

constexpr uint32_t MODE_BITS = 07777;

Reply told(long result)
{
	return result == 0 ? succeeded() : failed(errno);
}

} // namespace

Reply make_directory(const Target &target, const std::string &path, uint32_t mode)
{
	Place place = find_place(target.root->get(), path);
	if (place.errno_value != 0)
		return failed(place.errno_value);
	return told(mkdirat(place.folder.get(), place.name.c_str(), mode & MODE_BITS));
}

Reply remove_directory(const Target &target, const std::string &path)
{
	Place place = find_place(target.root->get(), path);
	if (place.errno_value != 0)
		return failed(place.errno_value);
	// Of `.` it would be EINVAL.
	if (place.is_root)
		return failed(EBUSY);
	return told(unlinkat(place.folder.get(), place.name.c_str(), AT_REMOVEDIR));
}

Reply unlink_path(const Target &target, const std::string &path)
{
	Place place = find_place(target.root->get(), path);
	if (place.errno_value != 0)
		return failed(place.errno_value);
	return told(unlinkat(place.folder.get(), place.name.c_str(), 0));
}

Reply rename_path(const Target &target, const std::string &from, const std::string &to, uint32_t flags)
{
	Place source = find_place(target.root->get(), from);
	if (source.errno_value != 0)
		return failed(source.errno_value);
	Place destination = find_place(target.root->get(), to);
	if (destination.errno_value != 0)
		return failed(destination.errno_value);
	return told(syscall(SYS_renameat2, source.folder.get(), source.name.c_str(), destination.folder.get(),
			    destination.name.c_str(), flags));
}

Reply symlink_path(const Target &target, const std::string &content, const std::string &path)
{
	if (content.find('\0') != std::string::npos)
		return failed(EINVAL);
	Place place = find_place(target.root->get(), path);
	if (place.errno_value != 0)
		return failed(place.errno_value);
	return told(symlinkat(content.c_str(), place.folder.get(), place.name.c_str()));
}

Reply link_path(const Target &target, const std::string &from, const std::string &to, uint32_t flags)
{
	if (flags & ~static_cast<uint32_t>(AT_SYMLINK_FOLLOW))
		return failed(EINVAL);
	int fd = locate(target.root->get(), from, !(flags & AT_SYMLINK_FOLLOW));
	if (fd < 0)
		return failed(-fd);
	Descriptor source(fd);
	Place place = find_place(target.root->get(), to);
	if (place.errno_value != 0)
		return failed(place.errno_value);
	// The bare name would do but for `name/`, whose link the kernel follows; this jumps to what was found and no further.
	return told(linkat(AT_FDCWD, own_path(fd).c_str(), place.folder.get(), place.name.c_str(), AT_SYMLINK_FOLLOW));
}

} // namespace fs_env
