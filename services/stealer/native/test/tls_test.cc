/* Connections in TLS between two ends of ours, under ASAN and UBSAN: whole, piece by piece, ended and broken. TAP. */
#include "sockets.h"
#include "tap.h"
#include "tls.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <random>
#include <sys/socket.h>
#include <unistd.h>

static std::mt19937 chance(20261129);
static std::string contents(const std::string &path)
{
	std::ifstream file(path);

	return std::string(std::istreambuf_iterator<char>(file), {});
}

struct pem {
	std::string certificate;
	std::string key;
};

/* Made anew: no key lies in a repository. */
static struct pem make_pem()
{
	char folder[] = "/tmp/mirrord-tls-test-XXXXXX";
	std::string at = mkdtemp(folder);
	std::string command = "cd " + at + " && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key -out crt "
	                                   "-subj /CN=shop.test -addext subjectAltName=DNS:shop.test 2>openssl.log";
	struct pem made;

	CHECK(system(command.c_str()) == 0);
	made = {contents(at + "/crt"), contents(at + "/key")};
	for (const char *name : {"/crt", "/key", "/openssl.log"})
		unlink((at + name).c_str());
	rmdir(folder);
	return made;
}

static const struct pem OWN = make_pem();
static const struct pem OTHER = make_pem();
static const char CIPHERS[] = "TLS_AES_256_GCM_SHA384:ECDHE-ECDSA-AES256-GCM-SHA384";

static std::shared_ptr<TlsContext> context(bool is_server, const struct pem &own = {}, const std::string &roots = "")
{
	std::string fault;
	std::shared_ptr<TlsContext> made = TlsContext::make({is_server, own.certificate, own.key, roots, CIPHERS}, &fault);

	CHECK(made != nullptr && fault.empty());
	return made;
}

/* Two ends, whose kernel takes little at once. */
struct ends {
	int server_fd = -1;
	int client_fd = -1;
	std::unique_ptr<TlsStream> server;
	std::unique_ptr<TlsStream> client;

	ends(std::shared_ptr<TlsContext> server_context, std::shared_ptr<TlsContext> client_context, const char *offered = "", const char *wanted = "")
	{
		int fds[2], little = 4096;

		CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
		server_fd = fds[0];
		client_fd = fds[1];
		for (int fd : fds)
			setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &little, sizeof little);
		server = std::make_unique<TlsStream>(server_fd, std::move(server_context), "", wanted);
		client = std::make_unique<TlsStream>(client_fd, std::move(client_context), "shop.test", offered);
	}
	ends(const ends &) = delete;
	ends &operator=(const ends &) = delete;
	~ends()
	{
		close(server_fd);
		close(client_fd);
	}

	void ready() const
	{
		server->on_ready(SOCKET_READABLE | SOCKET_WRITABLE);
		client->on_ready(SOCKET_READABLE | SOCKET_WRITABLE);
	}

	/* What both came to. */
	std::pair<int, int> shake() const
	{
		int one = -EAGAIN, other = -EAGAIN;

		for (int turn = 0; turn < 100 && (one == -EAGAIN || other == -EAGAIN); turn++) {
			ready();
			if (other == -EAGAIN)
				other = client->handshake();
			ready();
			if (one == -EAGAIN)
				one = server->handshake();
		}
		return {one, other};
	}
};

static std::string random_bytes(size_t size)
{
	std::string bytes(size, '\0');

	for (char &byte : bytes)
		byte = static_cast<char>(chance());
	return bytes;
}

static const uint8_t *octets(const std::string &text)
{
	return reinterpret_cast<const uint8_t *>(text.data());
}

static void pass_piece_by_piece(const struct ends &pair, size_t size, size_t most)
{
	std::string sent[2] = {random_bytes(size), random_bytes(size)}, got[2];
	TlsStream *from[2] = {pair.server.get(), pair.client.get()}, *to[2] = {pair.client.get(), pair.server.get()};
	size_t at[2] = {0, 0};
	std::vector<uint8_t> room(most);
	bool was_full = false;

	for (int idle = 0; idle < 1000 && (got[0].size() < size || got[1].size() < size); idle++) {
		for (int way = 0; way < 2; way++) {
			size_t piece = std::min<size_t>(1 + chance() % most, size - at[way]);
			int64_t taken = piece == 0 ? 0 : from[way]->write(octets(sent[way]) + at[way], piece);

			CHECK(taken >= 0 && static_cast<size_t>(taken) <= piece);
			was_full |= static_cast<size_t>(taken) < piece;
			at[way] += static_cast<size_t>(std::max<int64_t>(taken, 0));
			pair.ready();
			int64_t count = to[way]->read(room.data(), 1 + chance() % most);

			CHECK(count > 0 || count == -EAGAIN);
			if (count > 0) {
				got[way].append(reinterpret_cast<char *>(room.data()), static_cast<size_t>(count));
				idle = 0;
			}
		}
	}
	CHECK(got[0] == sent[0] && got[1] == sent[1]);
	CHECK(was_full || most < 10000);
}

int main()
{
	uint8_t room[65536];

	test("both ends know each other, agree on a protocol, and go on with their session", [] {
		std::shared_ptr<TlsContext> server = context(true, OWN), client = context(false, {}, OWN.certificate);

		for (int round = 0; round < 3; round++) {
			struct ends pair(server, client, "\2h2\10http/1.1", "\10http/1.1");
			uint8_t byte;

			CHECK(pair.shake() == std::make_pair(1, 1));
			CHECK(pair.client->protocol() == "http/1.1" && pair.server->protocol() == "http/1.1");
			CHECK(!pair.client->was_asked() && pair.client->has_heard() && pair.client->fault().empty());
			/* The tickets. */
			CHECK(pair.client->read(&byte, 1) == -EAGAIN);
			CHECK((client->session_of("shop.test") != nullptr) && client->session_of("other.test") == nullptr);
		}
	});
	test("who is asked for a certificate knows, also when the session goes on", [] {
		std::shared_ptr<TlsContext> server = context(true, OWN, OTHER.certificate), client = context(false, OTHER);

		for (int round = 0; round < 2; round++) {
			struct ends pair(server, client);
			uint8_t byte;

			CHECK(pair.shake() == std::make_pair(1, 1) && pair.client->was_asked());
			CHECK(pair.client->read(&byte, 1) == -EAGAIN);
		}
		struct ends without(server, context(false));

		CHECK(without.shake().first == -EPROTO && !without.server->fault().empty());
	});
	test("a server that nobody vouches for, and a client with other protocols, are not agreed with", [] {
		struct ends unknown(context(true, OWN), context(false, {}, OTHER.certificate));
		struct ends foreign(context(true, OWN), context(false), "\2h2", "\10http/1.1");

		CHECK(unknown.shake() == std::make_pair(-EPROTO, -EPROTO));
		CHECK(unknown.client->fault() == "certificate verify failed");
		CHECK(foreign.shake() == std::make_pair(-EPROTO, -EPROTO));
	});
	test("bytes arrive as they were sent, whatever the pieces, though the kernel takes little at once", [] {
		for (size_t most : {1, 7, 1000, 20000, 200000}) {
			struct ends pair(context(true, OWN), context(false));

			CHECK(pair.shake() == std::make_pair(1, 1));
			pass_piece_by_piece(pair, std::min<size_t>(most * 400, 1000000), most);
		}
	});
	test("an end comes behind what precedes it, with it or alone, and the other way goes on", [&room] {
		struct ends pair(context(true, OWN), context(false));

		CHECK(pair.shake() == std::make_pair(1, 1));
		CHECK(pair.client->write(octets("last"), 4) == 4 && pair.client->end(false) == 0);
		pair.ready();
		CHECK(pair.server->read(room, sizeof room) == 4 && pair.server->has_end());
		CHECK(pair.server->read(room, sizeof room) == 0);
		CHECK(pair.server->write(octets("answer"), 6) == 6);
		pair.ready();
		CHECK(pair.client->read(room, sizeof room) == 6 && !pair.client->has_end());
		CHECK(pair.client->read(room, sizeof room) == -EAGAIN);
		/* Without a word. */
		shutdown(pair.server_fd, SHUT_WR);
		pair.client->on_ready(SOCKET_READABLE | SOCKET_ENDS);
		CHECK(pair.client->read(room, sizeof room) == 0 && pair.client->has_end());
	});
	test("an end waits for what the kernel has not taken", [&room] {
		struct ends pair(context(true, OWN), context(false));
		std::string much = random_bytes(200000);
		size_t at = 0, got = 0;

		CHECK(pair.shake() == std::make_pair(1, 1));
		for (int64_t taken = 1; taken > 0; at += static_cast<size_t>(taken))
			taken = pair.server->write(octets(much) + at, much.size() - at);
		CHECK(at < much.size() && pair.server->end(false) == 0);
		for (int64_t count = 1; count != 0 && !is_failing;) {
			pair.ready();
			count = pair.client->read(room, sizeof room);
			CHECK(count >= 0 || count == -EAGAIN);
			got += count > 0 ? static_cast<size_t>(count) : 0;
		}
		/* The byte that was not told as taken had been encrypted. */
		CHECK(got == at + 1);
	});
	test("what is no TLS, or was changed on its way, is an error for both, and nothing is read of it", [&room] {
		std::shared_ptr<TlsContext> server = context(true, OWN), client = context(false);

		for (int round = 0; round < 400; round++) {
			struct ends pair(server, client);
			std::string junk = random_bytes(1 + chance() % 300);
			bool is_known = round % 2 == 0;

			/* Many begin as a record does. */
			if (round % 3 != 0)
				junk.replace(0, 3, std::string("\x16\x03\x03\x17\x03\x03\x15\x03\x03", 9).substr(chance() % 3 * 3, 3));
			if (is_known)
				CHECK(pair.shake() == std::make_pair(1, 1));
			CHECK(socket_write(pair.client_fd, octets(junk), junk.size()) == static_cast<int64_t>(junk.size()));
			shutdown(pair.client_fd, SHUT_WR);
			pair.server->on_ready(SOCKET_READABLE | SOCKET_ENDS);
			int64_t result = is_known ? pair.server->read(room, sizeof room) : pair.server->handshake();

			CHECK(result == -EPROTO || result == (is_known ? 0 : -ECONNRESET));
			CHECK(pair.server->write(octets(junk), 1) <= 0 || is_known);
		}
	});
	test("what is no certificate or no key of it is refused, in words", [] {
		for (const struct pem &bad : {pem{"none", OWN.key}, pem{OWN.certificate, "none"}, pem{OWN.certificate, OTHER.key}}) {
			std::string fault;

			CHECK(TlsContext::make({true, bad.certificate, bad.key, "", CIPHERS}, &fault) == nullptr && !fault.empty());
		}
	});
	return report();
}
