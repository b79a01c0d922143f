/* The classic sniffer, to compare with: AF_PACKET and one recvfrom for each packet, a port looked at in the program. */
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

static unsigned char packet[1 << 17];

int main(int argc, char **argv)
{
	int port = argc > 1 ? atoi(argv[1]) : 8080;
	int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_IP));
	unsigned long long bytes = 0;

	if (fd < 0) {
		perror("AF_PACKET");
		return 1;
	}
	puts("ready");
	fflush(stdout);
	for (;;) {
		struct sockaddr_ll from;
		socklen_t length = sizeof(from);
		ssize_t count = recvfrom(fd, packet, sizeof(packet), 0, (struct sockaddr *)&from, &length);
		int header;

		if (count < 40 || packet[9] != 6)
			continue;
		header = (packet[0] & 15) * 4;
		if ((packet[header + 2] << 8 | packet[header + 3]) == port)
			bytes += (unsigned long long)count;
	}
	return bytes > 0 ? 0 : 1;
}
