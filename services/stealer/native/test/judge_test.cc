/* Heads that have to be seen: those that are known again, and those that somebody judges, under ASAN and UBSAN. TAP. */
#include "pair_world.h"

#include <cstring>
#include <memory>

static void known_heads()
{
	KnownHeads known;
	const std::string head = "GET / HTTP/1.1\r\n\r\n";
	auto has = [&known](const std::string &text) { return known.has(reinterpret_cast<const uint8_t *>(text.data()), text.size()); };
	auto learn = [&known](const std::string &text) { known.learn(reinterpret_cast<const uint8_t *>(text.data()), text.size()); };

	CHECK(!has(head) && !has(""));
	learn(head);
	learn(std::string(MAX_KNOWN_HEAD_BYTES + 1, 'x'));
	CHECK(has(head) && !has(head + "x") && !has(head.substr(1)) && !has("") && !has(std::string(MAX_KNOWN_HEAD_BYTES + 1, 'x')));
	for (int nth = 0; nth < 10000; nth++) {
		std::string other = "GET /" + std::to_string(nth) + " HTTP/1.1\r\n\r\n";

		CHECK(!has(other));
		learn(other);
		CHECK(has(other));
	}
	CHECK(!has(head));
}

/* Wants what says so; keeps what it was shown. */
class WordJudge : public HeadJudge
{
      public:
	WordJudge() : HeadJudge(memory_) {}
	bool is_unwanted(uint32_t screen, bool has_body) override
	{
		seen = std::string(reinterpret_cast<char *>(memory_), lines.end());
		method = seen.substr(0, lines.method_end());
		target = seen.substr(lines.method_end() + 1, lines.target_end() - lines.method_end() - 1);
		count++;
		is_last_with_body = has_body;
		CHECK(screen == 3);
		return seen.find("x-wanted: yes") == std::string::npos;
	}

	std::string seen, method, target;
	int count = 0;
	bool is_last_with_body = false;

      private:
	uint8_t memory_[HEAD_LINES_BYTES];
};

/* What the screen stops is judged, and passes when nobody wants it: this one, and the same again. */
static void judged_ones()
{
	const std::string odd = "PUT /a?b HTTP/1.1\r\nHost:shop\r\nX-User: \tAlice \r\nX-Odd: \xe9\r\nx-empty:\r\nContent-Length: 1\r\n\r\na";
	const std::string wanted = "GET /w HTTP/1.1\r\nX-Wanted: yes\r\n\r\n";
	auto judge = std::make_unique<WordJudge>();
	world one;

	one.exchanges.set_judge(judge.get());
	auto passes = [&one](const std::string &request) {
		return one.sent(one.client, request).mask == 0 && one.sent(one.origin, ANSWER).mask == 0 && world::got(one.origin) == request;
	};
	one.exchanges.set_screen(3, std::nullopt, true);
	CHECK(passes(GET) && judge->count == 1 && judge->method == "GET" && judge->target == "/a?b" && !judge->is_last_with_body);
	CHECK(judge->seen == "GET\n/a?b\nhost: shop\nx-user: bob");
	CHECK(passes(GET) && judge->count == 1);
	CHECK(passes(odd) && judge->count == 2 && judge->is_last_with_body);
	CHECK(judge->seen == "PUT\n/a?b\nhost: shop\nx-user: Alice\nx-empty: \ncontent-length: 1");
	CHECK(passes("GET / HTTP/1.1\r\n\r\n") && judge->seen == "GET\n/");
	CHECK(one.exchanges.take_count(3) == 4);
	/* The same is not judged again before the filters change. */
	one.exchanges.set_screen(3, std::vector<std::string>{"alice"}, true);
	CHECK(passes(GET) && passes(wanted) && judge->count == 3 && passes(odd) && judge->count == 4);
	one.exchanges.set_screen(3, std::nullopt, true);
	const uint32_t read = PAIR_PARTED | PAIR_READ | SOCKET_READABLE;
	CHECK(one.sent(one.client, wanted).mask == read && judge->count == 5);
	CHECK(memcmp(one.memory, wanted.data(), wanted.size()) == 0);
	/* Of two at once, a part and what is not plain nobody is asked. */
	for (const std::string &other : {GET + wanted, GET.substr(0, 20), std::string("GET / HTTP/1.1\r\nExpect: 100-continue\r\n\r\n")})
		CHECK(one.join() && one.sent(one.client, other).mask == read && judge->count == 5);
	/* Neither when all of them are stopped without a judge. */
	one.exchanges.set_screen(3, std::nullopt);
	CHECK(one.join() && one.sent(one.client, GET).mask == read && judge->count == 5);
	one.exchanges.set_judge(nullptr);
	one.exchanges.set_screen(3, std::nullopt, true);
	CHECK(one.join() && one.sent(one.client, GET).mask == read);
}

int main()
{
	test("a head that was learnt is known byte for byte, and not for ever", known_heads);
	test("what is stopped is judged, once for each head, and passes alone when nobody wants it", judged_ones);
	return report();
}
