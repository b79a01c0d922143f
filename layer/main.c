/*
 * mirrord-supervisor -- COMMAND ARGS...: runs a command whose file calls are answered with the help of the client, which is
 * at the other end of descriptor 3, and of descriptor 4 where it takes streams itself (net_hand.h). Three generations: the keeper (this process) watches the worker, the worker serves the
 * command, its child. Both are ancestors of it, because Yama lets only ancestors read memory.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bypass_offer.h"
#include "keeper.h"
#include "launch.h"
#include "net_hand.h"
#include "fuse.h"
#include "shared.h"
#include "worker.h"

#define CLIENT_FD 3

int main(int argc, char **argv)
{
	int pair[2];
	pid_t worker;

	if (argc < 3 || strcmp(argv[1], "--") != 0 || fcntl(CLIENT_FD, F_SETFD, FD_CLOEXEC) != 0) {
		fprintf(stderr, "mirrord-supervisor is started by mirrord, not by hand\n");
		return 126;
	}
	net_hand_take_channel();
	fuse_take_client_device();
	launch_ignore_signals();
	launch_forbid_core();
	bypass_find();
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	if (shared_create() != 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
		perror("mirrord-supervisor");
		return 126;
	}
	worker = fork();
	if (worker < 0) {
		perror("mirrord-supervisor: fork");
		return 126;
	}
	if (worker == 0) {
		close(pair[0]);
		worker_run(argv + 2, pair[1]);
	}
	close(pair[1]);
	close(CLIENT_FD);
	fuse_drop_client_device();
	net_hand_drop_channel();
	keeper_run(worker, pair[0]);
}
