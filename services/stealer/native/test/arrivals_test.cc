/* Connections that come in at a door, from their accept to their close, under ASAN and UBSAN. TAP. */
#include "arrivals.h"
#include "tap.h"

#include <arpa/inet.h>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

static const std::string GET = "GET / HTTP/1.1\r\nHost: shop\r\n\r\n";
static const std::string LAST = "GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n";
static const std::string WANTED = "GET / HTTP/1.1\r\nX-User: alice\r\n\r\n";
static const std::string ANSWER = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
static const std::string LAST_ANSWER = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
/* Of a tenth of a second each. */
static constexpr int MOST_WAITS = 200;

static struct endpoint name_of(int fd)
{
	struct sockaddr_storage address = {};
	socklen_t length = sizeof address;

	CHECK(getsockname(fd, reinterpret_cast<struct sockaddr *>(&address), &length) == 0);
	return to_endpoint(address);
}

static int listener()
{
	struct sockaddr_in any = {};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	any.sin_family = AF_INET;
	any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	CHECK(bind(fd, reinterpret_cast<struct sockaddr *>(&any), sizeof any) == 0 && listen(fd, 16) == 0);
	return fd;
}

/* A door on loopback, whose connections go to a listener of this test. */
struct stage {
	Streams streams;
	Exchanges exchanges{streams};
	int epoll = sockets_open();
	Arrivals arrivals{epoll, streams, exchanges};
	int outer = listener();
	int inner = listener();
	struct endpoint to = name_of(inner);
	uint32_t door = 0;
	int client = -1;
	int target = -1;
	uint8_t memory[65536];
	struct told_socket told[8] = {};

	stage()
	{
		int error = -1;

		exchanges.set_screen(1, std::vector<std::string>{"alice"});
		door = arrivals.open_door({outer, -1, nullptr, false, &to}, &error);
		CHECK(error == 0 && door >= FIRST_ARRIVAL_ID);
		arrivals.set_port(door, name_of(outer).port, 1);
	}
	~stage()
	{
		arrivals.close_door(door);
		for (int fd : {client, target, outer, inner, epoll})
			if (fd >= 0)
				close(fd);
	}
	void connect()
	{
		struct sockaddr_in at = {};
		socklen_t length = sizeof at;

		CHECK(getsockname(outer, reinterpret_cast<struct sockaddr *>(&at), &length) == 0);
		client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		CHECK(::connect(client, reinterpret_cast<struct sockaddr *>(&at), sizeof at) == 0);
	}
	/* For something of ours, or of that one. */
	void wait(int fd) const
	{
		struct pollfd both[2] = {{epoll, POLLIN, 0}, {fd, POLLIN, 0}};

		poll(both, 2, 100);
	}
	/* What is ready is passed on, until something is told or nothing is ready. How many are told. */
	size_t turn()
	{
		struct ready_socket ready[SOCKETS_PER_WAIT];

		for (int quiet = 0; quiet < 3;) {
			int count = sockets_ready(epoll, ready);
			size_t next = 0;

			quiet = count == 0 ? quiet + 1 : 0;
			while (next < static_cast<size_t>(count)) {
				size_t some = arrivals.turn(ready, static_cast<size_t>(count), &next, memory, sizeof memory, told, 8);

				if (some > 0)
					return some;
			}
		}
		return 0;
	}
	/* Until `fd` can be read, the end included; what else is to be done is done. */
	std::string got(int fd)
	{
		char bytes[4096];

		for (int waited = 0; waited < MOST_WAITS; waited++) {
			struct pollfd far = {fd, POLLIN, 0};

			if (poll(&far, 1, 0) > 0) {
				ssize_t count = read(fd, bytes, sizeof bytes);

				return count < 0 ? "failed" : count == 0 ? "end" : std::string(bytes, static_cast<size_t>(count));
			}
			CHECK(turn() == 0);
			wait(fd);
		}
		return "nothing";
	}
	void accept_target()
	{
		for (int waited = 0; waited < MOST_WAITS && target < 0; waited++) {
			CHECK(turn() == 0);
			target = accept4(inner, nullptr, nullptr, SOCK_CLOEXEC);
			if (target < 0)
				wait(inner);
		}
		CHECK(target >= 0);
	}
	static void say(int fd, const std::string &text) { CHECK(write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size())); }
	/* Until something is told. */
	size_t heard()
	{
		for (int waited = 0; waited < MOST_WAITS; waited++) {
			size_t some = turn();

			if (some > 0)
				return some;
			wait(-1);
		}
		return 0;
	}
	/* Until nobody is left. */
	bool is_empty()
	{
		for (int waited = 0; waited < MOST_WAITS; waited++) {
			CHECK(turn() == 0);
			if (arrivals.count_of(1) == 0)
				return true;
			wait(-1);
		}
		return false;
	}
	/* Takes over what was told first, and closes it. */
	struct arrival taken()
	{
		struct arrival one;

		CHECK(told[0].mask == ARRIVAL_BORN && arrivals.take(static_cast<int>(told[0].start), &one));
		CHECK(one.client_id == told[0].id && !arrivals.take(one.client, &one) && arrivals.count_of(1) == 0);
		return one;
	}
	void drop(const struct arrival &one)
	{
		exchanges.part(one.client);
		socket_close(one.client, false);
		socket_close(one.origin, false);
	}
	void begin()
	{
		connect();
		say(client, GET);
		accept_target();
		CHECK(got(target) == GET);
		say(target, ANSWER);
		CHECK(got(client) == ANSWER);
	}
};

static void whole_lives()
{
	{
		stage one;

		one.begin();
		CHECK(one.arrivals.count_of(1) == 1);
		stage::say(one.client, LAST);
		CHECK(one.got(one.target) == LAST);
		stage::say(one.target, LAST_ANSWER);
		CHECK(shutdown(one.target, SHUT_WR) == 0);
		CHECK(one.got(one.client) == LAST_ANSWER && one.got(one.client) == "end" && one.got(one.target) == "end");
		CHECK(shutdown(one.client, SHUT_WR) == 0 && one.is_empty() && one.exchanges.take_count(1) == 2);
	}
	{
		/* The target says that it ends, and waits for the client to. */
		stage one;

		one.begin();
		stage::say(one.client, LAST);
		CHECK(one.got(one.target) == LAST);
		stage::say(one.target, LAST_ANSWER);
		CHECK(one.got(one.client) == LAST_ANSWER && one.got(one.client) == "end");
		stage::say(one.client, "nobody listens");
		CHECK(shutdown(one.client, SHUT_WR) == 0 && one.is_empty() && one.got(one.target) == "end");
	}
	{
		/* Answer and end, without having said so. */
		stage one;

		one.begin();
		stage::say(one.client, GET);
		CHECK(one.got(one.target) == GET);
		stage::say(one.target, ANSWER);
		CHECK(shutdown(one.target, SHUT_WR) == 0);
		CHECK(one.got(one.client) == ANSWER && one.got(one.client) == "end" && one.got(one.target) == "end");
		CHECK(shutdown(one.client, SHUT_WR) == 0 && one.is_empty());
	}
	for (bool is_asked : {false, true}) {
		/* Ends at rest, of either side. */
		for (bool is_clients : {false, true}) {
			stage one;

			if (is_asked)
				one.begin();
			else
				one.connect(), one.accept_target();
			CHECK(shutdown(is_clients ? one.client : one.target, SHUT_WR) == 0);
			CHECK(one.got(is_clients ? one.target : one.client) == "end");
			CHECK(shutdown(is_clients ? one.target : one.client, SHUT_WR) == 0 && one.is_empty());
		}
	}
}

static void failures_of_either()
{
	for (bool is_clients : {false, true}) {
		stage one;
		int &fd = is_clients ? one.client : one.target;

		one.begin();
		socket_close(fd, true);
		fd = -1;
		CHECK(one.is_empty());
		CHECK(one.got(is_clients ? one.target : one.client) == "failed");
	}
	{
		/* Who does not end after the last answer is cut. */
		stage one;

		one.begin();
		stage::say(one.client, LAST);
		CHECK(one.got(one.target) == LAST);
		stage::say(one.target, LAST_ANSWER);
		CHECK(one.got(one.client) == LAST_ANSWER && one.got(one.client) == "end");
		CHECK(one.arrivals.sweep(one.told, 8) == 0 && one.arrivals.count_of(1) == 1);
		CHECK(one.arrivals.sweep_at(INT64_MAX, one.told, 8) == 0 && one.arrivals.count_of(1) == 0);
		CHECK(one.got(one.target) == "end");
	}
}

static void handing_over()
{
	const uint32_t read = PAIR_PARTED | PAIR_READ;
	struct arrival taken;

	for (bool is_first : {true, false}) {
		stage one;

		if (!is_first)
			one.begin();
		else
			one.connect();
		stage::say(one.client, WANTED);
		CHECK(one.heard() == 2);
		taken = one.taken();
		CHECK(!taken.is_dialling && taken.was_asked == !is_first && taken.client_mask == 0);
		CHECK(one.told[1].id == taken.client_id && (one.told[1].mask & read) == read);
		CHECK(std::string(reinterpret_cast<char *>(one.memory), static_cast<size_t>(one.told[1].count)) == WANTED);
		CHECK(taken.peer.port == name_of(one.client).port && taken.local.port == name_of(one.outer).port);
		one.drop(taken);
	}
	{
		/* The target speaks first. */
		stage one;

		one.connect();
		one.accept_target();
		stage::say(one.target, "220 hello\r\n");
		CHECK(one.heard() == 2 && one.told[1].count == 11);
		taken = one.taken();
		CHECK(one.told[1].id == taken.origin_id && (one.told[1].mask & read) == read && !taken.was_asked);
		one.drop(taken);
	}
	{
		/* A request and the client's end in one. */
		stage one;

		one.connect();
		stage::say(one.client, GET);
		CHECK(shutdown(one.client, SHUT_WR) == 0);
		CHECK(one.heard() == 2);
		taken = one.taken();
		CHECK(one.told[1].id == taken.client_id && (one.told[1].mask & (SOCKET_ENDS | PAIR_PARTED)) == (SOCKET_ENDS | PAIR_PARTED));
		one.drop(taken);
	}
	{
		/* An answer that is no HTTP, with its end. */
		stage one;

		one.begin();
		stage::say(one.client, GET);
		CHECK(one.got(one.target) == GET);
		stage::say(one.target, "so long");
		close(one.target);
		one.target = -1;
		CHECK(one.heard() == 2 && (one.told[1].mask & (read | PAIR_ASKED)) == (read | PAIR_ASKED) && one.told[1].count == 7);
		taken = one.taken();
		CHECK(taken.was_asked);
		one.drop(taken);
	}
}

static void doors()
{
	struct arrival taken;

	{
		/* Nobody listens where it goes. */
		stage one;

		close(one.inner);
		one.inner = -1;
		one.connect();
		if (one.heard() >= 2) {
			taken = one.taken();
			CHECK(taken.is_dialling && one.told[1].id == taken.origin_id && (one.told[1].mask & SOCKET_ENDS) != 0);
			one.drop(taken);
		} else {
			/* The kernel said so at once: who dials again hears it again. */
			CHECK(one.told[0].mask == ARRIVAL_STRANGE);
			close(static_cast<int>(one.told[0].start));
		}
	}
	/* A port of whom nothing is looked for, or more than there may be. */
	for (int64_t screen : {int64_t{-1}, int64_t{7}, int64_t{MAX_SCREENS}}) {
		stage one;

		one.exchanges.set_screen(MAX_SCREENS, std::vector<std::string>{});
		one.arrivals.set_port(one.door, name_of(one.outer).port, screen);
		one.connect();
		CHECK(one.heard() == 1 && one.told[0].mask == ARRIVAL_STRANGE && one.told[0].id == one.door);
		close(static_cast<int>(one.told[0].start));
	}
	/* What is there when a door is closed goes on, if it is not over. */
	stage one;

	one.begin();
	std::vector<int> left = one.arrivals.close_door(one.door);

	CHECK(left.size() == 1 && one.arrivals.take(left[0], &taken) && taken.was_asked && !taken.is_dialling);
	CHECK(one.exchanges.is_joined(taken.client, taken.client_id) && one.arrivals.close_door(one.door).empty());
	stage::say(one.client, GET);
	CHECK(one.got(one.target) == GET);
	one.drop(taken);
}

int main()
{
	test("plain requests pass from the first on, and both connections end as they should", whole_lives);
	test("a failure of one side is the other's, and who does not end is cut", failures_of_either);
	test("what is not plain, wanted or in an odd order is handed over with all that was seen", handing_over);
	test("a target that refuses, a port that is told of and a door that closes lose nobody", doors);
	return report();
}
