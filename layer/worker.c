/* Start-up and end of the worker (worker.h). */
#include "worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bypass_offer.h"
#include "fuse.h"
#include "host_name.h"
#include "keeper.h"
#include "launch.h"
#include "link.h"
#include "net.h"
#include "net_sweep.h"
#include "notify.h"
#include "place.h"
#include "probe.h"
#include "shared.h"
#include "stops.h"

#define CLIENT_FD 3
#define SETUP_DEADLINE_MS 10000
/* For what the last process wrote before its end. */
#define FINISH_MS 10000

static pthread_t outcome_thread;

static void fail(int error, int code, const char *what)
{
	uint8_t body[1024];
	struct wire_writer w = {body, body + sizeof(body), 0};

	wire_put_u32(&w, (uint32_t)error);
	wire_put_str(&w, what, strlen(what));
	link_tell(WIRE_FAILED, 0, body, (size_t)(w.at - body));
	if (!link_is_alive())
		dprintf(2, "mirrord-supervisor: %s\n", what);
	shared->status = code << 8;
	shared->is_done = true;
	_exit(code);
}

static const char *fuse_line(enum fuse_way way)
{
	switch (way) {
	case FUSE_MOUNT_NAMESPACE:
		return "files: descriptors by FUSE, mounted with privilege";
	case FUSE_USER_NAMESPACE:
		return "files: descriptors by FUSE in a user namespace";
	case FUSE_FUSERMOUNT:
		return "files: descriptors by FUSE, mounted by fusermount3";
	default:
		return NULL;
	}
}

static const char no_ptrace[] =
	"files: ptrace(2) is forbidden here: remote directories cannot be entered (chdir), remote programs cannot be run";

static bool say_hello(uint32_t can)
{
	const char *setting = getenv("MIRRORD_LAYER_FUSE");
	uint8_t body[2048];
	struct wire_writer w = {body, body + sizeof(body), 0};
	enum fuse_way way = FUSE_NONE;
	char why[512] = "", line[1024];

	if (setting && strcmp(setting, "off") == 0)
		snprintf(why, sizeof(why), "MIRRORD_LAYER_FUSE=off");
	else
		way = fuse_start(why, sizeof(why));
	unsetenv("MIRRORD_LAYER_FUSE");
	if (way != FUSE_NONE)
		snprintf(line, sizeof(line), "%s", fuse_line(way));
	else
		snprintf(line, sizeof(line),
			 "files: private copies, because there is no FUSE (%s); remote files cannot be written, "
			 "remote directories cannot be entered (chdir), remote programs cannot be run, "
			 "files over 64 MiB cannot be read", why);
	wire_put_u32(&w, WIRE_VERSION);
	wire_put_u32(&w, can | (way != FUSE_NONE ? WIRE_CAN_FUSE : 0u));
	wire_put_u32(&w, can & WIRE_CAN_PTRACE ? 1 : 2);
	wire_put_str(&w, line, strlen(line));
	if (!(can & WIRE_CAN_PTRACE))
		wire_put_str(&w, no_ptrace, strlen(no_ptrace));
	link_tell(WIRE_HELLO, 0, body, (size_t)(w.at - body));
	return way != FUSE_NONE;
}

static void receive_setup(struct launch *launch, int keeper)
{
	struct wire_frame frame;
	struct wire_reader r;
	struct rules *rules;
	const char *why = NULL;
	uint8_t *buf;
	int failed = link_receive_setup(&buf, &frame, SETUP_DEADLINE_MS);

	if (failed)
		fail(failed, 126, "the client did not say what to do in time, or said it wrongly");
	keeper_send_setup(keeper, frame.body, frame.body_len);
	r = (struct wire_reader){frame.body, frame.body + frame.body_len, 0};
	launch->features = wire_get_u32(&r);
	(void)wire_get_u32(&r); /* inline_bytes: the client's own limit */
	rules = host_name_init(&r) ? rules_parse(&r) : NULL;
	if (!rules)
		fail(-EPROTO, 126, "the client's rules, or its host name, are malformed");
	place_init(rules);
	free(buf);
	if (launch->features & WIRE_FEATURE_FILES_READ)
		why = bypass_offer(rules, fuse_device());
	if (why)
		link_log(2, "files: local calls are not made cheaper (%s)", why);
	launch->cookie = bypass_cookie();
}

/* A thread of its own: the command's own execve may need the one that reaps (stops.h). */
static void *tell_outcome(void *arg)
{
	struct launch *state = arg;
	uint8_t body[4];
	struct wire_writer w = {body, body + sizeof(body), 0};
	char what[256];
	int failed = launch_outcome(state);

	if (failed) {
		snprintf(what, sizeof(what), "%s: %s", state->argv[0],
			 failed == -ENOENT ? "command not found" : strerror(-failed));
		fail(failed, failed == -ENOENT ? 127 : 126, what);
	}
	wire_put_u32(&w, (uint32_t)state->pid);
	link_tell(WIRE_STARTED, 0, body, sizeof(body));
	return NULL;
}

static void start(struct launch *state, int keeper)
{
	int failed;

	failed = launch(state);
	if (failed)
		fail(failed, 126, "the kernel refuses the filter: see mirrord's requirements");
	shared->app = state->pid;
	keeper_send_listener(keeper, state->listener);
	close(keeper);
	failed = net_start(state->features);
	if (failed)
		link_log(0, "network: not redirected, because there is no loopback (errno %d)", -failed);
	failed = link_start();
	if (!failed)
		failed = notify_start(state->listener, state->has_fuse);
	if (!failed)
		failed = -pthread_create(&outcome_thread, NULL, tell_outcome, state);
	if (failed)
		fail(failed, 126, "no threads to serve the program");
}

void worker_wait_for_all(void (*when_first_ends)(void))
{
	int status;

	for (;;) {
		pid_t pid = waitpid(-1, &status, 0);

		if (pid < 0 && errno == EINTR)
			continue;
		if (pid < 0)
			return;
		stops_deliver(pid, status);
		if (pid != shared->app || WIFSTOPPED(status))
			continue;
		shared->status = status;
		shared->has_ended = true;
		if (when_first_ends)
			when_first_ends();
	}
}

static bool is_zombie(pid_t pid)
{
	char path[48], line[512], *state;
	FILE *file;
	bool is_dead = true;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	if (!file)
		return true;
	if (fgets(line, sizeof(line), file) && (state = strrchr(line, ')')))
		is_dead = state[1] == ' ' && state[2] == 'Z';
	fclose(file);
	return is_dead;
}

/* Processes that have become ours because their parents ended; those below them count as theirs. */
static uint32_t count_left(void)
{
	char path[64];
	FILE *file;
	pid_t pid;
	uint32_t count = 0;
	siginfo_t info = {0};

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	file = fopen(path, "re");
	if (!file)
		return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;
	while (fscanf(file, "%d", &pid) == 1)
		count += !is_zombie(pid);
	fclose(file);
	return count;
}

static void tell_of_background(void)
{
	uint8_t body[8];
	struct wire_writer w = {body, body + sizeof(body), 0};
	uint32_t left;

	pthread_join(outcome_thread, NULL);
	left = count_left();
	if (left == 0)
		return;
	wire_put_u32(&w, (uint32_t)shared->status);
	wire_put_u32(&w, left);
	link_tell(WIRE_ENDED, 0, body, sizeof(body));
}

void worker_run(char **argv, int keeper)
{
	struct launch state = {.argv = argv};
	char why[512];
	uint32_t can;
	int failed;

	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	(void)link_init(CLIENT_FD);
	failed = probe(&can, why, sizeof(why));
	if (failed)
		fail(failed, 126, why);
	state.has_fuse = say_hello(can);
	receive_setup(&state, keeper);
	start(&state, keeper);
	worker_wait_for_all(tell_of_background);
	net_finish(FINISH_MS);
	shared->is_done = true;
	_exit(0);
}
