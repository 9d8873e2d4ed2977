#include "agent/watch/child/directories.h"

#include <string.h>

#include <utlist.h>

#include "agent/base/alloc.h"
#include "agent/watch/child/inotify_port.h"

static void hang(struct directory *d, struct directory *parent)
{
	d->parent = parent;
	HASH_ADD_KEYPTR(by_name, parent->children, d->name, strlen(d->name), d);
}

static void unhang(struct directory *d)
{
	if (d->parent)
		HASH_DELETE(by_name, d->parent->children, d);
	d->parent = NULL;
}

static struct directory *make(struct directories *all, const char *name)
{
	struct directory *d = x_calloc(1, sizeof(*d));
	d->name = x_strdup(name);
	d->root_fd = -1;
	all->n++;
	return d;
}

struct directory *directory_new_root(struct directories *all, int fd, uint8_t root, const char *at)
{
	struct directory *d = make(all, "");
	d->root_fd = fd;
	d->root = root;
	d->at = at;
	return d;
}

struct directory *directory_new(struct directories *all, struct directory *parent, const char *name)
{
	struct directory *d = make(all, name);
	hang(d, parent);
	return d;
}

static void unqueue(struct directories *all, struct directory *d)
{
	if (!d->queued)
		return;
	DL_DELETE2(all->queue, d, queue_prev, queue_next);
	d->queued = false;
	all->n_queued--;
}

static void free_one(struct directories *all, struct directory *d)
{
	unqueue(all, d);
	directory_forget_due(all, d);
	directory_set_bare(all, d, false);
	if (d->adrift)
		DL_DELETE2(all->adrift, d, adrift_prev, adrift_next);
	if (d->wd) {
		port_unwatch(d->wd);
		directory_set_watch(all, d, 0);
	}
	unhang(d);
	all->n--;
	free(d->name);
	free(d);
}

void directory_free(struct directories *all, struct directory *d)
{
	/* Downwards to a leaf, free it, go on from its parent: depth costs no stack. */
	struct directory *at = d;
	for (;;) {
		while (at->children)
			at = at->children;
		struct directory *up = at == d ? NULL : at->parent;
		free_one(all, at);
		if (!up)
			return;
		at = up;
	}
}

struct directory *directory_child(const struct directory *d, const char *name)
{
	struct directory *child;
	HASH_FIND(by_name, d->children, name, strlen(name), child);
	return child;
}

struct directory *directory_by_wd(const struct directories *all, int wd)
{
	struct directory *d;
	HASH_FIND(by_wd, all->by_wd, &wd, sizeof(wd), d);
	return d;
}

bool directory_is_root(const struct directory *d)
{
	return d->at != NULL;
}

bool directory_is_beneath(const struct directory *d, const struct directory *above)
{
	while (d && d != above)
		d = d->parent;
	return d == above;
}

struct directory *directory_root(const struct directory *d)
{
	while (d->parent)
		d = d->parent;
	return directory_is_root(d) ? (struct directory *)d : NULL;
}

/* Puts "part" and, unless it is the last, "/" before what is at *begin. */
static bool prepend(char *out, size_t *begin, const char *part)
{
	size_t len = strlen(part);
	bool last = *begin == WATCH_PATH_MAX;
	if (len + !last > *begin)
		return false;
	if (!last)
		out[--*begin] = '/';
	*begin -= len;
	memcpy(out + *begin, part, len);
	return true;
}

struct directory *directory_path(const struct directory *d, const char *name, char *out,
				 const char **sub)
{
	size_t begin = WATCH_PATH_MAX;
	out[begin] = '\0';
	if (name && !prepend(out, &begin, name))
		return NULL;
	for (; d->parent; d = d->parent) {
		if (!prepend(out, &begin, d->name))
			return NULL;
	}
	size_t sub_len = WATCH_PATH_MAX - begin;
	if (!directory_is_root(d) || (d->at[0] && !prepend(out, &begin, d->at)))
		return NULL;
	memmove(out, out + begin, WATCH_PATH_MAX - begin + 1);
	if (sub)
		*sub = out + (WATCH_PATH_MAX - begin - sub_len);
	return (struct directory *)d;
}

void directory_set_watch(struct directories *all, struct directory *d, int wd)
{
	if (d->wd) {
		HASH_DELETE(by_wd, all->by_wd, d);
		all->n_watched--;
		all->freed = true;
	}
	d->wd = wd;
	if (wd) {
		HASH_ADD(by_wd, all->by_wd, wd, sizeof(d->wd), d);
		all->n_watched++;
		d->ended = false;
		directory_set_bare(all, d, false);
	}
}

void directory_set_bare(struct directories *all, struct directory *d, bool bare)
{
	if (bare && !d->bare) {
		DL_APPEND2(all->bare, d, bare_prev, bare_next);
		all->n_bare++;
	} else if (!bare && d->bare) {
		DL_DELETE2(all->bare, d, bare_prev, bare_next);
		all->n_bare--;
	}
	d->bare = bare;
}

void directory_retire(struct directories *all, struct directory *d)
{
	BUG_ON(directory_is_root(d));
	unhang(d);
	if (!d->adrift)
		DL_APPEND2(all->adrift, d, adrift_prev, adrift_next);
	d->adrift = true;
}

void directory_move(struct directories *all, struct directory *d, struct directory *parent,
		    const char *name)
{
	char *copy = x_strdup(name);
	unhang(d);
	if (d->adrift)
		DL_DELETE2(all->adrift, d, adrift_prev, adrift_next);
	d->adrift = false;
	free(d->name);
	d->name = copy;
	hang(d, parent);
}

void directories_sweep(struct directories *all)
{
	while (all->adrift)
		directory_free(all, all->adrift);
}

static void enqueue(struct directories *all, struct directory *d)
{
	if (d->queued)
		return;
	DL_APPEND2(all->queue, d, queue_prev, queue_next);
	d->queued = true;
	all->n_queued++;
}

void directory_forget_due(struct directories *all, struct directory *d)
{
	struct due_name *due, *next;
	HASH_ITER (hh, d->due, due, next) {
		HASH_DEL(d->due, due);
		free(due);
		all->n_due--;
	}
}

static void forget_all_due(struct directories *all)
{
	while (all->queue) {
		directory_forget_due(all, all->queue);
		unqueue(all, all->queue);
	}
	all->too_many_due = true;
}

void directory_look_at(struct directories *all, struct directory *d, const char *name)
{
	struct due_name *due;
	if (d->queued && d->relist)
		return;
	HASH_FIND_STR(d->due, name, due);
	if (due)
		return;
	size_t len = strlen(name);
	due = x_calloc(1, sizeof(*due) + len + 1);
	memcpy(due->name, name, len);
	HASH_ADD_KEYPTR(hh, d->due, due->name, len, due);
	all->n_due++;
	enqueue(all, d);
	if (HASH_COUNT(d->due) > DUE_NAMES_OF_ONE)
		directory_look_through(all, d);
	else if (all->n_due > DUE_NAMES_OF_ALL)
		forget_all_due(all);
}

void directory_look_through(struct directories *all, struct directory *d)
{
	directory_forget_due(all, d);
	d->relist = true;
	enqueue(all, d);
}

struct directory *directories_take(struct directories *all)
{
	struct directory *d = all->queue;
	if (d)
		unqueue(all, d);
	return d;
}
