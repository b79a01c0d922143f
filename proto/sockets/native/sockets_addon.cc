/* The class Sockets: one epoll descriptor, and the calls on what is in it. */
#include "addon.h"
#include "bulk.h"
#include "delivery.h"
#include "sockets.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

namespace
{

class Sockets : public Napi::ObjectWrap<Sockets> {
public:
	explicit Sockets(const Napi::CallbackInfo &info);
	Napi::Value add(const Napi::CallbackInfo &info);
	Napi::Value remove(const Napi::CallbackInfo &info);
	Napi::Value ready(const Napi::CallbackInfo &info);
	Napi::Value share(const Napi::CallbackInfo &info);
	Napi::Value reach(const Napi::CallbackInfo &info);
	Napi::Value read(const Napi::CallbackInfo &info);
	Napi::Value write(const Napi::CallbackInfo &info);
	Napi::Value carry(const Napi::CallbackInfo &info);
	Napi::Value deliver(const Napi::CallbackInfo &info);
	Napi::Value end(const Napi::CallbackInfo &info);
	Napi::Value close(const Napi::CallbackInfo &info);

private:
	static int to_int(const Napi::Value &value) { return value.As<Napi::Number>().Int32Value(); }
	static size_t to_size(const Napi::Value &value) { return value.As<Napi::Number>().Uint32Value(); }
	static Napi::Value to_value(const Napi::CallbackInfo &info, int64_t number)
	{
		return Napi::Number::New(info.Env(), static_cast<double>(number));
	}

	/* Looks who has become ready, for the next `ready` to tell: true where it is another than the one whose turn it is. */
	static bool is_another_ready(void *self);

	int epoll_fd_ = -1;
	/* Seen while one was carried. */
	std::vector<struct ready_socket> seen_;
	uint32_t carried_id_ = 0;
	uint32_t carried_mask_ = 0;
	/* Held, so that its memory stays. */
	Napi::ObjectReference ready_object_;
	struct ready_socket *ready_ = nullptr;
};

/* As addon.ts has it. */
static_assert(sizeof(struct ready_socket) == 3 * sizeof(uint32_t), "three words for each");

/* (ready: Uint32Array): `epollFd` is the caller's, who watches and closes it. */
Sockets::Sockets(const Napi::CallbackInfo &info) : Napi::ObjectWrap<Sockets>(info)
{
	Napi::Uint32Array ready = info[0].As<Napi::Uint32Array>();

	epoll_fd_ = ready.ElementLength() < SOCKETS_PER_WAIT * 3 ? -EINVAL : sockets_open();
	if (epoll_fd_ < 0) {
		errno = -epoll_fd_;
		fail(info.Env(), "epoll_create1");
		return;
	}
	ready_object_ = Napi::Persistent(ready.As<Napi::Object>());
	ready_ = reinterpret_cast<struct ready_socket *>(ready.Data());
	info.This().As<Napi::Object>().Set("epollFd", Napi::Number::New(info.Env(), epoll_fd_));
}

/* (fd, id): 0 or -errno. */
Napi::Value Sockets::add(const Napi::CallbackInfo &info)
{
	return to_value(info, sockets_add(epoll_fd_, to_int(info[0]), info[1].As<Napi::Number>().Uint32Value()));
}

/* (fd): 0 or -errno. */
Napi::Value Sockets::remove(const Napi::CallbackInfo &info)
{
	return to_value(info, sockets_remove(epoll_fd_, to_int(info[0])));
}

/* (): how many have become ready; what is told of each lies in `ready`. */
Napi::Value Sockets::ready(const Napi::CallbackInfo &info)
{
	size_t seen = seen_.size();

	if (seen == 0)
		return to_value(info, sockets_ready(epoll_fd_, ready_));
	memcpy(ready_, seen_.data(), seen * sizeof *ready_);
	seen_.clear();
	return to_value(info, static_cast<int64_t>(seen));
}

/* (fd): another one, or -errno. */
Napi::Value Sockets::share(const Napi::CallbackInfo &info)
{
	return to_value(info, socket_share(to_int(info[0])));
}

/* (fd) */
Napi::Value Sockets::reach(const Napi::CallbackInfo &info)
{
	socket_reach(to_int(info[0]));
	return info.Env().Undefined();
}

/* (fd, room: Uint8Array, at, most): how many bytes lie in `room` from `at` on, or -errno. */
Napi::Value Sockets::read(const Napi::CallbackInfo &info)
{
	Napi::Uint8Array room = info[1].As<Napi::Uint8Array>();
	size_t at = std::min(to_size(info[2]), room.ByteLength());
	size_t most = std::min(to_size(info[3]), room.ByteLength() - at);

	return to_value(info, socket_read(to_int(info[0]), room.Data() + at, most));
}

/* (fd, pieces: Uint8Array[], skip): how many bytes beyond the first `skip` the kernel took, or -errno. */
Napi::Value Sockets::write(const Napi::CallbackInfo &info)
{
	Napi::Array pieces = info[1].As<Napi::Array>();
	size_t skip = to_size(info[2]);
	struct iovec parts[PIECES_PER_WRITE];
	uint32_t length = pieces.Length();
	size_t count = 0;

	for (uint32_t i = 0; i < length && count < PIECES_PER_WRITE; i++) {
		Napi::Uint8Array piece = pieces.Get(i).As<Napi::Uint8Array>();
		size_t size = piece.ByteLength();

		if (skip >= size) {
			skip -= size;
			continue;
		}
		parts[count++] = {piece.Data() + skip, size - skip};
		skip = 0;
	}
	return to_value(info, count == 0 ? 0 : socket_write_pieces(to_int(info[0]), parts, count));
}

bool Sockets::is_another_ready(void *self)
{
	Sockets *sockets = static_cast<Sockets *>(self);
	struct ready_socket now[SOCKETS_PER_WAIT];
	int count = 0;

	/* What was seen has to fit into one answer of `ready`. */
	if (sockets->seen_.empty())
		count = sockets_ready(sockets->epoll_fd_, now);
	for (int i = 0; i < count; i++) {
		if (now[i].id == sockets->carried_id_)
			sockets->carried_mask_ |= now[i].mask;
		else
			sockets->seen_.push_back(now[i]);
	}
	return !sockets->seen_.empty();
}

/*
 * (from, its id, to, [stream, connection, sequence, acknowledged, bytes of a read], rooms: Uint8Array[], count, report): as
 * bulk.h has it. The report is a Uint32Array of the words of struct bulk_report, and two behind them: what was seen of the one
 * that is read from, as `ready` tells it, and whether `ready` has to be asked, because others were seen.
 */
Napi::Value Sockets::carry(const Napi::CallbackInfo &info)
{
	Napi::Float64Array numbers = info[3].As<Napi::Float64Array>();
	Napi::Array given = info[4].As<Napi::Array>();
	Napi::Uint32Array words = info[6].As<Napi::Uint32Array>();
	uint32_t count = std::min({info[5].As<Napi::Number>().Uint32Value(), given.Length(), BULK_FRAMES});
	uint8_t *rooms[BULK_FRAMES];
	struct bulk_report report;
	struct bulk_order order;
	int64_t got;

	if (numbers.ElementLength() < 5 || words.ElementLength() < sizeof report / sizeof(uint32_t) + 2)
		return to_value(info, -EINVAL);
	order = {to_int(info[0]),
	         to_int(info[2]),
	         static_cast<uint32_t>(numbers[0]),
	         static_cast<uint32_t>(numbers[1]),
	         static_cast<uint64_t>(numbers[2]),
	         static_cast<uint64_t>(numbers[3]),
	         static_cast<size_t>(numbers[4])};
	for (uint32_t i = 0; i < count; i++) {
		Napi::Uint8Array room = given.Get(i).As<Napi::Uint8Array>();

		if (room.ByteLength() < 2 * BULK_ROOM_BYTES + order.read_bytes)
			return to_value(info, -EINVAL);
		rooms[i] = room.Data();
	}
	carried_id_ = info[1].As<Napi::Number>().Uint32Value();
	carried_mask_ = 0;
	got = bulk_carry(order, rooms, count, report, is_another_ready, this);
	memcpy(words.Data(), &report, sizeof report);
	words[sizeof report / sizeof(uint32_t)] = carried_mask_;
	words[sizeof report / sizeof(uint32_t) + 1] = seen_.empty() ? 0 : 1;
	return to_value(info, got);
}

/*
 * (from, its id, to, [stream, connection, sequence, most bytes, start, end; acknowledged], room: Uint8Array, report): as delivery.h
 * has it. The last number is written, and so is the report, of the words of struct delivery_report and the two of `carry`.
 */
Napi::Value Sockets::deliver(const Napi::CallbackInfo &info)
{
	Napi::Float64Array numbers = info[3].As<Napi::Float64Array>();
	Napi::Uint8Array room = info[4].As<Napi::Uint8Array>();
	Napi::Uint32Array words = info[5].As<Napi::Uint32Array>();
	struct delivery_report report = {};
	struct delivery_order order;
	uint64_t acknowledged;
	int64_t got;

	if (numbers.ElementLength() < 7 || words.ElementLength() < sizeof report / sizeof(uint32_t) + 2)
		return to_value(info, -EINVAL);
	order = {to_int(info[0]),
	         to_int(info[2]),
	         static_cast<uint32_t>(numbers[0]),
	         static_cast<uint32_t>(numbers[1]),
	         static_cast<uint64_t>(numbers[2]),
	         static_cast<uint64_t>(numbers[3])};
	report.start = static_cast<uint32_t>(numbers[4]);
	report.end = static_cast<uint32_t>(numbers[5]);
	if (room.ByteLength() < DELIVERY_ROOM_BYTES || report.start > report.end || report.end > room.ByteLength() ||
	    report.end - report.start >= DELIVERY_FRAME_BYTES)
		return to_value(info, -EINVAL);
	carried_id_ = info[1].As<Napi::Number>().Uint32Value();
	carried_mask_ = 0;
	got = bulk_deliver(order, room.Data(), room.ByteLength(), report, acknowledged, is_another_ready, this);
	numbers[6] = static_cast<double>(acknowledged);
	memcpy(words.Data(), &report, sizeof report);
	words[sizeof report / sizeof(uint32_t)] = carried_mask_;
	words[sizeof report / sizeof(uint32_t) + 1] = seen_.empty() ? 0 : 1;
	return to_value(info, got);
}

/* (fd) */
Napi::Value Sockets::end(const Napi::CallbackInfo &info)
{
	return to_value(info, socket_end(to_int(info[0])));
}

/* (fd, isReset) */
Napi::Value Sockets::close(const Napi::CallbackInfo &info)
{
	socket_close(to_int(info[0]), info[1].ToBoolean());
	return info.Env().Undefined();
}

} // namespace

Napi::Function define_sockets(Napi::Env env)
{
	return Sockets::DefineClass(env, "Sockets",
	                            {
	                                    Sockets::InstanceMethod<&Sockets::add>("add"),
	                                    Sockets::InstanceMethod<&Sockets::remove>("remove"),
	                                    Sockets::InstanceMethod<&Sockets::ready>("ready"),
	                                    Sockets::InstanceMethod<&Sockets::share>("share"),
	                                    Sockets::InstanceMethod<&Sockets::reach>("reach"),
	                                    Sockets::InstanceMethod<&Sockets::read>("read"),
	                                    Sockets::InstanceMethod<&Sockets::write>("write"),
	                                    Sockets::InstanceMethod<&Sockets::carry>("carry"),
	                                    Sockets::InstanceMethod<&Sockets::deliver>("deliver"),
	                                    Sockets::InstanceMethod<&Sockets::end>("end"),
	                                    Sockets::InstanceMethod<&Sockets::close>("close"),
	                            });
}
