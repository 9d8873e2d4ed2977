/* What one event of the kernel means. It changes no directory's place: an event is older than what
 * a look at the tree shows, so it only says where to look (walk.c) and what to report. */
#include <string.h>

#include "agent/watch/child/inotify_port.h"
#include "agent/watch/child/walk.h"

#define OWN_DIRECTORY ".artifact-sync"
#define ADDS_OR_REMOVES (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO)

static void report_changed(struct walk *w, const struct directory *d, const char *name,
			   uint8_t hint)
{
	char path[WATCH_PATH_MAX + 1];
	const struct directory *root = directory_path(d, name, path, NULL);
	/* Adrift: reported as a subtree where it turns up. Too long: not replicated. */
	if (root)
		outbox_changed(w->outbox, root->root, path, hint);
}

static void report_subtree(struct walk *w, const struct directory *d, const char *name,
			   const char *why)
{
	char path[WATCH_PATH_MAX + 1];
	const struct directory *root = directory_path(d, name, path, NULL);
	if (root)
		outbox_subtree(w->outbox, root->root, path, why);
}

static void on_subdirectory(struct walk *w, struct directory *d, const struct inotify_event *e)
{
	const struct directory *child = directory_child(d, e->name);
	bool watched = child && (child->wd || child->ended);
	/* The content of a watched directory was reported name by name as it was deleted; what was
	 * moved away keeps its names elsewhere, and here all of them are gone at once. */
	if ((e->mask & IN_MOVED_FROM) || ((e->mask & IN_DELETE) && !watched))
		report_subtree(w, d, e->name, "directory went away");
	else
		report_changed(w, d, e->name, WATCH_SETTLED);
	if ((e->mask & ADDS_OR_REMOVES) || !child || !child->wd)
		directory_look_at(&w->dirs, d, e->name);
}

static void on_name(struct walk *w, struct directory *d, const struct inotify_event *e)
{
	if (strcmp(e->name, OWN_DIRECTORY) == 0)
		return;
	if (e->mask & IN_ISDIR)
		on_subdirectory(w, d, e);
	else
		report_changed(w, d, e->name, e->mask & IN_MODIFY ? WATCH_OPEN : WATCH_SETTLED);
	if (e->mask & ADDS_OR_REMOVES)
		report_changed(w, d, NULL, WATCH_SETTLED); /* its own mtime */
}

/* The kernel ended the watch: the directory was deleted, or its file system unmounted. */
static void on_ignored(struct walk *w, struct directory *d, int wd)
{
	port_unwatch(wd);
	if (!d)
		return;
	directory_set_watch(&w->dirs, d, 0);
	d->ended = true;
	if (directory_is_root(d)) {
		directory_set_bare(&w->dirs, d, true);
		outbox_suspect(w->outbox, d->root);
	} else if (d->parent) {
		/* Perhaps a new one stands in its place already. */
		directory_look_at(&w->dirs, d->parent, d->name);
	}
}

void walk_event(struct walk *w, const struct inotify_event *e)
{
	if (e->mask & IN_Q_OVERFLOW) {
		w->overflows++;
		walk_need_full(w, "overflow");
		return;
	}
	struct directory *d = directory_by_wd(&w->dirs, e->wd);
	if (e->mask & IN_IGNORED) {
		on_ignored(w, d, e->wd);
		return;
	}
	if (!d)
		return; /* late, of a watch that we ended */
	if ((e->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT)) && directory_is_root(d))
		outbox_suspect(w->outbox, d->root);
	else if (e->len > 0)
		on_name(w, d, e);
	else if (e->mask & IN_ATTRIB)
		report_changed(w, d, NULL, WATCH_SETTLED);
}
