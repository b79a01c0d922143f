// Everything is read through one descriptor of /proc/PID, which never means another process, and the pidfd is asked at the
// end whether that process was alive all the while.
#include "target.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <sstream>

namespace fs_env {

namespace {

// status and stat of a process with the most groups there can be (65,536) are under this.
constexpr size_t STATUS_BYTES = 1024 * 1024;

constexpr auto CREDENTIALS_LIFETIME = std::chrono::seconds(1);

int read_all(int folder, const char *name, size_t limit_bytes, std::string *content)
{
	Descriptor file(openat(folder, name, O_RDONLY | O_CLOEXEC));
	if (!file.valid())
		return errno;
	char buffer[16 * 1024];
	for (;;) {
		ssize_t count = read(file.get(), buffer, sizeof(buffer));
		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return errno;
		if (count == 0)
			return 0;
		content->append(buffer, static_cast<size_t>(count));
		if (content->size() > limit_bytes)
			return E2BIG;
	}
}

// Field 22 of proc(5) /proc/PID/stat; the name in field 2 may hold anything, so it is counted from its last parenthesis.
uint64_t parse_start_time(const std::string &stat)
{
	size_t end = stat.rfind(')');
	if (end == std::string::npos)
		return 0;
	std::istringstream fields(stat.substr(end + 1));
	std::string field;
	for (int number = 3; number <= 22; number++)
		fields >> field;
	return strtoull(field.c_str(), nullptr, 10);
}

Credentials parse_credentials(const std::string &status, bool has_own_users)
{
	Credentials result;
	std::istringstream lines(status);
	std::string line;
	while (std::getline(lines, line)) {
		std::istringstream fields(line);
		std::string key, real, effective, saved, file;
		fields >> key;
		if (key == "Uid:" && fields >> real >> effective >> saved >> file)
			result.uid = static_cast<uid_t>(strtoul(file.c_str(), nullptr, 10));
		else if (key == "Gid:" && fields >> real >> effective >> saved >> file)
			result.gid = static_cast<gid_t>(strtoul(file.c_str(), nullptr, 10));
		else if (key == "Groups:")
			for (unsigned long group; fields >> group;)
				result.groups.push_back(static_cast<gid_t>(group));
		else if (key == "CapEff:" && fields >> file)
			result.capabilities = strtoull(file.c_str(), nullptr, 16);
	}
	// Of a user namespace of its own they count only there; with us they would count everywhere.
	if (has_own_users)
		result.capabilities = 0;
	return result;
}

bool has_own_user_namespace(int process)
{
	struct stat own, theirs;
	return fstatat(process, "ns/user", &theirs, 0) != 0 || stat("/proc/self/ns/user", &own) != 0 ||
	       own.st_ino != theirs.st_ino || own.st_dev != theirs.st_dev;
}

bool has_ended(int pidfd)
{
	struct pollfd poll_fd = {pidfd, POLLIN, 0};
	return poll(&poll_fd, 1, 0) != 0;
}

Attached refused(int errno_value, const char *step)
{
	Attached result;
	// A process that ends while it is read: its files answer ENOENT or ESRCH.
	result.errno_value = errno_value == ENOENT ? ESRCH : errno_value;
	result.step = step;
	return result;
}

} // namespace

Target::Target(SharedDescriptor root, SharedDescriptor pidfd, Descriptor process, Credentials credentials)
    : root(std::move(root)), pidfd(std::move(pidfd)), process_(std::move(process)), credentials_(std::move(credentials)),
      read_at_(std::chrono::steady_clock::now())
{
}

Credentials Target::credentials()
{
	std::lock_guard lock(mutex_);
	auto now = std::chrono::steady_clock::now();
	if (now - read_at_ < CREDENTIALS_LIFETIME)
		return credentials_;
	std::string status;
	// Looking at a process of another user needs our own rights.
	if (assume(own_credentials()) != 0)
		return credentials_;
	// Of a process that has ended the last ones count, until its end is told.
	if (read_all(process_.get(), "status", STATUS_BYTES, &status) == 0)
		credentials_ = parse_credentials(status, has_own_user_namespace(process_.get()));
	read_at_ = now;
	return credentials_;
}

Attached attach(pid_t pid, uint64_t start_time_ticks, size_t environment_bytes)
{
	Descriptor pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
	if (!pidfd.valid())
		return refused(errno == EINVAL ? ESRCH : errno, "pidfd_open");
	std::string folder = "/proc/" + std::to_string(pid);
	Descriptor process(open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
	if (!process.valid())
		return refused(errno, "process");
	std::string stat, status;
	Attached result;
	if (int error = read_all(process.get(), "stat", STATUS_BYTES, &stat))
		return refused(error, "stat");
	result.start_time_ticks = parse_start_time(stat);
	if (start_time_ticks != 0 && result.start_time_ticks != start_time_ticks)
		return refused(ESRCH, "start time");
	if (int error = read_all(process.get(), "status", STATUS_BYTES, &status))
		return refused(error, "status");
	Descriptor root(openat(process.get(), "root", O_PATH | O_DIRECTORY | O_CLOEXEC));
	if (!root.valid())
		return refused(errno, "root");
	if (environment_bytes > 0)
		if (int error = read_all(process.get(), "environ", environment_bytes, &result.environment))
			return refused(error, "environ");
	auto credentials = parse_credentials(status, has_own_user_namespace(process.get()));
	// Asked last: alive now, it was the one all along.
	if (has_ended(pidfd.get()))
		return refused(ESRCH, "end");
	result.target = std::make_shared<Target>(std::make_shared<Descriptor>(std::move(root)),
						 std::make_shared<Descriptor>(std::move(pidfd)), std::move(process),
						 std::move(credentials));
	return result;
}

} // namespace fs_env
