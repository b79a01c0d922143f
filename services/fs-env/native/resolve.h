// Paths of the target to descriptors, never outside its root.
#pragma once

#include <cstdint>
#include <string>

#include "descriptor.h"

namespace fs_env {

// openat2(2) from the target's root. Returns the descriptor, or the negative errno.
int open_in_root(int root, const std::string &path, uint64_t flags, uint64_t mode);

// The thing itself, without opening it (O_PATH): follows a symbolic link at the end unless no_follow.
int locate(int root, const std::string &path, bool no_follow);

// A path's last part and an O_PATH descriptor of the folder it stands in, for calls that take both and never follow the
// last part. The name keeps its trailing slashes: the kernel knows what they mean.
struct Place {
	Descriptor folder{-1};
	std::string name;
	// 0, or what the kernel said of the way to the folder.
	int errno_value = 0;
	bool is_root = false;
};

Place find_place(int root, const std::string &path);

// A name under which our own process reaches what the descriptor is, for calls without a form for O_PATH descriptors.
std::string own_path(int fd);

} // namespace fs_env
