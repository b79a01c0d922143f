/* Delivery of answers through the listener (answer.h). */
#include "answer.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tracee.h"

static int listener = -1;

void answer_init(int fd)
{
	listener = fd;
}

static int send_response(uint64_t id, int64_t value, uint32_t flags)
{
	struct seccomp_notif_resp response = {.id = id, .flags = flags};

	if (value < 0)
		response.error = (int32_t)value;
	else
		response.val = value;
	return ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response) == 0 ? 0 : -errno;
}

int answer_value(uint64_t id, int64_t value)
{
	return send_response(id, value, 0);
}

int answer_continue(uint64_t id)
{
	return send_response(id, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
}

bool answer_is_awaited(uint64_t id)
{
	return ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

static int inject(const struct answer *answer, uint64_t id)
{
	struct seccomp_notif_addfd add = {
		.id = id,
		.flags = SECCOMP_ADDFD_FLAG_SEND,
		.srcfd = (uint32_t)answer->fd,
		.newfd_flags = answer->is_cloexec ? O_CLOEXEC : 0,
	};

	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add) >= 0)
		return 0;
	if (errno == ENOENT)
		return -ENOENT;
	/* EMFILE of the process is its own answer. */
	return answer_value(id, -errno);
}

int answer_give(const struct answer *answer, uint64_t id)
{
	struct seccomp_notif_addfd add = {
		.id = id,
		.srcfd = (uint32_t)answer->fd,
		.newfd_flags = O_CLOEXEC,
	};
	int fd = ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add);

	return fd < 0 ? -errno : fd;
}

int answer_deliver(const struct answer *answer, uint64_t id, pid_t tid)
{
	int failed;

	if (answer->how == ANSWER_CONTINUE)
		return answer_continue(id);
	if (answer->how == ANSWER_DESCRIPTOR)
		return inject(answer, id);
	if (answer->value >= 0 && answer->len > 0) {
		if (!answer_is_awaited(id))
			return -ENOENT;
		failed = tracee_write(tid, answer->addr, answer->data, answer->len);
		if (failed)
			return answer_value(id, failed);
	}
	return answer_value(id, answer->value);
}

void answer_drop(struct answer *answer)
{
	if (answer->fd >= 0)
		close(answer->fd);
	free(answer->data);
	answer->data = NULL;
	answer->fd = -1;
	answer->how = ANSWER_VALUE;
}
