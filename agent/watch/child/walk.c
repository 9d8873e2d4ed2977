#include "agent/watch/child/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/watch/child/inotify_port.h"
#include "agent/watch/child/watch_limits.h"

#define OWN_DIRECTORY ".artifact-sync"
#define MASK                                                                              \
	(IN_CREATE | IN_DELETE | IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_MOVED_FROM | \
	 IN_MOVED_TO | IN_ONLYDIR | IN_DONT_FOLLOW | IN_EXCL_UNLINK | IN_MASK_ADD)
#define ROOT_MASK (MASK | IN_DELETE_SELF | IN_MOVE_SELF)

/* The directories that are yet to be entered, last in, first out. */
struct stack {
	struct directory **items;
	size_t n, cap;
};

static void push(struct stack *stack, struct directory *d)
{
	GROW(stack->items, stack->cap, stack->n + 1);
	stack->items[stack->n++] = d;
}

static int open_directory(const struct directory *d)
{
	char path[WATCH_PATH_MAX + 1];
	const char *sub;
	const struct directory *root = directory_path(d, NULL, path, &sub);
	if (!root)
		return -ENOENT;
	struct open_how how = {
		.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS |
			   RESOLVE_NO_XDEV,
	};
	for (int tries = 0;; tries++) {
		int fd = (int)syscall(SYS_openat2, root->root_fd, *sub ? sub : ".", &how,
				      sizeof(how));
		/* EAGAIN: something was renamed while the kernel resolved the path. */
		if (fd >= 0 || (errno != EINTR && errno != EAGAIN) || tries > 100)
			return fd >= 0 ? fd : -errno;
	}
}

/* Not there, or no longer ours to watch (a link, a file, a mount), as opposed to "cannot tell". */
static bool is_absence(int error)
{
	return error == -ENOENT || error == -ENOTDIR || error == -ELOOP || error == -EXDEV;
}

static int cannot_enter(struct walk *w, struct directory *d, int error)
{
	if (is_absence(error) && !directory_is_root(d))
		directory_retire(&w->dirs, d);
	else if (!d->wd)
		directory_set_bare(&w->dirs, d, true);
	return -1;
}

/* A directory that is a root and lies in another root as well is watched as a root. */
static struct directory *root_known_twice(struct walk *w, struct directory *d,
					  struct directory *known)
{
	if (!directory_is_root(d)) {
		directory_retire(&w->dirs, d);
		return NULL;
	}
	if (directory_is_root(known))
		return NULL;
	int wd = known->wd;
	directory_set_watch(&w->dirs, known, 0);
	directory_retire(&w->dirs, known);
	directory_set_watch(&w->dirs, d, wd);
	return d;
}

/* The kernel says that what is at d's place is what we know as `known`: so it was moved here. */
static struct directory *moved_here(struct walk *w, struct directory *d, struct directory *known)
{
	if (directory_is_root(d) || directory_is_root(known))
		return root_known_twice(w, d, known);
	if (directory_is_beneath(d, known)) {
		/* Beneath itself: it was moved again while we looked. */
		walk_need_full(w, "moved while being listed");
		directory_retire(&w->dirs, d);
		return NULL;
	}
	struct directory *parent = d->parent;
	AUTO_FREE char *name = x_strdup(d->name);
	directory_retire(&w->dirs, d);
	directory_move(&w->dirs, known, parent, name);
	return known;
}

/* @return the directory that is now at d's place, NULL when it is not to be listed */
static struct directory *watch(struct walk *w, struct directory *d, int fd)
{
	int wd = w->starved ? -ENOSPC : port_watch(fd, directory_is_root(d) ? ROOT_MASK : MASK);
	if (wd < 0) {
		w->starved = wd == -ENOSPC;
		w->limited = w->limited || w->starved;
		directory_set_bare(&w->dirs, d, true);
		return d;
	}
	struct directory *known = directory_by_wd(&w->dirs, wd);
	if (known && known != d)
		return moved_here(w, d, known);
	if (!known)
		directory_set_watch(&w->dirs, d, wd);
	return d;
}

/**
 * Opens what is at a directory's place and makes sure that it is watched.
 * @param at     the directory; receives another one when another one was found in its place
 * @param fresh  true: it was not watched here before, so its content is news
 * @return a descriptor for listing it, or -1: nothing to list
 */
static int enter(struct walk *w, struct directory **at, bool *fresh)
{
	struct directory *d = *at;
	struct stat st;
	*fresh = false;
	if (!directory_root(d))
		return -1;
	AUTO_CLOSE int fd = open_directory(d);
	if (fd < 0)
		return cannot_enter(w, d, fd);
	if (fstat(fd, &st) < 0)
		return cannot_enter(w, d, -errno);
	bool same = d->dev == st.st_dev && d->ino == st.st_ino;
	if (d->wd && same)
		return STEAL_FD(fd);
	if (d->wd && !directory_is_root(d)) {
		/* Another one took its place; itself it may turn up elsewhere. */
		struct directory *parent = d->parent;
		AUTO_FREE char *name = x_strdup(d->name);
		directory_retire(&w->dirs, d);
		d = directory_new(&w->dirs, parent, name);
	}
	bool known_bare = d->bare && same;
	d->dev = st.st_dev;
	d->ino = st.st_ino;
	d = watch(w, d, fd);
	if (!d)
		return -1;
	d->dev = st.st_dev;
	d->ino = st.st_ino;
	*at = d;
	*fresh = d->wd || !known_bare;
	return STEAL_FD(fd);
}

static bool may_be_directory(int dirfd, const struct dirent *entry)
{
	struct stat st;
	const char *name = entry->d_name;
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, OWN_DIRECTORY) == 0)
		return false;
	if (entry->d_type != DT_UNKNOWN)
		return entry->d_type == DT_DIR;
	return fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

static void note_child(struct walk *w, struct directory *d, const char *name, struct stack *stack)
{
	char path[WATCH_PATH_MAX + 1];
	struct directory *child = directory_child(d, name);
	if (!child) {
		/* Longer paths are not replicated. */
		if (!directory_path(d, name, path, NULL))
			return;
		child = directory_new(&w->dirs, d, name);
	}
	child->seen = w->listings;
	push(stack, child);
}

/* Pushes the directories in d, and retires those it no longer has. Takes fd. */
static void list(struct walk *w, struct directory *d, int fd, struct stack *stack)
{
	struct directory *child, *next;
	struct dirent *entry;
	DIR *dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return;
	}
	w->listings++;
	d->relist = false;
	while (errno = 0, (entry = readdir(dir))) {
		if (may_be_directory(dirfd(dir), entry))
			note_child(w, d, entry->d_name, stack);
	}
	bool whole = errno == 0;
	closedir(dir);
	HASH_ITER (by_name, d->children, child, next) {
		if (whole && child->seen != w->listings)
			directory_retire(&w->dirs, child);
	}
}

static bool go_on(struct walk *w)
{
	if (!w->stopped && ++w->breaths % WALK_BREATH == 0)
		w->stopped = !w->breathe(w->owner);
	return !w->stopped;
}

static void list_all_beneath(struct walk *w, struct directory *top, int fd)
{
	struct stack stack = {0};
	bool fresh;
	list(w, top, fd, &stack);
	while (stack.n > 0 && go_on(w)) {
		struct directory *d = stack.items[--stack.n];
		fd = enter(w, &d, &fresh);
		if (fd >= 0)
			list(w, d, fd, &stack);
	}
	free(stack.items);
}

static void report(struct walk *w, const struct directory *d, const char *why)
{
	char path[WATCH_PATH_MAX + 1];
	const struct directory *root = directory_path(d, NULL, path, NULL);
	if (root)
		outbox_subtree(w->outbox, root->root, path, why);
}

/* Enters a place, and lists all beneath it if what is there is new there. */
static void visit(struct walk *w, struct directory *d)
{
	bool fresh;
	int fd = enter(w, &d, &fresh);
	if (fd < 0)
		return;
	if (!fresh && !d->relist) {
		close(fd);
		return;
	}
	list_all_beneath(w, d, fd);
	report(w, d, "directory appeared");
}

static void visit_name(struct walk *w, struct directory *parent, const char *name)
{
	char path[WATCH_PATH_MAX + 1];
	struct directory *child = directory_child(parent, name);
	if (!child && !directory_path(parent, name, path, NULL))
		return;
	visit(w, child ? child : directory_new(&w->dirs, parent, name));
}

static void walk_everything(struct walk *w, uint64_t now_ms)
{
	const char *why = w->full;
	bool fresh;
	w->full = NULL;
	for (size_t i = 0; i < w->n_roots && !w->stopped; i++) {
		int fd = enter(w, &w->roots[i], &fresh);
		if (fd >= 0)
			list_all_beneath(w, w->roots[i], fd);
		else if (!w->roots[i]->wd)
			outbox_suspect(w->outbox, w->roots[i]->root);
	}
	if (!w->stopped)
		outbox_subtree(w->outbox, 0, "", why);
	w->full_not_before_ms = now_ms + WALK_FULL_PAUSE_MS;
}

static void look(struct walk *w, struct directory *d)
{
	struct due_name *names = d->due, *due, *next;
	d->due = NULL;
	w->dirs.n_due -= HASH_COUNT(names);
	if (d->relist && directory_root(d))
		visit(w, d);
	HASH_ITER (hh, names, due, next) {
		/* One that went adrift is listed as a whole where it turns up. */
		if (directory_root(d) && go_on(w))
			visit_name(w, d, due->name);
		HASH_DEL(names, due);
		free(due);
	}
}

/* Those that found no watch, in turn, until the limit is met again. */
static void retry(struct walk *w, uint64_t now_ms)
{
	w->dirs.freed = false;
	w->retry_ms = now_ms + WALK_RETRY_MS;
	for (size_t n = w->dirs.n_bare; n > 0 && w->dirs.bare && !w->starved && go_on(w); n--) {
		struct directory *d = w->dirs.bare;
		directory_set_bare(&w->dirs, d, false);
		directory_set_bare(&w->dirs, d, true); /* at the end of the line */
		visit(w, d);
	}
}

static void plan_retry(struct walk *w, uint64_t now_ms)
{
	uint64_t due = now_ms + (w->dirs.freed ? WALK_RETRY_FREED_MS : WALK_RETRY_MS);
	w->limited = w->limited && w->dirs.n_bare > 0;
	if (w->dirs.n_bare == 0)
		w->retry_ms = 0;
	else if (w->retry_ms == 0 || w->retry_ms > due)
		w->retry_ms = due;
}

void walk_need_full(struct walk *w, const char *why)
{
	if (!w->full)
		w->full = why;
}

void walk_work(struct walk *w, bool at_once, uint64_t now_ms)
{
	w->starved = false;
	if (w->dirs.too_many_due)
		walk_need_full(w, "too many new directories");
	w->dirs.too_many_due = false;
	if (w->full && (at_once || now_ms >= w->full_not_before_ms))
		walk_everything(w, now_ms);
	/* Only as many as there are now: new ones must not keep a fence from its answer. */
	for (size_t n = w->dirs.n_queued; n > 0 && w->dirs.queue && go_on(w); n--)
		look(w, directories_take(&w->dirs));
	if (w->retry_ms && now_ms >= w->retry_ms)
		retry(w, now_ms);
	directories_sweep(&w->dirs);
	plan_retry(w, now_ms);
}

void walk_check_roots(struct walk *w)
{
	struct stat st;
	for (size_t i = 0; i < w->n_roots; i++) {
		struct directory *root = w->roots[i];
		if (root->gone || (fstat(root->root_fd, &st) == 0 && st.st_nlink > 0))
			continue;
		root->gone = true;
		outbox_suspect(w->outbox, root->root);
	}
}

uint64_t walk_next_due(const struct walk *w)
{
	uint64_t due = w->retry_ms ? w->retry_ms : UINT64_MAX;
	if (w->dirs.queue || w->dirs.too_many_due)
		return 0;
	if (w->full && w->full_not_before_ms < due)
		due = w->full_not_before_ms;
	return due;
}

bool walk_is_complete(const struct walk *w)
{
	return !w->full && !w->dirs.too_many_due && w->dirs.n_watched == w->dirs.n;
}

void walk_limit(const struct walk *w, char out[WATCH_TEXT_MAX + 1])
{
	out[0] = '\0';
	if (w->limited)
		limits_of_watches(out, w->dirs.n_bare, w->dirs.n);
	else if (w->dirs.n_bare > 0)
		snprintf(out, WATCH_TEXT_MAX + 1,
			 "%zu of %zu directories cannot be read and are not watched: mend their "
			 "modes",
			 w->dirs.n_bare, w->dirs.n);
}
