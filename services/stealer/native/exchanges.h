/*
 * Connections joined in pairs, a client's and its own to the target, between two requests of HTTP/1. As long as what comes is
 * plain and no filter can want it, a request, a large body read by read, and its answer are passed on right where they were read. Whatever else comes
 * parts the two, and is told with what there is to know of the request that is on its way. Nothing here knows of Node.
 */
#ifndef MIRRORD_STEALER_EXCHANGES_H
#define MIRRORD_STEALER_EXCHANGES_H

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "screen.h"
#include "sockets.h"
#include "tls.h"

/* Beside what a socket is ready for (sockets.h), as a sum. */
enum : uint32_t {
	/* The two are not joined any more. */
	PAIR_PARTED = 8,
	/* A request was passed on, its answer is due. */
	PAIR_ASKED = 16,
	/* Its method is HEAD. */
	PAIR_ASKED_HEAD = 32,
	/* What was read lies in the memory; a count below 1 is what the read returned. */
	PAIR_READ = 64,
	/* So does what is left to be written to the other one, of a message that is passed on. */
	PAIR_REST = 128,
	/* A part of the request that was passed on is still to come (take_left). */
	PAIR_UNSENT = 256,
};

/* Ports whose connections are joined; those beyond are not. */
static constexpr uint32_t MAX_SCREENS = 4096;

/* An id, a sum, and where in the memory what it tells of lies, with its count (signed). */
struct told_socket {
	uint32_t id;
	uint32_t mask;
	uint32_t start;
	int32_t count;
};

/* What came of one read. `told` is 0 when all of it was passed on. */
struct passed {
	uint32_t told;
	size_t start;
	int64_t count;
};

class Exchanges
{
      public:
	/* Whose sockets they are; outlives this. */
	explicit Exchanges(const Streams &streams) : streams_(streams) {}

	/* What is looked for in the requests of a port; nothing passes before it is said. */
	void set_screen(uint32_t screen, const std::optional<std::vector<std::string>> &texts);
	/* Requests that were passed on since this was called last. */
	uint64_t take_count(uint32_t screen);

	/* Both at rest: all is read and written, no request is on its way. False when there is no such screen. */
	bool join(int client, uint32_t client_id, int origin, uint32_t origin_id, uint32_t screen);
	bool is_joined(int fd, uint32_t id) const;
	/* PAIR_PARTED and what is on its way; 0 when it is not joined. */
	uint32_t part(int fd);
	/* After PAIR_UNSENT, of the client's socket: bytes of its request's body that are still to come. Once. */
	uint64_t take_left(int client);
	/* Reads a joined socket. */
	struct passed pass(int fd, uint8_t *bytes, size_t size);
	/*
	 * Passes on what can be, of `ready` from `*next` on, and tells of all others. Ends early, with `*next` where to go on,
	 * behind one that is told with something in the memory, and before a joined one when others are told: whoever hears of
	 * those reads them into the same memory. Returns how many are told.
	 */
	size_t turn(const struct ready_socket *ready, size_t count, size_t *next, uint8_t *bytes, size_t size, struct told_socket *told);

      private:
	struct one_side {
		int other = -1;
		uint32_t id = 0;
		uint32_t screen = 0;
		bool is_client = false;
		/* Of clients: PAIR_ASKED and PAIR_ASKED_HEAD. */
		uint32_t asked = 0;
		/* Of a client, and of one that was: what is to come of the request's body. */
		uint64_t left = 0;
	};
	struct one_screen {
		Screen screen;
		uint64_t count = 0;
	};

	struct passed forward(int fd, uint32_t asked, const uint8_t *bytes, size_t count);
	bool may_pass(const struct one_side &client, const uint8_t *bytes, size_t count, uint32_t *asked, uint64_t *left) const;
	struct passed pass_request(int fd, uint8_t *bytes, size_t size);

	const Streams &streams_;
	/* By descriptor. */
	std::vector<one_side> sides_;
	std::vector<one_screen> screens_;
};

#endif
