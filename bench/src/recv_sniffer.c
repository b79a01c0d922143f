/*
 * The classic sniffer, to compare with: AF_PACKET and one recvfrom for each packet, a port looked at in the program. On SIGINT it
 * says how many packets the kernel has dropped for it.
 */
#include <signal.h>
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

static unsigned char packet[1 << 17];
static volatile sig_atomic_t is_over;

static void on_signal(int number)
{
	(void)number;
	is_over = 1;
}

int main(int argc, char **argv)
{
	int port = argc > 1 ? atoi(argv[1]) : 8080;
	int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_IP));
	unsigned long long bytes = 0;
	struct tpacket_stats statistics = {0};
	socklen_t size = sizeof(statistics);
	struct sigaction action = {.sa_handler = on_signal};

	sigaction(SIGINT, &action, NULL);
	if (fd < 0) {
		perror("AF_PACKET");
		return 1;
	}
	puts("ready");
	fflush(stdout);
	while (!is_over) {
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
	getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &statistics, &size);
	printf("dropped %u\n", statistics.tp_drops);
	return bytes > 0 ? 0 : 1;
}
