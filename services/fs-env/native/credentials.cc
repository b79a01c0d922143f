// setfsuid(2) alone leaves the groups and does nothing about a root without capabilities, so both are set as well.
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

constexpr uint64_t bit(int capability)
{
	return uint64_t{1} << capability;
}

// Those that decide about files and that a change of fsuid turns on and off (capabilities(7), "Effect of user ID changes").
constexpr uint64_t FILE_CAPABILITIES = bit(CAP_CHOWN) | bit(CAP_DAC_OVERRIDE) | bit(CAP_DAC_READ_SEARCH) |
				       bit(CAP_FOWNER) | bit(CAP_FSETID) | bit(CAP_LINUX_IMMUTABLE) |
				       bit(CAP_MAC_OVERRIDE) | bit(CAP_MKNOD) | bit(CAP_SYS_RESOURCE);

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

// setfsuid(2) tells no errors: the new id is read back by asking for an impossible one.
bool set_ids(const Credentials &wanted)
{
	syscall(SYS_setfsgid, wanted.gid);
	syscall(SYS_setfsuid, wanted.uid);
	return static_cast<gid_t>(syscall(SYS_setfsgid, -1)) == wanted.gid &&
	       static_cast<uid_t>(syscall(SYS_setfsuid, -1)) == wanted.uid;
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
	return Credentials{geteuid(), getegid(), {}, ~uint64_t{0}};
}

int assume(const Credentials &credentials)
{
	if (geteuid() != 0 || assumed == credentials)
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
		return EPERM;
	own.set_effective((own.permitted() & ~FILE_CAPABILITIES) |
			  (own.permitted() & FILE_CAPABILITIES & credentials.capabilities));
	if (!own.write())
		return errno;
	assumed = credentials;
	return 0;
}

} // namespace fs_env
