/* Translation by nf_tables, from its first connection to what the kernel remembers of it, under ASAN and UBSAN in a network namespace
 * of its own. TAP. */
#include "stealer.h"
#include "tap.h"

#include <arpa/inet.h>
#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

static const uint16_t STOLEN = 8080;
static const uint16_t PEER = 40000;
static const int MOST_MS = 10000;

static int bound(uint16_t port)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const int on = 1;
	struct sockaddr_in address = {};

	address.sin_family = AF_INET;
	address.sin_port = htons(port);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	CHECK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0);
	CHECK(bind(fd, reinterpret_cast<struct sockaddr *>(&address), sizeof address) == 0);
	return fd;
}

static int listening(uint16_t port)
{
	int fd = bound(port);

	CHECK(listen(fd, 8) == 0);
	return fd;
}

static uint16_t port_of(int fd)
{
	struct sockaddr_in address = {};
	socklen_t length = sizeof address;

	CHECK(getsockname(fd, reinterpret_cast<struct sockaddr *>(&address), &length) == 0);
	return ntohs(address.sin_port);
}

/* By the peer's one port. 0, or -errno. */
static int dialled(int *fd)
{
	struct sockaddr_in address = {};

	*fd = bound(PEER);
	address.sin_family = AF_INET;
	address.sin_port = htons(STOLEN);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return connect(*fd, reinterpret_cast<struct sockaddr *>(&address), sizeof address) == 0 ? 0 : -errno;
}

static int accepted(int listener)
{
	struct pollfd ready = {listener, POLLIN, 0};

	return poll(&ready, 1, MOST_MS) == 1 ? accept4(listener, nullptr, nullptr, SOCK_CLOEXEC) : -ETIMEDOUT;
}

static void reset(int fd)
{
	const struct linger at_once = {1, 0};

	CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
	close(fd);
}

/* A connection that was translated, and reset; afterwards nobody listens where it was translated to. */
static uint16_t steal_and_reset(int target)
{
	int listener = listening(0);
	uint16_t port = port_of(listener);
	struct nat *nat = nullptr;
	struct kept_nat *kept = nullptr;
	int peer = -1;

	CHECK(nat_open(target, "mirrord-steal-test-1", port, true, &nat) == 0);
	CHECK(nat_is_owned(nat) && nat_port(nat, STOLEN, true) == 0);
	CHECK(dialled(&peer) == 0);
	reset(accepted(listener));
	close(peer);
	CHECK(kept_open(target, "mirrord-pass-test-1", &kept) == 0);
	CHECK(nat_port(nat, STOLEN, false) == 0);
	nat_close(nat);
	close(listener);
	kept_close(kept);
	return port;
}

/* Somebody else has connections tracked and translated: what is remembered stays in force. */
static void others_translate()
{
	CHECK(system("nft 'table ip others { chain out { type nat hook output priority 0; ct state new counter; }; "
		     "chain in { type nat hook prerouting priority 0; ct state new counter; }; }'") == 0);
}

static void forgotten_after_a_reset()
{
	int target = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	uint16_t port = steal_and_reset(target);
	int app = listening(STOLEN);
	int peer = -1;

	CHECK(forget_translated(target, port) == 0);
	CHECK(dialled(&peer) == 0);
	int at_the_app = accepted(app);

	CHECK(at_the_app >= 0);
	close(at_the_app);
	close(peer);
	close(app);
	CHECK(nat_sweep(target, "") == 0);
	close(target);
}

static void nothing_to_forget()
{
	int target = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	CHECK(forget_translated(target, 1) == 0);
	close(target);
}

int main()
{
	setvbuf(stdout, nullptr, _IOLBF, 0);
	if (unshare(CLONE_NEWNET) < 0) {
		perror("unshare");
		return 1;
	}
	CHECK(system("ip link set lo up") == 0);
	others_translate();
	test("a peer whose translated connection was reset reaches the target by the same port at once", forgotten_after_a_reset);
	test("where nothing is remembered there is nothing to forget", nothing_to_forget);
	return report();
}
