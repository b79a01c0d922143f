/*
 * Both ends of bench/outgoing-bulk.ts and test/endurance/distance.test.ts.
 *
 *   outgoing serve PORT                      at every address; says "ready PORT"
 *   outgoing relay PORT                      at a port of its own; says so, and passes on to PORT of this machine
 *   outgoing down|up HOST PORT MIB           one connection; prints the milliseconds it took
 *   outgoing ask HOST PORT COUNT             64 bytes there and back, one at a time; the same
 *   outgoing connect HOST PORT COUNT         connections one after the other; prints the milliseconds of the first
 *                                            connect(2), and least and median of COUNT more
 *   outgoing beside HOST PORT COUNT          as ask, while another connection brings bulk; prints p50 and p99 of one
 *   outgoing both HOST PORT MIB              as down and as up, on two connections each, at once, and MIB there and back on
 *                                            one more that comes back as it goes; prints the milliseconds
 *   outgoing stop HOST PORT COUNT            COUNT connections bring bulk, of which each is read 24 MiB and then nothing more;
 *                                            says "stopped", and ends when stdin does
 *   outgoing lookup 4|any WARM NAME...       getaddrinfo of WARM, then of each NAME twice, IPv4 or both families; prints the
 *                                            milliseconds of WARM, and least and median of the first times and of the others
 */
#include <arpa/inet.h>
#include <err.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ASK_BYTES 64

struct order {
	char kind; /* d, u, a or e */
	uint64_t bytes;
};

static char block[256 << 10];

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static bool send_all(int fd, uint64_t bytes)
{
	while (bytes > 0) {
		ssize_t n = send(fd, block, bytes < sizeof(block) ? bytes : sizeof(block), MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		bytes -= (uint64_t)n;
	}
	return true;
}

static bool receive_all(int fd, uint64_t bytes)
{
	char *buffer = malloc(sizeof(block));

	while (bytes > 0) {
		ssize_t n = recv(fd, buffer, bytes < sizeof(block) ? bytes : sizeof(block), 0);

		if (n <= 0)
			break;
		bytes -= (uint64_t)n;
	}
	free(buffer);
	return bytes == 0;
}

static bool send_back(int fd, uint64_t bytes)
{
	char *buffer = malloc(sizeof(block));
	bool whole = true;

	while (whole && bytes > 0) {
		ssize_t n = recv(fd, buffer, bytes < sizeof(block) ? bytes : sizeof(block), 0);

		whole = n > 0;
		for (ssize_t done = 0, m; whole && done < n; done += m)
			whole = (m = send(fd, buffer + done, (size_t)(n - done), MSG_NOSIGNAL)) > 0;
		bytes -= whole ? (uint64_t)n : 0;
	}
	free(buffer);
	return whole;
}

static void *serve_one(void *arg)
{
	int fd = (int)(intptr_t)arg, one = 1;
	struct order order;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	while (recv(fd, &order, sizeof(order), MSG_WAITALL) == sizeof(order)) {
		if (order.kind == 'e' ? !send_back(fd, order.bytes) : order.kind == 'd' ? !send_all(fd, order.bytes) : !receive_all(fd, order.bytes))
			break;
		if (order.kind != 'd' && order.kind != 'e' && !send_all(fd, order.kind == 'a' ? ASK_BYTES : 1))
			break;
	}
	close(fd);
	return NULL;
}

static int serve(int port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	socklen_t len = sizeof(at);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(listener, (struct sockaddr *)&at, sizeof(at)) != 0 || listen(listener, 128) != 0)
		err(1, "listen");
	(void)getsockname(listener, (struct sockaddr *)&at, &len);
	printf("ready %d\n", ntohs(at.sin_port));
	fflush(stdout);
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		pthread_t thread;

		if (fd < 0 || pthread_create(&thread, NULL, serve_one, (void *)(intptr_t)fd) != 0)
			err(1, "accept");
		pthread_detach(thread);
	}
}

static int reach(const char *host, const char *port);

struct relayed {
	int from, to;
};

/* One direction: read and write, nothing else. */
static void *pass_on(void *arg)
{
	struct relayed *relayed = arg;
	char *buffer = malloc(sizeof(block));
	ssize_t n;

	while ((n = recv(relayed->from, buffer, sizeof(block), 0)) > 0)
		for (ssize_t done = 0, m; done < n; done += m)
			if ((m = send(relayed->to, buffer + done, (size_t)(n - done), MSG_NOSIGNAL)) <= 0)
				_exit(1);
	(void)shutdown(relayed->to, SHUT_WR);
	free(buffer);
	free(relayed);
	return NULL;
}

static int relay(const char *port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(listener, (struct sockaddr *)&at, sizeof(at)) != 0 || listen(listener, 128) != 0)
		err(1, "listen");
	(void)getsockname(listener, (struct sockaddr *)&at, &len);
	printf("ready %d\n", ntohs(at.sin_port));
	fflush(stdout);
	for (;;) {
		int ends[2] = {accept(listener, NULL, NULL), reach("127.0.0.1", port)};

		for (int i = 0; i < 2; i++) {
			struct relayed *relayed = malloc(sizeof(*relayed));
			pthread_t thread;

			*relayed = (struct relayed){ends[i], ends[1 - i]};
			if (pthread_create(&thread, NULL, pass_on, relayed) != 0)
				err(1, "thread");
			pthread_detach(thread);
		}
	}
}

static int reach(const char *host, const char *port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	(void)inet_pton(AF_INET, host, &at.sin_addr);
	if (connect(fd, (struct sockaddr *)&at, sizeof(at)) != 0)
		err(1, "connect");
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static void carry(int fd, char kind, uint64_t bytes, uint64_t answer)
{
	struct order order = {kind, bytes};

	if (send(fd, &order, sizeof(order), MSG_NOSIGNAL) != sizeof(order) ||
	    (kind != 'd' && !send_all(fd, bytes)) || !receive_all(fd, kind == 'd' ? bytes : answer))
		errx(1, "the connection ended");
}

static void ask(int fd)
{
	struct {
		struct order order;
		char bytes[ASK_BYTES];
	} whole = {.order = {'a', ASK_BYTES}};

	if (send(fd, &whole, sizeof(whole), MSG_NOSIGNAL) != sizeof(whole) || !receive_all(fd, ASK_BYTES))
		errx(1, "the connection ended");
}

static void *bring_bulk(void *arg)
{
	carry((int)(intptr_t)arg, 'd', UINT64_MAX, 0);
	return NULL;
}

struct work {
	int fd;
	char kind;
	uint64_t bytes;
};

static void *carry_some(void *arg)
{
	struct work *work = arg;

	carry(work->fd, work->kind, work->bytes, 1);
	return NULL;
}

static void *send_some(void *arg)
{
	struct work *work = arg;

	if (!send_all(work->fd, work->bytes))
		errx(1, "the connection ended");
	return NULL;
}

static int carry_both(const char *host, const char *port, uint64_t bytes)
{
	struct work works[] = {{0, 'd', bytes}, {0, 'u', bytes}, {0, 'd', bytes}, {0, 'u', bytes}, {0, 'e', bytes}};
	enum { COUNT = sizeof(works) / sizeof(works[0]), ECHO = COUNT - 1 };
	struct order order = {'e', bytes};
	pthread_t threads[COUNT];
	double from;

	for (int i = 0; i < COUNT; i++)
		works[i].fd = reach(host, port);
	from = now_ms();
	if (send(works[ECHO].fd, &order, sizeof(order), MSG_NOSIGNAL) != sizeof(order))
		errx(1, "the connection ended");
	for (int i = 0; i < COUNT; i++)
		if (pthread_create(&threads[i], NULL, i == ECHO ? send_some : carry_some, &works[i]) != 0)
			err(1, "thread");
	if (!receive_all(works[ECHO].fd, bytes))
		errx(1, "the connection ended");
	for (int i = 0; i < COUNT; i++)
		pthread_join(threads[i], NULL);
	printf("%.3f\n", now_ms() - from);
	return 0;
}

static int stop_reading(const char *host, const char *port, int count)
{
	struct order order = {'d', UINT64_MAX};
	char byte;

	for (int i = 0; i < count; i++) {
		int fd = reach(host, port);

		if (send(fd, &order, sizeof(order), MSG_NOSIGNAL) != sizeof(order) || !receive_all(fd, (uint64_t)24 << 20))
			errx(1, "the connection ended");
	}
	printf("stopped\n");
	fflush(stdout);
	while (read(0, &byte, 1) > 0)
		continue;
	_exit(0);
}

static int compare(const void *a, const void *b)
{
	return *(const double *)a < *(const double *)b ? -1 : 1;
}

static int ask_beside(const char *host, const char *port, int count)
{
	int bulk = reach(host, port), fd = reach(host, port);
	double *each = calloc((size_t)count, sizeof(*each));
	pthread_t thread;

	pthread_create(&thread, NULL, bring_bulk, (void *)(intptr_t)bulk);
	ask(fd);
	for (int i = 0; i < count; i++) {
		double from = now_ms();

		ask(fd);
		each[i] = now_ms() - from;
	}
	qsort(each, (size_t)count, sizeof(*each), compare);
	printf("%.3f %.3f\n", each[count / 2], each[count * 99 / 100]);
	fflush(stdout);
	_exit(0);
}

static double *middle_of(double *each, int count)
{
	qsort(each, (size_t)count, sizeof(*each), compare);
	return &each[count / 2];
}

static int connect_often(const char *host, const char *port, int count)
{
	double *each = calloc((size_t)count + 1, sizeof(*each));
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};

	(void)inet_pton(AF_INET, host, &at.sin_addr);
	for (int i = 0; i <= count; i++) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);
		double from = now_ms();

		if (connect(fd, (struct sockaddr *)&at, sizeof(at)) != 0)
			err(1, "connect");
		each[i] = now_ms() - from;
		close(fd);
	}
	double first = each[0], middle = *middle_of(each + 1, count);

	printf("%.3f %.3f %.3f\n", first, each[1], middle);
	return 0;
}

static double look_up(const char *name, int family)
{
	struct addrinfo hints = {.ai_family = family, .ai_socktype = SOCK_STREAM}, *found;
	double from = now_ms();
	int failed = getaddrinfo(name, "80", &hints, &found);
	double ms = now_ms() - from;

	if (failed)
		errx(1, "%s: %s", name, gai_strerror(failed));
	freeaddrinfo(found);
	return ms;
}

static int look_up_twice(int family, const char *warm, char **names, int count)
{
	double *first = calloc((size_t)count, sizeof(*first)), *again = calloc((size_t)count, sizeof(*again));
	double cold = look_up(warm, family);

	for (int i = 0; i < count; i++) {
		first[i] = look_up(names[i], family);
		again[i] = look_up(names[i], family);
	}
	double middle = *middle_of(first, count), next = *middle_of(again, count);

	printf("%.3f %.3f %.3f %.3f %.3f\n", cold, first[0], middle, again[0], next);
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	double from;
	int fd, count;

	memset(block, 'x', sizeof(block));
	if (strcmp(what, "serve") == 0 && argc == 3)
		return serve(atoi(argv[2]));
	if (strcmp(what, "relay") == 0 && argc == 3)
		return relay(argv[2]);
	if (strcmp(what, "lookup") == 0 && argc > 4)
		return look_up_twice(strcmp(argv[2], "4") == 0 ? AF_INET : AF_UNSPEC, argv[3], argv + 4, argc - 4);
	if (argc != 5)
		errx(2, "usage: see outgoing.c");
	count = atoi(argv[4]);
	if (strcmp(what, "beside") == 0)
		return ask_beside(argv[2], argv[3], count);
	if (strcmp(what, "both") == 0)
		return carry_both(argv[2], argv[3], (uint64_t)count << 20);
	if (strcmp(what, "stop") == 0)
		return stop_reading(argv[2], argv[3], count);
	if (strcmp(what, "connect") == 0)
		return connect_often(argv[2], argv[3], count);
	fd = reach(argv[2], argv[3]);
	ask(fd);
	from = now_ms();
	if (strcmp(what, "ask") == 0)
		for (int i = 0; i < count; i++)
			ask(fd);
	else
		carry(fd, what[0], (uint64_t)count << 20, 1);
	printf("%.3f\n", now_ms() - from);
	return 0;
}
