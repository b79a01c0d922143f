// Owns one file descriptor. Shared by an operation that uses it and the one who holds it open, so that a number is never
// used again under somebody's hands.
#pragma once

#include <unistd.h>

#include <memory>
#include <utility>

namespace fs_env {

class Descriptor {
    public:
	explicit Descriptor(int fd) : fd_(fd) {}
	Descriptor(const Descriptor &) = delete;
	Descriptor &operator=(const Descriptor &) = delete;
	Descriptor(Descriptor &&other) noexcept : fd_(other.release()) {}
	Descriptor &operator=(Descriptor &&other) noexcept
	{
		std::swap(fd_, other.fd_);
		return *this;
	}
	~Descriptor()
	{
		if (fd_ >= 0)
			close(fd_);
	}

	bool valid() const { return fd_ >= 0; }
	int get() const { return fd_; }
	int release()
	{
		int fd = fd_;
		fd_ = -1;
		return fd;
	}

    private:
	int fd_;
};

using SharedDescriptor = std::shared_ptr<Descriptor>;

} // namespace fs_env
