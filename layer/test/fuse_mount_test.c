/*
 * Each way to mount without a trace, and the end of the one who did: real namespaces, a private
 * /dev/fuse that everybody may open (as udev sets it on desktops), the real fusermount3. Root.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../fuse_server.h"
#include "fake_link.h"
#include "fuse_target.h"
#include "tap.h"

#define NOBODY 65534
#define SKIPPED 77

/* Runs in a child of its own, whose mounts nobody else sees. Returns its exit code, -1 if it was
 * killed. */
static int in_private(int (*act)(void))
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		alarm(30);
		if (unshare(CLONE_NEWNS) != 0 ||
		    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
			_exit(SKIPPED);
		_exit(act());
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* /dev/fuse as on a desktop, then an ordinary user. */
static void become_nobody(void)
{
	char dir[] = "/tmp/fuse-node-XXXXXX", node[64];

	if (!mkdtemp(dir) || mount("node", dir, "tmpfs", 0, NULL) != 0)
		_exit(SKIPPED);
	snprintf(node, sizeof(node), "%s/fuse", dir);
	if (mknod(node, S_IFCHR | 0666, makedev(10, 229)) != 0 || chmod(node, 0666) != 0 ||
	    mount(node, "/dev/fuse", NULL, MS_BIND, NULL) != 0)
		_exit(SKIPPED);
	umount2(dir, MNT_DETACH);
	rmdir(dir);
	if (setgroups(0, NULL) != 0 || setresgid(NOBODY, NOBODY, NOBODY) != 0 ||
	    setresuid(NOBODY, NOBODY, NOBODY) != 0)
		_exit(SKIPPED);
	prctl(PR_SET_DUMPABLE, 1);
}

static unsigned mount_lines(void)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	unsigned lines = 0;
	int c;

	while ((c = fgetc(file)) != EOF)
		lines += c == '\n';
	fclose(file);
	return lines;
}

/* Starts, expects the way, and uses a file that belongs to somebody else. 0: all is well; else the
 * step that failed. */
static int use(enum fuse_way expected)
{
	char why[512] = "", dir[] = "/tmp/fuse-mount-XXXXXX", path[64], buf[8] = "";
	unsigned mounts = mount_lines();
	enum fuse_way way = fuse_start(why, sizeof(why));
	struct fuse_file other = {.path = "/other",
				  .path_len = 6,
				  .content = (const uint8_t *)"theirs",
				  .content_len = 6};
	struct stat st;
	int fd, result = 0;

	if (way != expected) {
		printf("# way %d: %s\n", way, why);
		return 1;
	}
	if (mount_lines() != mounts)
		return 2;
	if (!mkdtemp(dir))
		return 3;
	fake_start(dir);
	fd = fake_open("/mine", O_RDWR | O_CREAT, 0600, 0);
	if (fd < 0 || write(fd, "hello", 5) != 5 || pread(fd, buf, 5, 0) != 5 ||
	    memcmp(buf, "hello", 5) != 0)
		result = 4;
	if (fstat(fd, &st) != 0 || st.st_uid != geteuid() || st.st_size != 5)
		result = 5;
	close(fd);
	other.stat = (struct wire_stat){
	    .dev = 1, .ino = 2, .mode = S_IFREG | 0644, .nlink = 1, .uid = 4242, .size = 6};
	other.flags = O_RDWR;
	fd = fuse_open(&other);
	if (fd < 0 || pread(fd, buf, 6, 0) != 6 || memcmp(buf, "theirs", 6) != 0)
		result = 6;
	close(fd);
	snprintf(path, sizeof(path), "%s/mine", dir);
	unlink(path);
	rmdir(dir);
	return result;
}

static int as_nobody(void)
{
	become_nobody();
	return use(FUSE_USER_NAMESPACE);
}

/* As where unprivileged user namespaces are switched off. */
static int as_nobody_without_namespaces(void)
{
	struct sock_filter deny[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_unshare, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(deny) / sizeof(deny[0]), .filter = deny};

	if (access("/usr/bin/fusermount3", X_OK) != 0 ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0)
		return SKIPPED;
	become_nobody();
	return use(FUSE_FUSERMOUNT);
}

static int without_device(void)
{
	char why[512] = "";

	if (mount("/dev/null", "/dev/fuse", NULL, MS_BIND, NULL) != 0 ||
	    setresuid(NOBODY, NOBODY, NOBODY) != 0)
		return SKIPPED;
	return fuse_start(why, sizeof(why)) == FUSE_NONE && strstr(why, "user namespace: ") ? 0 : 1;
}

static bool connection_exists(unsigned device_minor)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/fs/fuse/connections/%u", device_minor);
	return access(path, F_OK) == 0;
}

/* Holds a descriptor until told, then says what reading gives. Its own end of `go` would keep it waiting for ever. */
static void hold(int fd, const int *go, const int *answer)
{
	int error;
	char c;

	close(fuse_device_fd);
	close(go[1]);
	if (read(go[0], &c, 1) == 1) {
		error = pread(fd, &c, 1, 0) == -1 ? errno : 0;
		(void)!write(answer[1], &error, sizeof(error));
	}
	_exit(0);
}

struct report {
	unsigned device_minor;
	pid_t holder;
};

/* A supervisor with a file open in another process. Does not return. */
static void supervise(const int *go, const int *answer)
{
	struct report report;
	char why[512];
	int fd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	fuse_start(why, sizeof(why));
	fake_start("/etc");
	fd = fake_open("/hostname", O_RDONLY, 0, 0);
	report.device_minor = minor(fuse_device());
	report.holder = fork();
	if (report.holder == 0)
		hold(fd, go, answer);
	(void)!write(answer[1], &report, sizeof(report));
	for (;;)
		pause();
}

/* Exit code: the step that failed. */
static int supervisor_is_killed(void)
{
	int go[2], answer[2], error = 0;
	struct report report;
	pid_t supervisor;

	if (mount("none", "/sys/fs/fuse/connections", "fusectl", 0, NULL) != 0 && errno != EBUSY)
		return SKIPPED;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (pipe(go) != 0 || pipe(answer) != 0)
		return SKIPPED;
	supervisor = fork();
	if (supervisor == 0)
		supervise(go, answer);
	close(go[0]);
	close(answer[1]);
	if (read(answer[0], &report, sizeof(report)) != sizeof(report) ||
	    !connection_exists(report.device_minor))
		return 1;
	kill(supervisor, SIGKILL);
	waitpid(supervisor, NULL, 0);
	if (write(go[1], "!", 1) != 1 || read(answer[0], &error, sizeof(error)) != sizeof(error))
		return 2;
	waitpid(report.holder, NULL, 0);
	if (error != ENOTCONN && error != ECONNABORTED && error != EIO)
		return 3;
	return connection_exists(report.device_minor) ? 4 : 0;
}

static void expect(int result, const char *sentence)
{
	if (result == SKIPPED)
		tap_skip(sentence, "this machine does not allow it");
	else if (!ok(result == 0, sentence))
		printf("# step %d\n", result);
}

static int as_root(void)
{
	return use(FUSE_MOUNT_NAMESPACE);
}

int main(void)
{
	expect(in_private(as_root), "root mounts and uses a file, no mount is seen");
	expect(in_private(as_nobody), "a user namespace does for an ordinary user");
	expect(in_private(as_nobody_without_namespaces),
	       "fusermount3 does where namespaces are off");
	expect(in_private(without_device), "without a device the reasons are told, way by way");
	expect(in_private(supervisor_is_killed),
	       "a killed supervisor leaves errors, no hang and no connection");
	return tap_done();
}
