/* The sk_lookup program in one network namespace. Everything of it is held by descriptors of this process: when it is gone,
 * however it went, the kernel has forgotten it. */
#include "stealer.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

#include "redirect.h"

extern "C" const unsigned char mirrord_redirect_object[] __attribute__((visibility("hidden")));
extern "C" const unsigned char mirrord_redirect_object_end[] __attribute__((visibility("hidden")));

struct redirect {
	struct bpf_object *object;
	struct bpf_link *link;
	int ports;
	int dials;
};

/* What is kept of libbpf's text: the end, where the verifier of a refused program says why. */
static const size_t max_message = 1500;
static std::string last_words;

static int keep_words(enum libbpf_print_level level, const char *format, va_list arguments)
{
	char *text = nullptr;

	if (level == LIBBPF_DEBUG)
		return 0;
	int length = vasprintf(&text, format, arguments);

	if (length < 0)
		return length;
	last_words.append(text, static_cast<size_t>(length));
	free(text);
	if (last_words.size() > max_message)
		last_words.erase(0, last_words.size() - max_message);
	return length;
}

static int fail(struct redirect *redirect, int error, std::string *message)
{
	redirect_close(redirect);
	*message = last_words;
	return error < 0 ? error : -EINVAL;
}

static int map_of(struct bpf_object *object, const char *name)
{
	return bpf_object__find_map_fd_by_name(object, name);
}

/* Programs of ours that are attached to the namespace already, at most as many as we look at; -errno when nobody says. */
static int programs_like_ours(int namespace_fd)
{
	__u32 ids[32];
	__u32 count = sizeof ids / sizeof ids[0];
	int found = 0;

	if (bpf_prog_query(namespace_fd, BPF_SK_LOOKUP, 0, nullptr, ids, &count) < 0)
		return -errno;
	for (__u32 i = 0; i < count; i++) {
		struct bpf_prog_info info = {};
		__u32 length = sizeof info;
		int fd = bpf_prog_get_fd_by_id(ids[i]);

		/* It has just gone. */
		if (fd < 0)
			continue;
		if (bpf_obj_get_info_by_fd(fd, &info, &length) == 0 && strcmp(info.name, "mirrord_steal") == 0)
			found++;
		close(fd);
	}
	return found;
}

int redirect_open(int namespace_fd, int listener_fd, struct redirect **opened, std::string *message)
{
	struct redirect *redirect = new struct redirect();
	__u64 socket_fd = static_cast<__u64>(listener_fd);
	__u32 zero = 0;
	int error;

	/* Two would hand each other's connections round and round. Where nobody says, the name has to do (share/). */
	if (programs_like_ours(namespace_fd) > 0)
		return fail(redirect, -EBUSY, message);
	last_words.clear();
	libbpf_set_print(keep_words);
	redirect->object = bpf_object__open_mem(mirrord_redirect_object,
	                                        static_cast<size_t>(mirrord_redirect_object_end - mirrord_redirect_object), nullptr);
	if (redirect->object == nullptr)
		return fail(redirect, -errno, message);
	error = bpf_object__load(redirect->object);
	if (error < 0)
		return fail(redirect, error, message);
	redirect->ports = map_of(redirect->object, "stolen_ports");
	redirect->dials = map_of(redirect->object, "own_dials");
	/* The listener first: a program without one would let everything pass. */
	if (bpf_map_update_elem(map_of(redirect->object, "listener"), &zero, &socket_fd, BPF_ANY) < 0)
		return fail(redirect, -errno, message);
	redirect->link = bpf_program__attach_netns(bpf_object__find_program_by_name(redirect->object, "mirrord_steal"), namespace_fd);
	if (redirect->link == nullptr)
		return fail(redirect, -errno, message);
	*opened = redirect;
	return 0;
}

int redirect_port(struct redirect *redirect, uint16_t port, bool is_stolen)
{
	__u8 yes = 1;

	if (is_stolen)
		return bpf_map_update_elem(redirect->ports, &port, &yes, BPF_ANY) < 0 ? -errno : 0;
	return bpf_map_delete_elem(redirect->ports, &port) < 0 && errno != ENOENT ? -errno : 0;
}

int redirect_dial(struct redirect *redirect, const struct endpoint &source, bool is_own)
{
	struct mirrord_dial key = {};
	__u8 yes = 1;

	memcpy(key.address, source.address, sizeof key.address);
	key.port = source.port;
	if (is_own)
		return bpf_map_update_elem(redirect->dials, &key, &yes, BPF_ANY) < 0 ? -errno : 0;
	return bpf_map_delete_elem(redirect->dials, &key) < 0 && errno != ENOENT ? -errno : 0;
}

void redirect_close(struct redirect *redirect)
{
	/* The link first: from here on connections go to the target. */
	bpf_link__destroy(redirect->link);
	bpf_object__close(redirect->object);
	delete redirect;
}
