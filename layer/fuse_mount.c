/*
 * Mounts without a mount point: fsmount(2) gives a file system that is attached nowhere, so there
 * is nothing to hide and nothing to clean up; its last descriptor ends it. Where only the setuid
 * helper fusermount3 may mount, the mount point is detached before anyone is told of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuse_server.h"

/* glibc and musl differ in what they declare of the mount API of Linux 5.2. */
static int set_option(int fs, unsigned int command, const char *key, const char *value)
{
	return (int)syscall(SYS_fsconfig, fs, command, key, value, 0);
}

static int make_mount(int device, bool for_everyone)
{
	int fs = (int)syscall(SYS_fsopen, "fuse", FSOPEN_CLOEXEC), root = -1;
	char fd[16], uid[16], gid[16];

	if (fs < 0)
		return -errno;
	snprintf(fd, sizeof(fd), "%d", device);
	snprintf(uid, sizeof(uid), "%u", (unsigned int)getuid());
	snprintf(gid, sizeof(gid), "%u", (unsigned int)getgid());
	if (set_option(fs, FSCONFIG_SET_STRING, "source", "mirrord") == 0 &&
	    set_option(fs, FSCONFIG_SET_STRING, "fd", fd) == 0 &&
	    set_option(fs, FSCONFIG_SET_STRING, "rootmode", "40555") == 0 &&
	    set_option(fs, FSCONFIG_SET_STRING, "user_id", uid) == 0 &&
	    set_option(fs, FSCONFIG_SET_STRING, "group_id", gid) == 0 &&
	    (!for_everyone || set_option(fs, FSCONFIG_SET_FLAG, "allow_other", NULL) == 0) &&
	    set_option(fs, FSCONFIG_CMD_CREATE, NULL, NULL) == 0)
		root = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC,
				    MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	if (root < 0)
		root = -errno;
	close(fs);
	return root;
}

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), result = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		result = -errno;
	close(fd);
	return result;
}

/* Ids keep their numbers inside, so that what the file system shows is the same seen from outside.
 */
static int enter_user_namespace(void)
{
	unsigned int uid = (unsigned int)geteuid(), gid = (unsigned int)getegid();
	char map[64];
	int result;

	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
		return -errno;
	result = write_file("/proc/self/setgroups", "deny");
	if (result < 0)
		return result;
	snprintf(map, sizeof(map), "%u %u 1", uid, uid);
	result = write_file("/proc/self/uid_map", map);
	if (result < 0)
		return result;
	snprintf(map, sizeof(map), "%u %u 1", gid, gid);
	return write_file("/proc/self/gid_map", map);
}

struct passed {
	int error;
	char step[32];
};

/* Sends the outcome and, on success, the two descriptors. */
static void pass(int socket, const struct passed *outcome, const int *fds)
{
	struct iovec part = {(void *)outcome, sizeof(*outcome)};
	union {
		char bytes[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	struct cmsghdr *head;

	memset(&control, 0, sizeof(control));
	if (outcome->error == 0) {
		message.msg_control = control.bytes;
		message.msg_controllen = sizeof(control.bytes);
		head = CMSG_FIRSTHDR(&message);
		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(2 * sizeof(int));
		memcpy(CMSG_DATA(head), fds, 2 * sizeof(int));
	}
	(void)sendmsg(socket, &message, MSG_NOSIGNAL);
}

/* Receives up to two descriptors into fds; returns how many, or -errno. */
static int receive(int socket, void *data, size_t len, int *fds)
{
	struct iovec part = {data, len};
	union {
		char bytes[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct msghdr message = {.msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = control.bytes,
				 .msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *head;
	ssize_t got;
	size_t bytes;

	do
		got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	if (got == 0)
		return -EPIPE;
	head = CMSG_FIRSTHDR(&message);
	if (!head || head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
		return 0;
	bytes = head->cmsg_len - CMSG_LEN(0);
	if (bytes > 2 * sizeof(int))
		return -EPROTO;
	memcpy(fds, CMSG_DATA(head), bytes);
	return (int)(bytes / sizeof(int));
}

/* In the child: its namespaces, if it made any, live on only in the mount. */
static void mount_and_pass(int socket, enum fuse_way way)
{
	struct passed outcome = {0};
	int fds[2] = {-1, -1};

	snprintf(outcome.step, sizeof(outcome.step), "unshare");
	if (way == FUSE_USER_NAMESPACE)
		outcome.error = -enter_user_namespace();
	if (outcome.error == 0) {
		/* The device belongs to the namespace that opened it: only now. */
		snprintf(outcome.step, sizeof(outcome.step), "open /dev/fuse");
		fds[0] = open("/dev/fuse", O_RDWR | O_CLOEXEC);
		outcome.error = fds[0] < 0 ? errno : 0;
	}
	if (outcome.error == 0) {
		snprintf(outcome.step, sizeof(outcome.step), "mount");
		fds[1] = make_mount(fds[0], way == FUSE_MOUNT_NAMESPACE);
		outcome.error = fds[1] < 0 ? -fds[1] : 0;
	}
	pass(socket, &outcome, fds);
}

static void note(char *why, size_t why_len, const char *way, const char *step, int error)
{
	size_t used = strlen(why);

	snprintf(why + used, why_len - used, "%s%s: %s: %s", used ? "; " : "", way, step,
		 strerror(error));
}

static void reap(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static int mount_by_child(struct fuse_mount *mount, enum fuse_way way, char *why, size_t why_len)
{
	const char *name = way == FUSE_MOUNT_NAMESPACE ? "privileged mount" : "user namespace";
	struct passed outcome = {.error = EPIPE, .step = "helper"};
	int pair[2], fds[2] = {-1, -1}, got;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		mount_and_pass(pair[1], way);
		_exit(0);
	}
	close(pair[1]);
	got = pid > 0 ? receive(pair[0], &outcome, sizeof(outcome), fds) : -errno;
	close(pair[0]);
	if (pid > 0)
		reap(pid);
	if (got < 0 || outcome.error != 0 || got != 2) {
		note(why, why_len, name, outcome.step, got < 0 ? -got : outcome.error);
		return -EIO;
	}
	*mount = (struct fuse_mount){.way = way, .device = fds[0], .root = fds[1]};
	return 0;
}

/* Runs fusermount3 with `socket` to answer on, if any. Returns its wait status. */
static int run_fusermount(const char *const *argv, int socket)
{
	char number[16];
	int status = -1;
	pid_t pid;

	pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);

		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		if (socket >= 0) {
			fcntl(socket, F_SETFD, 0);
			snprintf(number, sizeof(number), "%d", socket);
			setenv("_FUSE_COMMFD", number, 1);
		}
		execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

static int mount_by_fusermount(struct fuse_mount *mount, char *why, size_t why_len)
{
	char dir[] = "/tmp/mirrord-fuse-XXXXXX";
	const char *const up[] = {"fusermount3", "-o", "nosuid,nodev,fsname=mirrord",
				  "--",		 dir,  NULL};
	const char *const down[] = {"fusermount3", "-u", "-z", "-q", "--", dir, NULL};
	int pair[2], fds[2] = {-1, -1}, got = -EIO, root = -1;
	char byte;

	if (!mkdtemp(dir))
		return -errno;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0) {
		int status = run_fusermount(up, pair[1]);

		close(pair[1]);
		if (status == 0)
			got = receive(pair[0], &byte, 1, fds);
		else if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
			got = -ENOENT;
		close(pair[0]);
	}
	if (got == 1) {
		root = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
		(void)run_fusermount(down, -1);
	}
	rmdir(dir);
	if (root < 0) {
		note(why, why_len, "fusermount3", "mount", got < 0 ? -got : errno);
		if (fds[0] >= 0)
			close(fds[0]);
		return -EIO;
	}
	*mount = (struct fuse_mount){.way = FUSE_FUSERMOUNT, .device = fds[0], .root = root};
	return 0;
}

int fuse_mount(struct fuse_mount *mount, char *why, size_t why_len)
{
	why[0] = '\0';
	if (mount_by_child(mount, FUSE_MOUNT_NAMESPACE, why, why_len) == 0)
		return 0;
	if (mount_by_child(mount, FUSE_USER_NAMESPACE, why, why_len) == 0)
		return 0;
	return mount_by_fusermount(mount, why, why_len);
}
