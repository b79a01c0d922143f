// Field numbers are those of proto/v1/fs_env.proto.
#include "reply.h"

#include <sys/sysmacros.h>

#include <cstring>

namespace fs_env {

namespace {

constexpr int64_t NS_PER_SECOND = 1'000'000'000;

int64_t nanoseconds(const struct statx_timestamp &time)
{
	return time.tv_sec * NS_PER_SECOND + time.tv_nsec;
}

Reply with_result(uint32_t field, const std::string &message)
{
	Message reply;
	reply.bytes(field, message);
	return Reply{reply.take(), {}, nullptr};
}

} // namespace

void Message::varint(uint64_t value)
{
	while (value >= 0x80) {
		out_.push_back(static_cast<char>(value | 0x80));
		value >>= 7;
	}
	out_.push_back(static_cast<char>(value));
}

void Message::number(uint32_t field, uint64_t value)
{
	if (value == 0)
		return;
	varint(field << 3);
	varint(value);
}

void Message::signed_number(uint32_t field, int64_t value)
{
	number(field, (static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63));
}

void Message::bytes(uint32_t field, std::string_view value)
{
	varint(field << 3 | 2);
	varint(value.size());
	out_.append(value);
}

Reply failed(int errno_value)
{
	Message reply;
	reply.number(1, static_cast<uint32_t>(errno_value));
	return Reply{reply.take(), {}, nullptr};
}

Reply succeeded()
{
	return Reply{};
}

Reply opened(uint32_t handle, const struct statx &stat)
{
	Message result;
	result.number(1, handle);
	result.bytes(2, encode_stat(stat));
	return with_result(2, result.encoded());
}

Reply written(uint32_t bytes)
{
	Message result;
	result.number(1, bytes);
	return with_result(3, result.encoded());
}

Reply stat_reply(const struct statx &stat)
{
	return with_result(4, encode_stat(stat));
}

Reply stat_fs_reply(const struct statfs &stat)
{
	Message result;
	uint64_t id = 0;
	memcpy(&id, &stat.f_fsid, sizeof(id));
	result.number(1, static_cast<uint64_t>(stat.f_type));
	result.number(2, static_cast<uint64_t>(stat.f_bsize));
	result.number(3, stat.f_blocks);
	result.number(4, stat.f_bfree);
	result.number(5, stat.f_bavail);
	result.number(6, stat.f_files);
	result.number(7, stat.f_ffree);
	result.number(8, id);
	result.number(9, static_cast<uint64_t>(stat.f_namelen));
	result.number(10, static_cast<uint64_t>(stat.f_frsize));
	result.number(11, static_cast<uint64_t>(stat.f_flags));
	return with_result(5, result.encoded());
}

std::string encode_stat(const struct statx &stat)
{
	Message result;
	result.number(1, makedev(stat.stx_dev_major, stat.stx_dev_minor));
	result.number(2, stat.stx_ino);
	result.number(3, stat.stx_mode);
	result.number(4, stat.stx_nlink);
	result.number(5, stat.stx_uid);
	result.number(6, stat.stx_gid);
	result.number(7, makedev(stat.stx_rdev_major, stat.stx_rdev_minor));
	result.number(8, stat.stx_size);
	result.number(9, stat.stx_blksize);
	result.number(10, stat.stx_blocks);
	result.signed_number(11, nanoseconds(stat.stx_atime));
	result.signed_number(12, nanoseconds(stat.stx_mtime));
	result.signed_number(13, nanoseconds(stat.stx_ctime));
	if (stat.stx_mask & STATX_BTIME)
		result.signed_number(14, nanoseconds(stat.stx_btime));
	return result.take();
}

Reply DirectoryReply::finish(uint64_t next, bool is_last)
{
	page_.number(2, next);
	page_.number(3, is_last ? 1 : 0);
	return with_result(6, page_.encoded());
}

} // namespace fs_env
