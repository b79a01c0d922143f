/*
 * Connections joined in pairs, a client's and its own to the target, between two requests of HTTP/1, or of HTTP/2 between two frames
 * (streams_pair.h). As long as what comes is
 * plain and no filter can want it, a request, a large body read by read, and its answer are passed on right where they were read. Whatever else comes
 * parts the two, and is told with what there is to know of the request that is on its way. Nothing here knows of Node.
 */
#ifndef MIRRORD_STEALER_EXCHANGES_H
#define MIRRORD_STEALER_EXCHANGES_H

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "known_heads.h"
#include "sieve.h"
#include "sockets.h"
#include "streams_pair.h"
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
	/* The request that was passed on last said that no other one follows it. */
	PAIR_LAST = 512,
	/* With PAIR_REST: of an answer that says that the connection ends with it. */
	PAIR_FINAL = 1024,
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

/* What came of one read. `told` is 0 when all of it was passed on; `is_final`: and with it the last answer, to be followed by an end. */
struct passed {
	uint32_t told;
	size_t start;
	int64_t count;
	bool is_final;
};

class Exchanges
{
      public:
	/* Whose sockets they are; outlives this. */
	explicit Exchanges(const Streams &streams) : streams_(streams) {}

	/* Outlives this. */
	void set_judge(HeadJudge *judge) { judge_ = judge; }
	/*
	 * What is looked for in the requests of a port; nothing passes before it is said.
	 *
	 * @param texts nothing: all are stopped
	 * @param is_judged those that are stopped are shown to the judge
	 */
	void set_screen(uint32_t screen, const std::optional<std::vector<std::string>> &texts, bool is_judged = false);
	/* Whether something was said of it. */
	bool has_screen(uint32_t screen) const { return screen < screens_.size(); }
	/* Nobody wants a request with this head, as long as nothing else is said of the screen. */
	void learn_head(uint32_t screen, const uint8_t *head, size_t size);
	/* Requests that were passed on since this was called last. */
	uint64_t take_count(uint32_t screen);

	/*
	 * Both at rest: all is read and written, no request is on its way. False when there is no such screen.
	 *
	 * @param may_end a last answer is passed on as well, for who ends the connection then
	 */
	bool join(int client, uint32_t client_id, int origin, uint32_t origin_id, uint32_t screen, bool may_end = false);
	/* Of HTTP/2. What was passed on until they are parted is told by take_streams. */
	bool join_streams(int client, uint32_t client_id, int origin, uint32_t origin_id, uint32_t screen, std::unique_ptr<StreamsPair> pair);
	/* Of the client's socket, once, after it was parted; null when it was not of HTTP/2. */
	std::unique_ptr<StreamsPair> take_streams(int client);
	bool is_joined(int fd, uint32_t id) const;
	/* A request of the joined client has been passed on, and is not answered. */
	bool is_asked(int client) const { return sides_[static_cast<size_t>(client)].asked != 0; }
	/* PAIR_PARTED and what is on its way; 0 when it is not joined. */
	uint32_t part(int fd);
	/* After PAIR_UNSENT, of the client's socket: bytes of its request's body that are still to come. Once. */
	uint64_t take_left(int client);
	/* Reads a joined socket. */
	struct passed pass(int fd, uint8_t *bytes, size_t size);

      private:
	struct one_side {
		int other = -1;
		uint32_t id = 0;
		uint32_t screen = 0;
		bool is_client = false;
		/* Of clients: no request may follow; and as `join` has it. */
		bool is_last = false;
		bool may_end = false;
		/* Of clients: PAIR_ASKED and PAIR_ASKED_HEAD. */
		uint32_t asked = 0;
		/* Of a client, and of one that was: what is to come of the request's body. */
		uint64_t left = 0;
		/* The same, of HTTP/2, and what the screen was when they were joined. */
		std::unique_ptr<StreamsPair> streams = nullptr;
		uint64_t changes = 0;
	};
	struct one_screen {
		Screen screen;
		bool is_judged = false;
		KnownHeads heads = {};
		uint64_t count = 0;
		/* How often something else was said of it. */
		uint64_t changes = 0;
	};

	/* What is on its way, and still to come, when something was passed on. */
	struct on_its_way {
		uint32_t asked;
		uint64_t left;
		bool is_last;
	};

	struct passed forward(int fd, uint32_t asked, const uint8_t *bytes, size_t count, bool is_final);
	bool may_pass(const struct one_side &client, const uint8_t *bytes, size_t count, struct on_its_way *after);
	bool is_unwanted(uint32_t screen, const uint8_t *head, size_t size, bool has_body);
	struct passed pass_request(int fd, uint8_t *bytes, size_t size);
	bool may_pass_frames(int fd, const struct one_side &client, const uint8_t *bytes, size_t count);
	struct passed pass_frames(int fd, uint8_t *bytes, size_t size);

	const Streams &streams_;
	HeadJudge *judge_ = nullptr;
	/* By descriptor. */
	std::vector<one_side> sides_;
	std::vector<one_screen> screens_;
};

#endif
