/* Reading and writing messages in the process (net_message.h). */
#include "net_message.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>

#include "net_name.h"
#include "tracee.h"

static bool is_many(int nr)
{
	return nr == SYS_sendmmsg || nr == SYS_recvmmsg;
}

unsigned int net_message_count(const struct seccomp_notif *n)
{
	unsigned int count = (unsigned int)n->data.args[2];

	if (!is_many(n->data.nr))
		return 1;
	return count < UIO_MAXIOV ? count : UIO_MAXIOV;
}

static int read_parts(struct net_message *message, uint64_t at)
{
	int failed = 0;

	if (message->part_count > UIO_MAXIOV)
		return -EMSGSIZE;
	if (message->part_count)
		failed = tracee_read(message->tid, at, message->parts,
				     message->part_count * sizeof(struct iovec));
	for (size_t i = 0; !failed && i < message->part_count; i++) {
		if (message->parts[i].iov_len > (1u << 30))
			message->parts[i].iov_len = 1u << 30;
		message->room += message->parts[i].iov_len;
	}
	return failed;
}

static int read_header(struct net_message *message)
{
	struct msghdr head;
	int failed = tracee_read(message->tid, message->header_at, &head, sizeof(head));

	if (failed)
		return failed;
	message->is_header = true;
	message->name_at = (uintptr_t)head.msg_name;
	message->name_len = message->name_at ? head.msg_namelen : 0;
	message->control_at = (uintptr_t)head.msg_control;
	message->control_len = message->control_at ? head.msg_controllen : 0;
	message->part_count = head.msg_iovlen;
	return read_parts(message, (uintptr_t)head.msg_iov);
}

int net_message_read(const struct seccomp_notif *n, unsigned int index, struct net_message *message)
{
	const __u64 *args = n->data.args;

	memset(message, 0, offsetof(struct net_message, parts));
	message->tid = (pid_t)n->pid;
	message->flags = (int)args[3];
	if (n->data.nr == SYS_sendto || n->data.nr == SYS_recvfrom) {
		message->name_at = args[4];
		message->part_count = 1;
		message->parts[0] = (struct iovec){(void *)(uintptr_t)args[1], args[2]};
		message->room = args[2];
		if (n->data.nr == SYS_sendto)
			message->name_len = (uint32_t)args[5];
		else
			message->name_len_at = args[5];
		return 0;
	}
	message->header_at = args[1];
	if (is_many(n->data.nr)) {
		message->header_at += index * sizeof(struct mmsghdr);
		message->length_at = message->header_at + offsetof(struct mmsghdr, msg_len);
	} else {
		message->flags = (int)args[2];
	}
	return read_header(message);
}

bool net_message_name(const struct net_message *message, struct net_addr *name)
{
	uint8_t bytes[sizeof(struct sockaddr_storage)] = {0};

	return message->name_at && message->name_len >= 2 && message->name_len <= sizeof(bytes) &&
	       tracee_read(message->tid, message->name_at, bytes, message->name_len) == 0 &&
	       net_addr_read(name, bytes, message->name_len);
}

ssize_t net_message_gather(const struct net_message *message, void *out, size_t max)
{
	struct iovec local = {out, message->room < max ? message->room : max};
	ssize_t n;

	if (local.iov_len == 0)
		return 0;
	n = process_vm_readv(message->tid, &local, 1, message->parts, message->part_count, 0);
	if (n < 0)
		return -errno;
	return n == (ssize_t)local.iov_len ? n : -EFAULT;
}

static int put_name(const struct net_message *message, const struct net_addr *name)
{
	socklen_t len = name->len < message->name_len ? name->len : message->name_len;
	int failed;

	if (!message->name_at)
		return 0;
	if (!message->is_header)
		return message->name_len_at ? net_name_write(message->tid, message->name_at, message->name_len_at, name)
					    : -EFAULT;
	failed = len ? tracee_write(message->tid, message->name_at, &name->sa, len) : 0;
	if (!failed)
		failed = tracee_write(message->tid, message->header_at + offsetof(struct msghdr, msg_namelen),
				      &name->len, sizeof(name->len));
	return failed;
}

int net_message_scatter(const struct net_message *message, const struct net_received *received)
{
	struct iovec local = {(void *)received->data, received->len};
	uint64_t head = message->header_at;
	uint32_t value = (uint32_t)received->value;
	int failed = 0;

	if (received->len && process_vm_writev(message->tid, &local, 1, message->parts, message->part_count, 0) !=
				     (ssize_t)received->len)
		return -EFAULT;
	failed = put_name(message, received->name);
	if (failed || !message->is_header)
		return failed;
	if (received->control_len)
		failed = tracee_write(message->tid, message->control_at, received->control, received->control_len);
	if (!failed)
		failed = tracee_write(message->tid, head + offsetof(struct msghdr, msg_controllen),
				      &received->control_len, sizeof(received->control_len));
	if (!failed)
		failed = tracee_write(message->tid, head + offsetof(struct msghdr, msg_flags), &received->flags,
				      sizeof(received->flags));
	if (!failed && message->length_at)
		failed = tracee_write(message->tid, message->length_at, &value, sizeof(value));
	return failed;
}
