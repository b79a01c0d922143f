/* Two connections that are joined, for tests, and what is said on them. */
#ifndef MIRRORD_STEALER_PAIR_WORLD_H
#define MIRRORD_STEALER_PAIR_WORLD_H

#include <string>
#include <sys/socket.h>
#include <unistd.h>

#include "arrivals.h"
#include "exchanges.h"
#include "tap.h"

static const std::string GET = "GET /a?b HTTP/1.1\r\nHost: shop\r\nX-User: bob\r\n\r\n";
static const std::string ANSWER = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok";

/* Two connections, joined, and their far ends. */
struct world {
	Streams streams;
	Exchanges exchanges{streams};
	Arrivals arrivals{-1, streams, exchanges};
	uint8_t memory[65536];
	int client = -1;
	int origin = -1;
	int near_client = -1;
	int near_origin = -1;

	world()
	{
		int ends[2];

		CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
		client = ends[0];
		near_client = ends[1];
		CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
		origin = ends[0];
		near_origin = ends[1];
		exchanges.set_screen(3, std::vector<std::string>{"alice"});
		CHECK(join());
	}
	~world()
	{
		for (int end : {client, origin, near_client, near_origin})
			close(end);
	}
	bool join() { return exchanges.join(near_client, 1, near_origin, 2, 3); }
	/* What is told after a far end has sent this; 0 when it was passed on. */
	struct told_socket sent(int from, const std::string &text)
	{
		struct ready_socket ready = {from == client ? near_client : near_origin, from == client ? 1U : 2U, SOCKET_READABLE};
		struct told_socket told[2] = {};
		size_t next = 0;

		CHECK(write(from, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
		size_t count = arrivals.turn(&ready, 1, &next, memory, sizeof memory, told, 2);
		CHECK(count == (told[0].mask != 0 ? 1 : 0) && next == 1);
		return told[0];
	}
	static std::string got(int end)
	{
		char bytes[65536];
		ssize_t count = read(end, bytes, sizeof bytes);

		return std::string(bytes, count > 0 ? static_cast<size_t>(count) : 0);
	}
};

#endif
