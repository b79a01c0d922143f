/* Standing behind the worker (keeper.h). */
#include "keeper.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host_name.h"
#include "launch.h"
#include "net.h"
#include "notify.h"
#include "place.h"
#include "rules.h"
#include "shared.h"
#include "worker.h"

/* Descriptors wait in the socket's queue; they outlive the sender. */
static void send_fd(int socket, int fd)
{
	char byte = 0;
	struct iovec part = {&byte, 1};
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct msghdr message = {.msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = control.bytes,
				 .msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *head;

	memset(&control, 0, sizeof(control));
	head = CMSG_FIRSTHDR(&message);
	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(head), &fd, sizeof(int));
	(void)sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static int receive_fd(int socket)
{
	char byte;
	struct iovec part = {&byte, 1};
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct msghdr message = {.msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = control.bytes,
				 .msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *head;
	int fd = -1;

	if (recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) <= 0)
		return -1;
	head = CMSG_FIRSTHDR(&message);
	if (head && head->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(head), sizeof(int));
	return fd;
}

void keeper_send_setup(int socket, const uint8_t *body, size_t len)
{
	int fd = memfd_create("setup", MFD_CLOEXEC);

	if (fd >= 0 && write(fd, body, len) == (ssize_t)len)
		send_fd(socket, fd);
	if (fd >= 0)
		close(fd);
}

void keeper_send_listener(int socket, int listener)
{
	send_fd(socket, listener);
}

static bool load_rules(int fd)
{
	struct stat st;
	struct wire_reader r;
	struct rules *rules;
	uint8_t *body;

	if (fd < 0 || fstat(fd, &st) != 0)
		return false;
	body = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (body == MAP_FAILED)
		return false;
	r = (struct wire_reader){body, body + st.st_size, 0};
	net_start_dead(wire_get_u32(&r));
	(void)wire_get_u32(&r);
	rules = host_name_init(&r) ? rules_parse(&r) : NULL;
	place_init(rules);
	return rules != NULL;
}

static void take_over(int socket)
{
	bool has_rules = load_rules(receive_fd(socket));
	int listener = receive_fd(socket);

	if (listener < 0 || !has_rules)
		return;
	notify_adopt(listener);
	(void)notify_start(listener, false);
}

void keeper_run(pid_t worker, int socket)
{
	int status = 0;
	pid_t pid;

	do
		pid = waitpid(worker, &status, 0);
	while (pid < 0 && errno == EINTR);
	if (!shared->is_done) {
		/* It holds the device too (fuse.h): one that is stopped would keep the kernel's readers waiting. */
		kill(getppid(), SIGCONT);
		take_over(socket);
		worker_wait_for_all(NULL);
	}
	launch_exit_like(shared->status);
}
