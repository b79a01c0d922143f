// Pages of a directory with the lstat of every entry. The position of the descriptor belongs to whoever reads, so callers
// read one page of a directory at a time.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>

#include "operations.h"

namespace fs_env {

namespace {

// A frame's head holds 128 KiB (proto/v1/frame.proto); the rest of the FileReply is a few dozen bytes.
constexpr size_t PAGE_BYTES = 128 * 1024 - 128;
constexpr size_t BUFFER_BYTES = 32 * 1024;
constexpr unsigned STAT_MASK = STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID;

// linux/dirent.h keeps it to itself (getdents(2)).
struct linux_dirent64 {
	uint64_t d_ino;
	int64_t d_off;
	unsigned short d_reclen;
	unsigned char d_type;
	char d_name[];
};

bool is_same(int one, int other)
{
	struct statx a, b;
	return statx(one, "", AT_EMPTY_PATH, STAT_MASK, &a) == 0 && statx(other, "", AT_EMPTY_PATH, STAT_MASK, &b) == 0 &&
	       a.stx_ino == b.stx_ino && a.stx_dev_major == b.stx_dev_major && a.stx_dev_minor == b.stx_dev_minor &&
	       a.stx_mnt_id == b.stx_mnt_id;
}

std::string encode_entry(int directory, bool is_root, const linux_dirent64 &entry)
{
	std::string_view name(entry.d_name);
	// Above the root there is the root, also where the target's root is a folder of a larger file system.
	const char *looked_up = is_root && name == ".." ? "." : entry.d_name;
	struct statx stat;
	bool has_stat = statx(directory, looked_up, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STAT_MASK, &stat) == 0;
	Message message;
	message.bytes(1, name);
	if (has_stat)
		message.bytes(2, encode_stat(stat));
	message.number(3, static_cast<uint64_t>(entry.d_off));
	if (!has_stat) {
		message.number(4, entry.d_type);
		message.number(5, entry.d_ino);
	}
	return message.take();
}

} // namespace

Reply read_directory(const Target &target, const Descriptor &directory, uint64_t cookie, uint32_t entries)
{
	int fd = directory.get();
	if (entries == 0)
		return failed(EINVAL);
	if (lseek(fd, static_cast<off_t>(cookie), SEEK_SET) < 0)
		return failed(errno == ESPIPE ? ENOTDIR : errno);
	bool is_root = is_same(fd, target.root->get());
	DirectoryReply page;
	uint32_t taken = 0;
	alignas(linux_dirent64) char buffer[BUFFER_BYTES];
	for (;;) {
		long count = syscall(SYS_getdents64, fd, buffer, sizeof(buffer));
		if (count < 0 && taken == 0)
			return failed(errno);
		if (count <= 0)
			return page.finish(cookie, count == 0);
		for (long at = 0; at < count;) {
			auto *entry = reinterpret_cast<const linux_dirent64 *>(buffer + at);
			std::string encoded = encode_entry(fd, is_root, *entry);
			// Two bytes of tag and up to two of length.
			if (taken == entries || page.bytes() + encoded.size() + 4 > PAGE_BYTES)
				return page.finish(cookie, false);
			page.add(encoded);
			taken++;
			cookie = static_cast<uint64_t>(entry->d_off);
			at += entry->d_reclen;
		}
	}
}

} // namespace fs_env
