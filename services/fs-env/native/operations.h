// The operations on a target's files, one function each. They block, so they run on a worker's thread whose rights are the
// target's (credentials.h). Whatever happens is told in the reply; nothing is thrown.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "reply.h"
#include "target.h"

namespace fs_env {

// files.cc: one open file.
struct OpenRequest {
	std::string path;
	uint32_t flags;
	uint32_t mode;
	uint32_t inline_bytes;
	// What the caller will know the file by.
	uint32_t handle;
	// A handle is kept also when the content is given.
	bool keeps_open = false;
};
Reply open_file(const Target &target, const OpenRequest &request);
Reply read_file(const Descriptor &file, uint64_t offset, uint32_t length);
Reply write_file(const Descriptor &file, uint64_t offset, const uint8_t *data, size_t length);
Reply sync_file(const Descriptor &file, bool data_only);

// inspect.cc: looking without touching. Of a path (absolute in the target) or, where there is none, an open file.
Reply stat_path(const Target &target, const std::string &path, bool no_follow);
Reply stat_file(const Descriptor &file);
Reply stat_fs_path(const Target &target, const std::string &path);
Reply stat_fs_file(const Descriptor &file);
Reply read_link(const Target &target, const std::string &path);
Reply access_path(const Target &target, const std::string &path, uint32_t mode, uint32_t flags);

// directory.cc
Reply read_directory(const Target &target, const Descriptor &directory, uint64_t cookie, uint32_t entries);

// tree.cc: names come, go and move.
Reply make_directory(const Target &target, const std::string &path, uint32_t mode);
Reply remove_directory(const Target &target, const std::string &path);
Reply unlink_path(const Target &target, const std::string &path);
Reply rename_path(const Target &target, const std::string &from, const std::string &to, uint32_t flags);
Reply symlink_path(const Target &target, const std::string &content, const std::string &path);
Reply link_path(const Target &target, const std::string &from, const std::string &to, uint32_t flags);

// attributes.cc: only what is there is set, in the order of the fields.
struct Attributes {
	std::optional<uint32_t> mode;
	std::optional<uint32_t> uid;
	std::optional<uint32_t> gid;
	std::optional<uint64_t> size;
	// As utimensat(2) takes them, UTIME_OMIT where absent.
	struct timespec times[2];
};
Reply set_attributes_path(const Target &target, const std::string &path, bool no_follow, const Attributes &wanted);
Reply set_attributes_file(const Descriptor &file, const Attributes &wanted);

} // namespace fs_env
