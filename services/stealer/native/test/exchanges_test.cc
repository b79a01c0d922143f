/* What is plain, what a screen finds and what is passed on between two sockets, under ASAN and UBSAN. TAP. */
#include "arrivals.h"
#include "exchanges.h"
#include "pair_world.h"
#include "plain_message.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <sys/socket.h>
#include <unistd.h>

/* In memory of exactly its size, so that a byte too many is found out. */
template <typename Reader> static bool read_exactly(const std::string &text, Reader reader)
{
	std::unique_ptr<uint8_t[]> bytes(new uint8_t[text.size()]);

	memcpy(bytes.get(), text.data(), text.size());
	return reader(bytes.get(), text.size());
}

static bool is_request(const std::string &text)
{
	return read_exactly(text, [](const uint8_t *bytes, size_t size) {
		struct plain_message message;

		return read_plain_request(bytes, size, &message) && message.head_end <= size;
	});
}

static bool is_response(const std::string &text, bool is_to_head = false)
{
	return read_exactly(text, [=](const uint8_t *bytes, size_t size) {
		struct plain_message message;

		return read_plain_response(bytes, size, is_to_head, &message) && message.head_end <= size;
	});
}

static const std::string POST = "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 3\r\n\r\nabc";
static const std::string CHUNKED =
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n00a\r\n0123456789\r\nB\r\n0123456789\n\r\n0\r\n\r\n";
static const std::string EMPTY = "HTTP/1.1 204 No Content\r\nDate: today\r\n\r\n";

static void plain_ones()
{
	std::string many = "GET / HTTP/1.1\r\n";

	CHECK(is_request(GET) && is_request(POST) && is_response(ANSWER) && is_response(EMPTY));
	CHECK(is_response(CHUNKED) && is_request("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"));
	CHECK(is_response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true) && !is_response(CHUNKED, true));
	CHECK(is_request("HEAD / HTTP/1.1\r\n\r\n") && is_response("HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n"));
	CHECK(is_response("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", true) && !is_response(ANSWER, true));
	for (int field = 0; field < MAX_FIELDS; field++)
		many += "a: b\r\n";
	CHECK(is_request(many + "\r\n") && !is_request(many + "a: b\r\n\r\n"));
	for (size_t value : {MAX_HEAD_BYTES - 23, MAX_HEAD_BYTES - 22})
		CHECK(is_request("GET / HTTP/1.1\r\na: " + std::string(value, 'x') + "\r\n\r\n") == (value == MAX_HEAD_BYTES - 23));
}

static void not_plain_ones()
{
	for (const char *field :
	     {"Connection: close, x", "connection: Upgrade", "Upgrade: h2c", "Expect: 100-continue", "Transfer-Encoding: chunked", "Transfer-Encoding: gzip, chunked",
	      "HTTP2-Settings: AA", "Content-Length: 1", "Content-Length: +0", "Content-Length:\t0", "Content-Length: 0, 0",
	      "Content-Length: 0\r\nContent-Length: 0", "Content-Length: 0000000000000000", "Host: a\r\nHost: b", " folded",
	      "no colon", "space : x", ": x", "x: \x01", "x: a\nb"})
		CHECK(!is_request(std::string("GET / HTTP/1.1\r\n") + field + "\r\n\r\n"));
	for (const char *line : {"GET / HTTP/1.0", "GET  / HTTP/1.1", "GET x HTTP/1.1", "CONNECT /a HTTP/1.1", "GET / HTTP/1.1 ",
	                         "GET /", "/ HTTP/1.1", "PRI * HTTP/2.0", "GET http://a/ HTTP/1.1", "\r\nGET / HTTP/1.1"})
		CHECK(!is_request(std::string(line) + "\r\n\r\n"));
	for (const char *line : {"HTTP/1.1 100 Continue", "HTTP/1.1 101 x", "HTTP/1.0 200 OK", "HTTP/1.1 20", "HTTP/1.1 2000",
	                         "HTTP/1.1  200", "HTTP/1.1 200 a\x01", "http/1.1 200 OK"})
		CHECK(!is_response(std::string(line) + "\r\nContent-Length: 0\r\n\r\n"));
	/* Until the connection ends, or not whole, or more than whole. */
	CHECK(!is_response("HTTP/1.1 200 OK\r\n\r\n") && !is_response(ANSWER + "x") && !is_request(GET + GET));
	CHECK(!is_response("HTTP/1.1 204 x\r\nContent-Length: 2\r\n\r\nok"));
	for (const char *body : {"0\r\n", "0\r\n\r\n0\r\n\r\n", "1\r\nab\r\n0\r\n\r\n", "1;a=b\r\na\r\n0\r\n\r\n", "0\r\na: b\r\n\r\n",
	                         "00000000\r\n\r\n", "fffffff\r\n", "g\r\n\r\n", "1 \r\na\r\n0\r\n\r\n", "-1\r\n\r\n", "1\r\n\r\n0\r\n\r\n"})
		CHECK(!is_response(std::string("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n") + body));
	CHECK(!is_response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"));
	CHECK(!is_response("HTTP/1.1 204 x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"));
	for (const std::string &whole : {GET, POST, ANSWER, EMPTY, CHUNKED})
		for (size_t cut = 0; cut < whole.size(); cut++)
			CHECK(!is_request(whole.substr(0, cut)) && !is_response(whole.substr(0, cut)));
}

/* Nothing is read that is not there, whatever comes. */
static void damaged_ones()
{
	uint32_t random = 4711;
	auto next = [&random] { return random = random * 1664525U + 1013904223U, random >> 8; };

	for (int round = 0; round < 60000; round++) {
		std::string text = round % 2 == 0 ? (round % 4 == 0 ? GET : POST) : (round % 4 == 1 ? ANSWER : CHUNKED);

		for (uint32_t changes = next() % 4; changes > 0; changes--) {
			size_t at = next() % text.size();

			if (next() % 3 == 0)
				text.erase(at, 1 + next() % 3);
			else if (next() % 2 == 0)
				text[at] = static_cast<char>(next());
			else
				text.insert(at, 1, "\r\n: \t0"[next() % 6]);
			if (text.empty())
				text = "x";
		}
		is_request(text);
		is_response(text);
		is_response(text, true);
	}
}

static bool stops(const Screen &screen, const std::string &text)
{
	return screen.stops(reinterpret_cast<const uint8_t *>(text.data()), text.size());
}

static void screens()
{
	uint32_t random = 815;
	auto next = [&random] { return random = random * 1664525U + 1013904223U, random >> 8; };
	auto text_of = [&next](size_t most) {
		std::string text;

		for (size_t size = 1 + next() % most; size > 0; size--)
			text += "abx-"[next() % 4];
		return text;
	};

	CHECK(stops(Screen(), "") && !stops(Screen(std::vector<std::string>{}), "anything"));
	CHECK(stops(Screen({"alice"}), "X-User: ALICE") && !stops(Screen({"alice"}), "x-user: alic"));
	for (const char *bad : {"", "Alice", "\x01", "\xc3\xa4"})
		CHECK(stops(Screen({"good", bad}), ""));
	CHECK(stops(Screen({"0123456789abcdef-rest"}), "0123456789abcdef"));
	for (int round = 0; round < 3000; round++) {
		std::vector<std::string> texts;
		std::string where = text_of(40);
		bool is_there = false;

		for (uint32_t count = 1 + next() % 5; count > 0; count--)
			texts.push_back(text_of(5));
		for (const std::string &text : texts)
			is_there = is_there || where.find(text) != std::string::npos;
		CHECK(stops(Screen(texts), where) == is_there);
	}
	std::vector<std::string> many;

	for (uint32_t count = 0; count < 4000; count++)
		many.push_back(std::to_string(next()) + std::to_string(next()) + text_of(16));
	CHECK(stops(Screen(many), ""));
}

static void passes_on()
{
	world one;

	for (int round = 0; round < 3; round++) {
		CHECK(one.sent(one.client, GET).mask == 0 && world::got(one.origin) == GET);
		CHECK(one.sent(one.origin, ANSWER).mask == 0 && world::got(one.client) == ANSWER);
	}
	CHECK(one.exchanges.take_count(3) == 3 && one.exchanges.take_count(3) == 0 && one.exchanges.take_count(9) == 0);
	CHECK(one.exchanges.is_joined(one.near_client, 1) && !one.exchanges.is_joined(one.near_client, 2));
	CHECK(one.exchanges.part(one.near_origin) == PAIR_PARTED && one.exchanges.part(one.near_client) == 0);
	CHECK(!one.exchanges.is_joined(one.near_client, 1) && !one.exchanges.is_joined(1 << 20, 1));
	CHECK(!one.exchanges.join(one.near_client, 1, one.near_origin, 2, 4) && !one.exchanges.join(5, 1, 5, 1, 3));
}

static void parts()
{
	const uint32_t read = PAIR_PARTED | PAIR_READ | SOCKET_READABLE;
	world one;
	struct told_socket told;

	/* Wanted, perhaps. */
	std::string wanted = "GET / HTTP/1.1\r\nX-User: Alice\r\n\r\n";

	told = one.sent(one.client, wanted);
	CHECK(told.id == 1 && told.mask == read && told.start == 0 && told.count == static_cast<int32_t>(wanted.size()));
	CHECK(memcmp(one.memory, wanted.data(), wanted.size()) == 0 && world::got(one.origin).empty());
	/* A text of the body is none of the head. */
	CHECK(one.join() && one.sent(one.client, "PUT / HTTP/1.1\r\nContent-Length: 5\r\n\r\nalice").mask == 0);
	/* A second request while the first is on its way. */
	CHECK(one.sent(one.client, GET).mask == (read | PAIR_ASKED));
	/* No other one may follow: neither while it is on its way nor after its answer. */
	const std::string last = "GET / HTTP/1.1\r\nConnection: close\r\n\r\n";
	CHECK(one.join() && one.sent(one.client, last).mask == 0);
	CHECK(one.sent(one.client, GET).mask == (read | PAIR_ASKED | PAIR_LAST));
	CHECK(one.join() && one.sent(one.client, last).mask == 0 && one.sent(one.origin, ANSWER).mask == 0);
	CHECK(one.sent(one.client, GET).mask == (read | PAIR_LAST));
	/* An answer to nothing, and one that is not plain. */
	CHECK(one.join() && one.sent(one.origin, ANSWER).mask == read);
	CHECK(one.join() && one.sent(one.client, "HEAD / HTTP/1.1\r\n\r\n").mask == 0);
	told = one.sent(one.origin, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\n");
	CHECK(told.id == 2 && told.mask == (read | PAIR_ASKED | PAIR_ASKED_HEAD));
	/* A port of which is said that all may be wanted. */
	one.exchanges.set_screen(3, std::nullopt);
	CHECK(one.join() && one.sent(one.client, GET).mask == read);
	/* The end, with a request on its way. */
	one.exchanges.set_screen(3, std::vector<std::string>{});
	CHECK(one.join() && one.sent(one.client, GET).mask == 0);
	struct ready_socket ready[2] = {{one.near_client, 1, SOCKET_WRITABLE}, {one.near_origin, 2, SOCKET_READABLE | SOCKET_ENDS}};
	size_t next = 0;

	struct told_socket both[2];
	CHECK(one.arrivals.turn(ready, 2, &next, one.memory, sizeof one.memory, both, 2) == 1);
	told = both[0];
	CHECK(told.id == 2 && told.mask == (SOCKET_READABLE | SOCKET_ENDS | PAIR_PARTED | PAIR_ASKED) && told.count == 0);
	/* What was read fills the memory: there may be more, and there is. */
	CHECK(one.join() && write(one.client, (GET + "x").data(), GET.size() + 1) > 0);
	CHECK(one.exchanges.pass(one.near_client, one.memory, GET.size()).told == (PAIR_PARTED | PAIR_READ | PAIR_ASKED));
	CHECK(one.memory[0] == 'x' && world::got(one.origin).find(GET) != std::string::npos);
}

/* A body passes read by read; what comes too early or is too much of it parts the two, and is told with what is left. */
static void bodies()
{
	const uint32_t read = PAIR_PARTED | PAIR_READ | PAIR_ASKED | SOCKET_READABLE;
	const std::string put = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n", body(5000, 'b');
	world one;

	CHECK(one.sent(one.client, put).mask == 0 && one.sent(one.client, body.substr(0, 4999)).mask == 0);
	CHECK(one.sent(one.client, "b").mask == 0 && world::got(one.origin) == put + body);
	CHECK(one.sent(one.origin, ANSWER).mask == 0 && world::got(one.client) == ANSWER && one.exchanges.take_count(3) == 1);
	/* More than its memory takes, in some reads and in too many. */
	CHECK(write(one.client, (put + body).data(), put.size() + body.size()) > 0);
	CHECK(one.exchanges.pass(one.near_client, one.memory, 800).told == 0 && world::got(one.origin) == put + body);
	CHECK(one.sent(one.origin, ANSWER).mask == 0 && world::got(one.client) == ANSWER);
	CHECK(write(one.client, (put + body).data(), put.size() + body.size()) > 0);
	struct passed passed = one.exchanges.pass(one.near_client, one.memory, 100);
	size_t sent = world::got(one.origin).size();

	CHECK(passed.told == ((read | PAIR_UNSENT) & ~SOCKET_READABLE) && passed.count == 100 && sent == 800);
	CHECK(one.exchanges.take_left(one.near_client) == put.size() + 5000 - sent && one.exchanges.take_left(one.near_client) == 0);
	world::got(one.near_client);
	/* Another request right behind it. */
	CHECK(one.join() && one.sent(one.client, put + body.substr(1)).mask == 0);
	CHECK(one.sent(one.client, "b" + GET).mask == (read | PAIR_UNSENT) && one.exchanges.take_left(one.near_client) == 1);
	/* An answer before all of it. */
	CHECK(one.join() && one.sent(one.client, put).mask == 0);
	CHECK(one.sent(one.origin, ANSWER).mask == (read | PAIR_UNSENT) && one.exchanges.take_left(one.near_client) == 5000);
	/* A part that is told by who is asked to part, and one whose kernel took not all of it. */
	CHECK(one.join() && one.sent(one.client, put + "b").mask == 0);
	CHECK(one.exchanges.part(one.near_origin) == (PAIR_PARTED | PAIR_ASKED | PAIR_UNSENT));
	CHECK(one.exchanges.take_left(one.near_client) == 4999);
	const std::string much = "PUT / HTTP/1.1\r\nContent-Length: 9000000\r\n\r\n";
	struct told_socket told = {};
	size_t all = 0;

	world::got(one.origin);
	CHECK(one.join() && one.sent(one.client, much).mask == 0);
	for (; told.mask == 0 && all < 9000000; all += 5000)
		told = one.sent(one.client, body);
	CHECK(told.mask == (PAIR_PARTED | PAIR_REST | PAIR_ASKED | PAIR_UNSENT | SOCKET_READABLE));
	CHECK(told.start + static_cast<size_t>(told.count) == 5000 && one.exchanges.take_left(one.near_client) == 9000000 - all);
}

/* What is told first is read into the memory first. */
static void one_after_the_other()
{
	world one;
	struct ready_socket ready[3] = {{100, 7, SOCKET_READABLE}, {one.near_client, 1, SOCKET_READABLE}, {101, 8, SOCKET_READABLE}};
	struct told_socket told[3];
	size_t next = 0;

	CHECK(write(one.client, "no HTTP", 7) == 7);
	CHECK(one.arrivals.turn(ready, 3, &next, one.memory, sizeof one.memory, told, 3) == 1 && next == 1 && told[0].id == 7);
	CHECK(one.arrivals.turn(ready, 3, &next, one.memory, sizeof one.memory, told, 3) == 1 && next == 2 && told[0].id == 1);
	CHECK(told[0].mask == (PAIR_PARTED | PAIR_READ | SOCKET_READABLE) && memcmp(one.memory, "no HTTP", 7) == 0);
	CHECK(one.arrivals.turn(ready, 3, &next, one.memory, sizeof one.memory, told, 3) == 1 && next == 3 && told[0].id == 8);
}

static void rests()
{
	std::string body(60000, 'x');
	std::string large = "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
	std::string all;
	std::string expected;
	struct told_socket told = {};
	world one;

	for (int round = 0; round < 100 && told.mask == 0; round++) {
		CHECK(one.sent(one.client, GET).mask == 0);
		told = one.sent(one.origin, large);
		expected += large;
	}
	CHECK(told.id == 2 && told.mask == (PAIR_PARTED | PAIR_REST | SOCKET_READABLE));
	std::string rest(reinterpret_cast<char *>(one.memory) + told.start, static_cast<size_t>(told.count));

	for (std::string some = world::got(one.client); !some.empty(); some = world::got(one.client))
		all += some;
	CHECK(all + rest == expected);
	/* Nobody is there any more: all of it is left, and the request counts as sent. */
	CHECK(one.join());
	close(one.origin);
	one.origin = -1;
	told = one.sent(one.client, GET);
	CHECK(told.mask == (PAIR_PARTED | PAIR_REST | PAIR_ASKED | SOCKET_READABLE));
	CHECK(told.start == 0 && told.count == static_cast<int32_t>(GET.size()));
	/* A reset is told as it was read. */
	CHECK(one.join());
	close(one.client);
	one.client = -1;
	struct passed passed = one.exchanges.pass(one.near_client, one.memory, sizeof one.memory);

	CHECK(passed.told == (PAIR_PARTED | PAIR_READ) && passed.count <= 0);
}

int main()
{
	test("whole requests and answers that everybody reads the same are plain", plain_ones);
	test("whatever has to be thought about is not, and no part of a message is", not_plain_ones);
	test("60,000 damaged messages make nothing be read that is not there", damaged_ones);
	test("a screen finds its texts in any case wherever they are, and nothing else", screens);
	test("requests and answers pass between two that are joined, and are counted", passes_on);
	test("what is not plain or may be wanted parts them and is told, with what is on its way", parts);
	test("a body passes read by read, and who is parted within it knows what is left", bodies);
	test("nothing is read into the memory before what is told already", one_after_the_other);
	test("what the kernel does not take is told, and no byte is lost or sent twice", rests);
	return report();
}
