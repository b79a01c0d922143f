// Effective ids, not only setfsuid(2)'s: settings below /proc/sys are opened by euid. Groups and capabilities are set as well,
// the latter because a root without them is a user like others. Real and saved ids stay ours, so that we find back.
#include "credentials.h"

#include <linux/capability.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

namespace fs_env {

namespace {

struct KernelCapabilities {
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2] = {};

	bool read() { return syscall(SYS_capget, &header, data) == 0; }
	bool write() { return syscall(SYS_capset, &header, data) == 0; }
	uint64_t permitted() const { return data[0].permitted | uint64_t{data[1].permitted} << 32; }
	void set_effective(uint64_t value)
	{
		data[0].effective = static_cast<uint32_t>(value);
		data[1].effective = static_cast<uint32_t>(value >> 32);
	}
};

// Raw, for this thread alone. The ids about files follow the effective ones (credentials(7)).
bool set_ids(const Credentials &wanted)
{
	return syscall(SYS_setresgid, -1, wanted.gid, -1) == 0 && syscall(SYS_setresuid, -1, wanted.uid, -1) == 0;
}

thread_local std::optional<Credentials> assumed;

} // namespace

void separate_thread()
{
	if (unshare(CLONE_FS) == 0)
		umask(0);
}

Credentials own_credentials()
{
	return Credentials{getuid(), getgid(), {}, ~uint64_t{0}};
}

int assume(const Credentials &credentials)
{
	if (getuid() != 0 || assumed == credentials)
		return 0;
	assumed.reset();
	KernelCapabilities own;
	if (!own.read())
		return errno;
	// All of ours first: changing groups and ids needs them.
	own.set_effective(own.permitted());
	if (!own.write())
		return errno;
	if (syscall(SYS_setgroups, credentials.groups.size(), credentials.groups.data()) != 0)
		return errno;
	if (!set_ids(credentials))
		return errno;
	own.set_effective(own.permitted() & credentials.capabilities);
	if (!own.write())
		return errno;
	assumed = credentials;
	return 0;
}

} // namespace fs_env
