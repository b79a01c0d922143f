// Open files. Device nodes of a target are not opened, because we stand outside the device rules of its control group;
// those that do nothing but give or take bytes are. A pipe is opened without waiting for its other end.
#include <fcntl.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "operations.h"
#include "resolve.h"

namespace fs_env {

namespace {

constexpr uint64_t KNOWN_FLAGS = O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND | O_NONBLOCK | O_DSYNC |
				 O_SYNC | O_LARGEFILE | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_TMPFILE;
constexpr uint32_t MODE_BITS = 07777;
constexpr unsigned STAT_MASK = STATX_BASIC_STATS | STATX_BTIME;

// null, zero, full, random, urandom (admin-guide/devices.txt): without state, the same for everybody.
bool is_harmless_device(const struct statx &stat)
{
	if (!S_ISCHR(stat.stx_mode) || stat.stx_rdev_major != 1)
		return false;
	unsigned minor = stat.stx_rdev_minor;
	return minor == 3 || minor == 5 || minor == 7 || minor == 8 || minor == 9;
}

bool is_refused(const struct statx &stat)
{
	return (S_ISCHR(stat.stx_mode) || S_ISBLK(stat.stx_mode)) && !is_harmless_device(stat);
}

// EACCES for what must not be opened; 0 when it may, or when the open itself will say what is wrong.
int check_before_open(const Target &target, const OpenRequest &request)
{
	Descriptor found(locate(target.root->get(), request.path, request.flags & O_NOFOLLOW));
	struct statx stat;
	if (!found.valid() || statx(found.get(), "", AT_EMPTY_PATH, STATX_TYPE | STATX_MODE, &stat) != 0)
		return 0;
	return is_refused(stat) ? EACCES : 0;
}

// True when all of the file fitted: `data` is then its content. Sizes are not believed, files of /proc have none.
bool read_whole(int fd, uint32_t limit_bytes, size_t expected_bytes, std::vector<uint8_t> *data)
{
	// One byte more than expected shows the end without another read for most files.
	data->resize(std::min<size_t>(limit_bytes, std::max<size_t>(expected_bytes, 4095)) + 1);
	size_t have = 0;
	for (;;) {
		ssize_t count = pread(fd, data->data() + have, data->size() - have, static_cast<off_t>(have));
		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return false;
		have += static_cast<size_t>(count);
		if (count == 0)
			break;
		if (have > limit_bytes)
			return false;
		if (have == data->size())
			data->resize(std::min<size_t>(limit_bytes + size_t{1}, have * 2));
	}
	data->resize(have);
	return true;
}

ssize_t read_once(int fd, uint8_t *data, size_t length, uint64_t offset)
{
	ssize_t count = pread(fd, data, length, static_cast<off_t>(offset));
	// Pipes and some devices have no positions.
	return count < 0 && errno == ESPIPE ? read(fd, data, length) : count;
}

ssize_t write_once(int fd, const uint8_t *data, size_t length, uint64_t offset)
{
	ssize_t count = pwrite(fd, data, length, static_cast<off_t>(offset));
	return count < 0 && errno == ESPIPE ? write(fd, data, length) : count;
}

} // namespace

Reply open_file(const Target &target, const OpenRequest &request)
{
	if (request.flags & O_PATH)
		return failed(EOPNOTSUPP);
	uint64_t flags = request.flags & KNOWN_FLAGS;
	bool is_creating = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
	bool is_new_only = (flags & O_CREAT) && (flags & O_EXCL);
	if (!is_new_only)
		if (int error = check_before_open(target, request))
			return failed(error);
	int fd = open_in_root(target.root->get(), request.path, flags | O_NOCTTY | O_NONBLOCK,
			      is_creating ? request.mode & MODE_BITS : 0);
	if (fd < 0)
		return failed(-fd);
	Descriptor file(fd);
	struct statx stat;
	if (statx(fd, "", AT_EMPTY_PATH, STAT_MASK, &stat) != 0)
		return failed(errno);
	// A name may have become a device's between the check and the open.
	if (is_refused(stat))
		return failed(EACCES);
	bool may_inline = S_ISREG(stat.stx_mode) && (flags & O_ACCMODE) == O_RDONLY && request.inline_bytes > 0;
	if (may_inline && stat.stx_size <= request.inline_bytes) {
		std::vector<uint8_t> data;
		if (read_whole(fd, request.inline_bytes, stat.stx_size, &data)) {
			Reply reply = opened(request.keeps_open ? request.handle : 0, stat);
			reply.data = std::move(data);
			if (request.keeps_open)
				reply.file = std::make_shared<Descriptor>(std::move(file));
			return reply;
		}
	}
	Reply reply = opened(request.handle, stat);
	reply.file = std::make_shared<Descriptor>(std::move(file));
	return reply;
}

Reply read_file(const Descriptor &file, uint64_t offset, uint32_t length)
{
	Reply reply;
	reply.data.resize(length);
	size_t have = 0;
	while (have < length) {
		ssize_t count = read_once(file.get(), reply.data.data() + have, length - have, offset + have);
		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0 && have == 0)
			return failed(errno);
		if (count <= 0)
			break;
		have += static_cast<size_t>(count);
	}
	reply.data.resize(have);
	return reply;
}

Reply write_file(const Descriptor &file, uint64_t offset, const uint8_t *data, size_t length)
{
	size_t done = 0;
	while (done < length) {
		ssize_t count = write_once(file.get(), data + done, length - done, offset + done);
		if (count < 0 && errno == EINTR)
			continue;
		// What is written is written: a short count now, as write(2) has it, and the reason at the next try.
		if (count < 0 && done == 0)
			return failed(errno);
		if (count <= 0)
			break;
		done += static_cast<size_t>(count);
	}
	return written(static_cast<uint32_t>(done));
}

Reply sync_file(const Descriptor &file, bool data_only)
{
	int result = data_only ? fdatasync(file.get()) : fsync(file.get());
	return result == 0 ? succeeded() : failed(errno);
}

} // namespace fs_env
