/* Tables of nodes, names, opened files and sources (fuse_node.h). */
#include "fuse_node.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "dir_page.h"

#define BUCKETS 4096u
/* Closed files whose pages the kernel may keep for the next open. */
#define CLOSED_NAMES_MAX 256u

pthread_mutex_t fuse_lock = PTHREAD_MUTEX_INITIALIZER;

static struct node *nodes[BUCKETS];
static struct name *names[BUCKETS];
static uint64_t last_number;
static size_t open_nodes;
/* Names whose files are closed, oldest first. */
static struct name *closed_first, *closed_last;
static unsigned closed_count;

static struct node **node_bucket(uint64_t dev, uint64_t ino)
{
	return &nodes[((dev * 31 + ino) * UINT64_C(0x9e3779b97f4a7c15) >> 32) % BUCKETS];
}

bool node_is_of(const struct node *node, const struct wire_stat *stat)
{
	return node->ino == stat->ino && node->dev == stat->dev &&
	       node->type == (stat->mode & S_IFMT) && node->btime_ns == stat->btime_ns;
}

static bool is_same_content(const struct wire_stat *a, const struct wire_stat *b)
{
	return a->size == b->size && a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns;
}

struct node *node_find(const struct wire_stat *stat)
{
	struct node *node = *node_bucket(stat->dev, stat->ino);

	while (node && !node_is_of(node, stat))
		node = node->next_by_key;
	return node;
}

struct node *node_take(const struct wire_stat *stat, bool *is_unchanged)
{
	struct node **bucket = node_bucket(stat->dev, stat->ino), *node = node_find(stat);

	*is_unchanged = node && is_same_content(&node->stat, stat);
	if (node) {
		node_update(node, stat);
		node->pins++;
		return node;
	}
	node = calloc(1, sizeof(*node));
	if (!node)
		return NULL;
	node->dev = stat->dev;
	node->ino = stat->ino;
	node->btime_ns = stat->btime_ns;
	node->type = stat->mode & S_IFMT;
	node->stat = *stat;
	node->pins = 1;
	node->next_by_key = *bucket;
	*bucket = node;
	return node;
}

void node_update(struct node *node, const struct wire_stat *stat)
{
	if (!is_same_content(&node->stat, stat))
		node->version++;
	node->stat = *stat;
}

struct node *node_open_as(const char *path, size_t len)
{
	for (size_t i = 0; open_nodes > 0 && i < BUCKETS; i++) {
		for (struct node *node = nodes[i]; node; node = node->next_by_key) {
			const struct name *name = node->opened ? node->names : NULL;

			while (name && (name->path_len != len || memcmp(name->path, path, len) != 0))
				name = name->next;
			if (name)
				return node;
		}
	}
	return NULL;
}

static void closed_add(struct name *name)
{
	name->is_closed = true;
	name->closed_next = NULL;
	name->closed_prev = closed_last;
	*(closed_last ? &closed_last->closed_next : &closed_first) = name;
	closed_last = name;
	closed_count++;
}

static void closed_remove(struct name *name)
{
	if (!name->is_closed)
		return;
	name->is_closed = false;
	*(name->closed_prev ? &name->closed_prev->closed_next : &closed_first) = name->closed_next;
	*(name->closed_next ? &name->closed_next->closed_prev : &closed_last) = name->closed_prev;
	closed_count--;
}

static void name_remove(struct name *name)
{
	struct name **at = &names[name->number % BUCKETS];

	closed_remove(name);
	while (*at != name)
		at = &(*at)->next_by_number;
	*at = name->next_by_number;
	for (at = &name->node->names; *at != name; at = &(*at)->next)
		;
	*at = name->next;
	free(name->path);
	free(name);
}

static void node_free_unused(struct node *node)
{
	struct node **at = node_bucket(node->dev, node->ino);

	if (node->lookups || node->pins || node->opened)
		return;
	while (node->names)
		name_remove(node->names);
	while (*at != node)
		at = &(*at)->next_by_key;
	*at = node->next_by_key;
	free(node);
}

void node_unpin(struct node *node)
{
	node->pins--;
	node_free_unused(node);
}

void node_forget(struct node *node, uint64_t lookups)
{
	node->lookups -= lookups < node->lookups ? lookups : node->lookups;
	node_free_unused(node);
}

struct name *name_add(struct node *node, const char *path, size_t len)
{
	struct name *name = calloc(1, sizeof(*name));
	struct name **bucket;

	if (!name)
		return NULL;
	name->path = calloc(1, len + 1);
	if (!name->path) {
		free(name);
		return NULL;
	}
	name->number = ++last_number;
	name->node = node;
	name->path_len = len;
	memcpy(name->path, path, len);
	name->next = node->names;
	node->names = name;
	bucket = &names[name->number % BUCKETS];
	name->next_by_number = *bucket;
	*bucket = name;
	return name;
}

struct name *name_find(uint64_t number)
{
	struct name *name = names[number % BUCKETS];

	while (name && name->number != number)
		name = name->next_by_number;
	return name;
}

void names_move(const struct move *move)
{
	for (size_t i = 0; i < BUCKETS; i++) {
		for (struct name *name = names[i]; name; name = name->next_by_number)
			moved_path_follow(move, &name->path, &name->path_len);
	}
}

void name_abandon(struct name *name)
{
	closed_add(name);
}

uint64_t name_take_stale(void)
{
	struct name *name = closed_first;
	uint64_t number;

	/* The newest name of a node keeps its pages; an older one keeps nothing. */
	if (!name || (closed_count <= CLOSED_NAMES_MAX && name->node->names == name))
		return 0;
	number = name->number;
	/* A re-opened file may show any name of its node, a closed directory may be somebody's working one: their names
	 * stay as long as the node, which the kernel forgets when nobody uses it. */
	if (name->node->reopened || S_ISDIR(name->node->type))
		closed_remove(name);
	else
		name_remove(name);
	return number;
}

struct opened *opened_add(struct node *node, struct name *name, struct source *source, int flags)
{
	struct opened *opened = calloc(1, sizeof(*opened));

	if (!opened)
		return NULL;
	opened->refs = 1;
	opened->flags = flags;
	opened->node = node;
	opened->name = name;
	opened->source = source;
	return opened;
}

void opened_link(struct opened *opened)
{
	closed_remove(opened->name);
	opened->name->opened++;
	opened->node->reopened += opened->is_reopened;
	open_nodes += !opened->node->opened;
	opened->next = opened->node->opened;
	opened->node->opened = opened;
}

void opened_unlink(struct opened *opened)
{
	struct opened **at = &opened->node->opened;

	while (*at != opened)
		at = &(*at)->next;
	*at = opened->next;
	open_nodes -= !opened->node->opened;
	opened->node->reopened -= opened->is_reopened;
	if (--opened->name->opened == 0)
		closed_add(opened->name);
	opened->name = NULL;
	node_free_unused(opened->node);
}

uint32_t opened_put(struct opened *opened)
{
	uint32_t handle;

	if (--opened->refs)
		return 0;
	handle = source_put(opened->source);
	dir_page_free(opened->page);
	free(opened);
	return handle;
}

static bool can_serve(const struct source *source, int flags)
{
	int have = source->flags & O_ACCMODE, want = flags & O_ACCMODE;

	if (have != O_RDWR && have != want)
		return false;
	return want == O_RDONLY || (source->flags & O_APPEND) == (flags & O_APPEND);
}

struct opened *opened_find(struct node *node, int flags)
{
	struct opened *opened = node->opened;

	while (opened && !can_serve(opened->source, flags))
		opened = opened->next;
	return opened;
}

struct opened *opened_best(struct node *node)
{
	struct opened *best = node->opened;

	for (struct opened *opened = best; opened; opened = opened->next) {
		if (!opened->source->handle)
			continue;
		if ((opened->source->flags & O_ACCMODE) != O_RDONLY)
			return opened;
		if (!best->source->handle)
			best = opened;
	}
	return best;
}

struct source *source_new(uint32_t handle, int flags)
{
	struct source *source = calloc(1, sizeof(*source));

	if (!source)
		return NULL;
	source->refs = 1;
	source->handle = handle;
	source->flags = flags;
	return source;
}

int source_set_content(struct source *source, const uint8_t *content, size_t len, uint64_t version)
{
	uint8_t *copy = malloc(len ? len : 1);

	if (!copy)
		return -1;
	if (len)
		memcpy(copy, content, len);
	free(source->content);
	source->content = copy;
	source->content_len = len;
	source->version = version;
	return 0;
}

uint32_t source_put(struct source *source)
{
	uint32_t handle = source->handle;

	if (--source->refs)
		return 0;
	free(source->content);
	free(source);
	return handle;
}
