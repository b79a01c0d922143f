/* Descriptors for what the client has opened (give.h). Runs on the link's thread. */
#include "give.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "copy.h"
#include "dir_name.h"
#include "fuse.h"
#include "fuse_server.h"
#include "link.h"
#include "listing.h"

/* A directory that was opened by way of "..", while its true name is found out. */
struct naming {
	struct pending *pending;
	struct fuse_file file;
	size_t len;
	char path[PLACE_PATH_MAX + 1]; /* without ".." */
};

static bool has_fuse;

void give_init(bool fuse)
{
	has_fuse = fuse;
}

bool give_can_write(void)
{
	return has_fuse;
}

static bool is_taken_over(const struct pending *p)
{
	return p->spec->op == CALL_CHDIR || p->spec->op == CALL_EXEC;
}

void give_descriptor(struct pending *p, int fd)
{
	p->answer.value = fd < 0 ? fd : 0;
	if (fd < 0)
		return;
	p->answer.how = is_taken_over(p) ? ANSWER_INJECT : ANSWER_DESCRIPTOR;
	p->answer.fd = fd;
	p->answer.is_cloexec = p->open_flags & O_CLOEXEC;
	place_descriptor_given();
}

static int open_mapped(const struct pending *p, struct wire_bytes path)
{
	char text[PATH_MAX];
	int fd;

	if (path.len == 0 || path.len >= sizeof(text))
		return -ENAMETOOLONG;
	memcpy(text, path.data, path.len);
	text[path.len] = '\0';
	fd = open(text, (int)p->open_flags | O_CLOEXEC | O_NOCTTY, (mode_t)p->args[5]);
	return fd < 0 ? -errno : fd;
}

void give_mapped(struct pending *p, struct wire_bytes path)
{
	give_descriptor(p, open_mapped(p, path));
}

static bool without_fuse(struct pending *p, const struct fuse_file *file)
{
	if (is_taken_over(p)) {
		link_log(1, "files: %s of a remote path needs FUSE on this machine; it got EACCES", p->spec->name);
		fuse_release_handle(file->handle);
		p->answer.value = -EACCES;
		return true;
	}
	if (file->handle && S_ISDIR(file->stat.mode))
		return listing_start(p, file);
	if (file->handle)
		return copy_start(p, file);
	give_descriptor(p, copy_of_content(p, file));
	return true;
}

static bool give(struct pending *p, struct fuse_file *file)
{
	file->path = p->path->text;
	file->path_len = p->path->len;
	if (!has_fuse)
		return without_fuse(p, file);
	give_descriptor(p, fuse_open(file));
	return true;
}

static void named(void *arg, int32_t result, const uint8_t *body, size_t len)
{
	struct naming *naming = arg;
	struct pending *p = naming->pending;
	struct wire_reader r = {body, body + len, 0};
	struct wire_stat stat;

	wire_get_stat(&r, &stat);
	if (result == 0 && !r.bad && stat.dev == naming->file.stat.dev && stat.ino == naming->file.stat.ino) {
		memcpy(p->path->text, naming->path, naming->len + 1);
		p->path->len = naming->len;
	}
	if (give(p, &naming->file))
		pending_finish(p);
	free(naming);
}

/* True: the target is being asked whether the path means the same without "..". */
static bool find_name(struct pending *p, const struct fuse_file *file)
{
	uint8_t body[PLACE_PATH_MAX + 16];
	struct wire_writer w = {body, body + sizeof(body), 0};
	struct naming *naming = malloc(sizeof(*naming));

	if (!naming)
		return false;
	naming->pending = p;
	naming->file = *file;
	memcpy(naming->path, p->path->text, p->path->len + 1);
	naming->len = dir_name_drop_parents(naming->path, p->path->len);
	wire_put_u32(&w, 0);
	wire_put_str(&w, naming->path, naming->len);
	(void)link_request(WIRE_STAT, body, (size_t)(w.at - body), NULL, 0, named, naming);
	return true;
}

bool give_opened(struct pending *p, struct wire_reader *r)
{
	uint8_t how = wire_get_u8(r);
	struct fuse_file file = {.flags = (int)p->open_flags & ~O_PATH};
	struct wire_bytes content;

	if (how == WIRE_OPENED_MAPPED) {
		give_mapped(p, wire_get_str(r));
		return true;
	}
	file.handle = how == WIRE_OPENED_HANDLE ? wire_get_u32(r) : 0;
	wire_get_stat(r, &file.stat);
	if (how == WIRE_OPENED_INLINE) {
		content = wire_get_blob(r);
		file.content = content.data;
		file.content_len = content.len;
	}
	if (r->bad || how > WIRE_OPENED_MAPPED) {
		p->answer.value = -EIO;
		return true;
	}
	if (S_ISDIR(file.stat.mode) || p->spec->op == CALL_EXEC)
		p->path->len = dir_name_clean(p->path->text, p->path->len);
	if (S_ISDIR(file.stat.mode) && how == WIRE_OPENED_HANDLE && dir_name_has_parents(p->path->text) &&
	    find_name(p, &file))
		return false;
	return give(p, &file);
}
