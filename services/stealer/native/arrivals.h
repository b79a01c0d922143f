/*
 * New connections to ports with filters, from their accept to their close, as long as what comes is plain (exchanges.h): a
 * connection to the target is dialled, the two are joined, and both are closed when they have ended. Whoever is to hear of one is told
 * of its birth first, and takes it over; then it is like any other pair. Nothing here knows of Node.
 */
#ifndef MIRRORD_STEALER_ARRIVALS_H
#define MIRRORD_STEALER_ARRIVALS_H

#include <cstdint>
#include <deque>
#include <map>
#include <vector>

#include "exchanges.h"
#include "stealer.h"

/* Beside those of exchanges.h. */
enum : uint32_t {
	/* Of its client's id: to be taken over by its descriptor (`start`), before what else is told of it. */
	ARRIVAL_BORN = 2048,
	/* Of a door's id: a connection of whom nobody knows more (`start` is its descriptor). */
	ARRIVAL_STRANGE = 4096,
	/* Of a door's id: there is no descriptor for the next one; it stays closed until it is told to go on. */
	ARRIVAL_SHORTAGE = 8192,
};

/* Ids of this side begin here; those of others are lower. */
static constexpr uint32_t FIRST_ARRIVAL_ID = 1U << 31;
/* Connecting takes no time; what does is taken over by who has patience. */
static constexpr int64_t DIAL_PATIENCE_MS = 1000;
/* As services/stealer/relay/times.ts has LINGER_MS. */
static constexpr int64_t LINGER_MS = 10000;

/* Where new connections come in. The descriptors and the redirect stay the caller's, and outlive it. */
struct door {
	int listener_fd;
	int namespace_fd;
	/* That our own dials have to go past; null: the mark of their sockets does it, or nothing has to. */
	struct redirect *redirect;
	/* Connections were meant to go to where original_of says. */
	bool is_translated;
	/* Not null: all of them go there. */
	const struct endpoint *to;
};

/* What is taken over. */
struct arrival {
	int client = -1;
	int origin = -1;
	uint32_t client_id = 0;
	uint32_t origin_id = 0;
	uint32_t door_id = 0;
	uint32_t screen = 0;
	struct endpoint peer = {};
	struct endpoint local = {};
	/* Where `origin` comes from, to be forgotten when it is connected. */
	struct endpoint bound = {};
	bool is_dialling = false;
	/* What the client is ready for and has not been looked at. */
	uint32_t client_mask = 0;
	/* A request has been passed on. */
	bool was_asked = false;
};

class Arrivals
{
      public:
	/* @param epoll_fd of both */
	Arrivals(int epoll_fd, const Streams &streams, Exchanges &exchanges) : epoll_fd_(epoll_fd), streams_(streams), exchanges_(exchanges) {}
	~Arrivals();

	/* An id, or -errno in `*error`. */
	uint32_t open_door(const struct door &door, int *error);
	/* What comes to the port is dealt with here from now on; below 0, or beyond MAX_SCREENS, it is told as strange. */
	void set_port(uint32_t door_id, uint16_t port, int64_t screen);
	/* Goes on after a shortage. */
	void resume(uint32_t door_id);
	/* Those that are left are closed if they are at their end, and have to be taken over if not: their clients' descriptors. */
	std::vector<int> close_door(uint32_t door_id);
	/* False when it is nobody of ours. */
	bool take(int client, struct arrival *taken);
	size_t count_of(uint32_t screen) const;

	/*
	 * Passes on what can be, of `ready` from `*next` on, and tells of all others. Ends early, with `*next` where to go on,
	 * behind one that is told with something in the memory, and before a joined one when others are told: whoever hears of
	 * those reads them into the same memory. Returns how many are told, at most `most`, of at least 2.
	 */
	size_t turn(const struct ready_socket *ready, size_t count, size_t *next, uint8_t *bytes, size_t size, struct told_socket *told,
	            size_t most);
	/* Whether some were accepted since the last call: what they are ready for can be asked at once. */
	bool take_news();
	/* To be called from time to time: what has waited for too long is closed, or told. As `turn`. */
	size_t sweep(struct told_socket *told, size_t most);
	/* The same, as if it were then. */
	size_t sweep_at(int64_t now_ms, struct told_socket *told, size_t most);

      private:
	enum class phase : uint8_t { gone, dialling, joined, closing, handed };
	struct one {
		struct arrival facts;
		enum phase phase = phase::gone;
		int64_t deadline_ms = 0;
	};
	struct one_door {
		struct door door;
		struct endpoint to;
		std::map<uint16_t, uint32_t> screens;
	};
	struct space {
		uint8_t *bytes;
		size_t size;
	};
	struct due {
		int client;
		uint32_t client_id;
		int64_t at_ms;
	};

	one *find(int fd, uint32_t id);
	one *at(int fd);
	bool accept_one(uint32_t door_id, struct one_door &door, struct told_socket *told, size_t *number);
	bool welcome(uint32_t door_id, const struct one_door &door, int client, const struct endpoint &peer);
	int dial(const struct one_door &door, const struct endpoint &to, struct endpoint *bound) const;
	bool on_ready(one &some, const struct ready_socket &ready, struct space memory, struct told_socket *told, size_t *number);
	bool on_dialling(one &some, const struct ready_socket &ready, struct space memory, struct told_socket *told, size_t *number);
	bool on_joined(one &some, int fd, uint32_t mask, struct space memory, struct told_socket *told, size_t *number);
	bool on_client_end(one &some, uint32_t mask, struct told_socket *told, size_t *number);
	void on_closing(one &some, int fd, struct space memory);
	bool tell(one &some, int fd, uint32_t mask, const struct passed &passed, struct told_socket *told, size_t *number);
	void hand_over(one &some, struct told_socket *told, size_t *number);
	void begin_closing(one &some);
	void linger(one &some);
	void finish(one &some, bool is_client_reset, bool is_origin_reset);
	void forget_dial(const one &some) const;
	void close_side(one &some, bool is_client, bool is_reset);
	void release(one &some);
	void put(one &some);

	const int epoll_fd_;
	const Streams &streams_;
	Exchanges &exchanges_;
	std::map<uint32_t, one_door> doors_;
	std::vector<one> all_;
	std::vector<uint32_t> free_;
	/* By descriptor: where in `all_`, and 1. */
	std::vector<uint32_t> places_;
	std::vector<size_t> counts_;
	/* In the order of their times. */
	std::deque<struct due> dials_;
	std::deque<struct due> lingers_;
	uint32_t last_id_ = 0;
	bool has_news_ = false;
};

#endif
