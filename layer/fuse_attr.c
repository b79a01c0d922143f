/*
 * Attributes: what the target's kernel said, in the terms of ours. The device number of a file
 * cannot be chosen, so inodes of different devices of the target are told apart by high bits of the
 * inode number (fuse_present, fuse.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "fuse_server.h"

#define DEVICES_MAX 31u
/* JavaScript's numbers are exact to 2^53: five bits of device above 48 bits of inode. */
#define DEVICE_SHIFT 48

static uint64_t devices[DEVICES_MAX];
static unsigned device_count;
static bool has_own_ids_only;

void fuse_set_way(enum fuse_way way)
{
	has_own_ids_only = way == FUSE_USER_NAMESPACE;
}

uint64_t fuse_present_inode(uint64_t dev, uint64_t ino)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	unsigned i;

	/* No file of the target's: it must not become the first device. */
	if (dev == 0)
		return ino;
	pthread_mutex_lock(&lock);
	for (i = 0; i < device_count && devices[i] != dev; i++)
		;
	if (i == device_count && i < DEVICES_MAX)
		devices[device_count++] = dev;
	pthread_mutex_unlock(&lock);
	return ino ^ (uint64_t)i << DEVICE_SHIFT;
}

/* A namespace with one id cannot show others, and the kernel refuses writes to files whose owner it
 * cannot show. */
static uint32_t shown(uint32_t id, uint32_t own)
{
	return has_own_ids_only ? own : id;
}

void attr_fill(struct fuse_attr *attr, const struct wire_stat *stat)
{
	uint32_t type = stat->mode & S_IFMT;

	memset(attr, 0, sizeof(*attr));
	attr->ino = fuse_present_inode(stat->dev, stat->ino);
	attr->size = stat->size;
	attr->blocks = stat->blocks;
	attr->atime = (uint64_t)(stat->atime_ns / 1000000000);
	attr->mtime = (uint64_t)(stat->mtime_ns / 1000000000);
	attr->ctime = (uint64_t)(stat->ctime_ns / 1000000000);
	attr->atimensec = (uint32_t)(stat->atime_ns % 1000000000);
	attr->mtimensec = (uint32_t)(stat->mtime_ns % 1000000000);
	attr->ctimensec = (uint32_t)(stat->ctime_ns % 1000000000);
	/* The kernel would open a device or pipe of this machine. */
	if (type != S_IFREG && type != S_IFDIR)
		type = S_IFREG;
	attr->mode = type | (stat->mode & ~(uint32_t)S_IFMT);
	attr->nlink = stat->nlink;
	attr->uid = shown(stat->uid, geteuid());
	attr->gid = shown(stat->gid, getegid());
	attr->rdev = 0;
	attr->blksize = stat->blksize;
}

void attr_root(struct fuse_attr *attr)
{
	memset(attr, 0, sizeof(*attr));
	attr->ino = FUSE_ROOT_ID;
	attr->mode = S_IFDIR | 0555;
	attr->nlink = 2;
	attr->uid = geteuid();
	attr->gid = getegid();
	attr->blksize = 4096;
}

static void answer_attr(struct call *call, const struct wire_stat *stat)
{
	struct fuse_attr_out out = {.attr_valid = FUSE_ATTR_SECONDS};

	attr_fill(&out.attr, stat);
	call_answer(call, 0, &out, sizeof(out));
}

/* Any wire request that answers with a stat of the call's file. */
static void stat_done(void *arg, int32_t result, const uint8_t *body, size_t len)
{
	struct call *call = arg;
	struct wire_reader r = {body, body + len, 0};
	struct wire_stat stat;
	struct node *node = call->node;

	if (result >= 0) {
		wire_get_stat(&r, &stat);
		if (r.bad)
			result = -EIO;
	}
	if (result >= 0) {
		pthread_mutex_lock(&fuse_lock);
		node_update(node, &stat);
		pthread_mutex_unlock(&fuse_lock);
		answer_attr(call, &stat);
	} else {
		call_answer(call, result, NULL, 0);
	}
	call_put(call);
}

/* A file without a handle is a snapshot; its path tells whether the target's has grown since. */
static void snapshot_stat_done(void *arg, int32_t result, const uint8_t *body, size_t len)
{
	struct call *call = arg;
	struct wire_reader r = {body, body + len, 0};
	struct wire_stat stat;

	if (result >= 0)
		wire_get_stat(&r, &stat);
	pthread_mutex_lock(&fuse_lock);
	if (result >= 0 && !r.bad && stat.dev == call->node->dev && stat.ino == call->node->ino)
		node_update(call->node, &stat);
	stat = call->node->stat;
	pthread_mutex_unlock(&fuse_lock);
	answer_attr(call, &stat);
	call_put(call);
}

static struct opened *opened_of(struct node *node, bool has_fh, uint64_t fh)
{
	struct opened *opened = has_fh ? fh_opened(fh) : NULL;

	return opened && opened->source->handle ? opened : opened_best(node);
}

/* Where a request about the file goes: to its handle if there is one, else to its path. */
struct route {
	uint32_t handle;
	uint16_t path_len;
	char path[4096];
};

static void route_to(struct route *route, const struct opened *opened)
{
	*route = (struct route){.handle = opened->source->handle};
	if (route->handle || opened->name->path_len > sizeof(route->path))
		return;
	route->path_len = (uint16_t)opened->name->path_len;
	memcpy(route->path, opened->name->path, route->path_len);
}

/* A call about the request's file, and where it goes; NULL when it has been answered. */
static struct call *call_about(const struct request *request, bool has_fh, uint64_t fh,
			       struct route *route)
{
	struct node *node = request_node(request);
	struct opened *opened;
	struct call *call;
	struct wire_stat stat;

	pthread_mutex_lock(&fuse_lock);
	opened = opened_of(node, has_fh, fh);
	call = call_new(request, node, opened);
	if (call && opened)
		route_to(route, opened);
	stat = node->stat;
	pthread_mutex_unlock(&fuse_lock);
	if (call && !opened) {
		answer_attr(call, &stat);
		call_put(call);
		return NULL;
	}
	return call;
}

void op_getattr(const struct request *request)
{
	const struct fuse_getattr_in *in = request->arg;
	uint8_t body[sizeof(struct route)];
	struct wire_writer w = {body, body + sizeof(body), 0};
	struct route route;
	struct call *call;

	if (request->head->nodeid == FUSE_ROOT_ID) {
		struct fuse_attr_out out = {.attr_valid = FUSE_ENTRY_SECONDS};

		attr_root(&out.attr);
		fuse_answer(request->head->unique, 0, &out, sizeof(out));
		return;
	}
	call = call_about(request, in->getattr_flags & FUSE_GETATTR_FH, in->fh, &route);
	if (!call)
		return;
	wire_put_u32(&w, route.handle);
	if (route.handle) {
		call_send(call, WIRE_FSTAT, body, (size_t)(w.at - body), NULL, 0, stat_done);
	} else {
		wire_put_str(&w, route.path, route.path_len);
		call_send(call, WIRE_STAT, body, (size_t)(w.at - body), NULL, 0,
			  snapshot_stat_done);
	}
	call_put(call);
}

static void setattr_of(struct wire_setattr *set, const struct fuse_setattr_in *in)
{
	static const struct {
		uint32_t from, to;
	} bits[] = {
	    {FATTR_MODE, WIRE_SET_MODE},
	    {FATTR_UID, WIRE_SET_UID},
	    {FATTR_GID, WIRE_SET_GID},
	    {FATTR_SIZE, WIRE_SET_SIZE},
	    {FATTR_ATIME, WIRE_SET_ATIME},
	    {FATTR_MTIME, WIRE_SET_MTIME},
	    {FATTR_ATIME_NOW, WIRE_SET_ATIME_NOW},
	    {FATTR_MTIME_NOW, WIRE_SET_MTIME_NOW},
	};

	*set = (struct wire_setattr){
	    .size = in->size,
	    .atime_ns = (int64_t)in->atime * 1000000000 + in->atimensec,
	    .mtime_ns = (int64_t)in->mtime * 1000000000 + in->mtimensec,
	    .mode = in->mode & 07777,
	    .uid = in->uid,
	    .gid = in->gid,
	};
	for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
		if (in->valid & bits[i].from)
			set->valid |= bits[i].to;
	}
	/* The kernel sets both bits for "now". */
	if (set->valid & WIRE_SET_ATIME_NOW)
		set->valid &= ~(uint32_t)WIRE_SET_ATIME;
	if (set->valid & WIRE_SET_MTIME_NOW)
		set->valid &= ~(uint32_t)WIRE_SET_MTIME;
}

void op_setattr(const struct request *request)
{
	const struct fuse_setattr_in *in = request->arg;
	uint8_t body[sizeof(struct route) + WIRE_SETATTR_BYTES];
	struct wire_writer w = {body, body + sizeof(body), 0};
	struct wire_setattr set;
	struct route route;
	struct call *call;

	if (request->head->nodeid == FUSE_ROOT_ID) {
		fuse_answer(request->head->unique, -EPERM, NULL, 0);
		return;
	}
	call = call_about(request, in->valid & FATTR_FH, in->fh, &route);
	if (!call)
		return;
	setattr_of(&set, in);
	/* With a handle, u32 handle; with a path, u32 flags: the same place. */
	wire_put_u32(&w, route.handle);
	wire_put_setattr(&w, &set);
	if (!route.handle)
		wire_put_str(&w, route.path, route.path_len);
	call_send(call, route.handle ? WIRE_FSETATTR : WIRE_SETATTR, body, (size_t)(w.at - body),
		  NULL, 0, stat_done);
	call_put(call);
}

static void statfs_done(void *arg, int32_t result, const uint8_t *body, size_t len)
{
	struct call *call = arg;
	struct wire_reader r = {body, body + len, 0};
	struct fuse_statfs_out out = {0};
	struct wire_statfs statfs;

	if (result >= 0)
		wire_get_statfs(&r, &statfs);
	if (result < 0 || r.bad) {
		call_answer(call, result < 0 ? result : -EIO, NULL, 0);
		call_put(call);
		return;
	}
	out.st = (struct fuse_kstatfs){
	    .blocks = statfs.blocks,
	    .bfree = statfs.bfree,
	    .bavail = statfs.bavail,
	    .files = statfs.files,
	    .ffree = statfs.ffree,
	    .bsize = (uint32_t)statfs.bsize,
	    .namelen = statfs.namelen,
	    .frsize = (uint32_t)statfs.frsize,
	};
	call_answer(call, 0, &out, sizeof(out));
	call_put(call);
}

void op_statfs(const struct request *request)
{
	uint8_t body[sizeof(struct route)];
	struct wire_writer w = {body, body + sizeof(body), 0};
	struct fuse_statfs_out nothing = {.st = {.bsize = 4096, .frsize = 4096, .namelen = 255}};
	struct route route;
	struct node *node = request_node(request);
	struct opened *opened = NULL;
	struct call *call = NULL;

	if (request->head->nodeid != FUSE_ROOT_ID) {
		pthread_mutex_lock(&fuse_lock);
		opened = opened_best(node);
		if (opened) {
			route_to(&route, opened);
			call = call_new(request, node, opened);
		}
		pthread_mutex_unlock(&fuse_lock);
	}
	if (!opened)
		fuse_answer(request->head->unique, 0, &nothing, sizeof(nothing));
	if (!call)
		return;
	if (route.handle)
		wire_put_u32(&w, route.handle);
	else
		wire_put_str(&w, route.path, route.path_len);
	call_send(call, route.handle ? WIRE_FSTATFS : WIRE_STATFS, body, (size_t)(w.at - body),
		  NULL, 0, statfs_done);
	call_put(call);
}
