// getaddrinfo of each name: `NAME: ADDRESS...` in order of their text, or what it says when there is none.

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define MAX_ADDRESSES 16

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void resolve(const char *name)
{
	const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	char texts[MAX_ADDRESSES][INET6_ADDRSTRLEN];
	struct addrinfo *found = NULL;
	size_t count = 0;
	int error = getaddrinfo(name, NULL, &hints, &found);

	printf("%s:", name);
	if (error != 0)
		printf(" %s", error == EAI_NONAME ? "none" : gai_strerror(error));
	for (struct addrinfo *one = found; one != NULL && count < MAX_ADDRESSES; one = one->ai_next) {
		const void *address = one->ai_family == AF_INET
					      ? (const void *)&((struct sockaddr_in *)one->ai_addr)->sin_addr
					      : (const void *)&((struct sockaddr_in6 *)one->ai_addr)->sin6_addr;

		inet_ntop(one->ai_family, address, texts[count++], sizeof(texts[0]));
	}
	qsort(texts, count, sizeof(texts[0]), by_text);
	for (size_t i = 0; i < count; i++)
		printf(" %s", texts[i]);
	printf("\n");
	if (found != NULL)
		freeaddrinfo(found);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		resolve(argv[i]);
	return 0;
}
