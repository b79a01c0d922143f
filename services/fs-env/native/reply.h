// The answer to an operation: a FileReply of proto/v1/fs_env.proto, encoded here on the worker's thread (1,000 entries of a
// directory would cost the event loop milliseconds), the frame's data beside it, and the file that was opened.
// index.test.ts holds this encoder against the generated decoder.
#pragma once

#include <sys/stat.h>
#include <sys/vfs.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "descriptor.h"

namespace fs_env {

struct Reply {
	std::string head;
	std::vector<uint8_t> data;
	// Set by an open that leaves a handle.
	SharedDescriptor file;
};

// A message in protobuf's encoding (protobuf.dev "Encoding"); fields of value 0 are left out as proto3 has it.
class Message {
    public:
	void number(uint32_t field, uint64_t value);
	void signed_number(uint32_t field, int64_t value);
	void bytes(uint32_t field, std::string_view value);
	const std::string &encoded() const { return out_; }
	std::string take() { return std::move(out_); }

    private:
	void varint(uint64_t value);
	std::string out_;
};

Reply failed(int errno_value);
Reply succeeded();
Reply opened(uint32_t handle, const struct statx &stat);
Reply written(uint32_t bytes);
Reply stat_reply(const struct statx &stat);
Reply stat_fs_reply(const struct statfs &stat);

std::string encode_stat(const struct statx &stat);

// A FileReply whose result is the DirectoryPage.
class DirectoryReply {
    public:
	size_t bytes() const { return page_.encoded().size(); }
	void add(const std::string &entry) { page_.bytes(1, entry); }
	Reply finish(uint64_t next, bool is_last);

    private:
	Message page_;
};

} // namespace fs_env
