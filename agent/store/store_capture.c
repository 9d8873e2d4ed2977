/* The active's side of the index: what was captured becomes records with a seq. */
#include "agent/store/store_private.h"

#include <errno.h>
#include <string.h>

#include "agent/base/quote.h"
#include "protocol/relpath.h"

struct capturing {
	struct txn txn;
	bool foreign;
	unsigned grave_flags; /* of what is buried now */
	size_t changed;
	/* The last directory that was asked about: neighbours share it. */
	char *parent; /* heap, NULL: none */
	bool parent_indexed;
};

static struct capturing *capturing_of(struct txn *t)
{
	return container_of(t, struct capturing, txn);
}

/* ---- things that go ---------------------------------------------------------------------------
 */

/* A path that left the profile is nobody's business any longer: what peers have there, too, is
 * forgotten. */
static int drop_one(struct txn *t, const char *path, struct err *err)
{
	int r = txn_forget_path(t, path, err);
	for (size_t i = 0; r == 0 && i < t->store->n_peers; i++) {
		AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_UNACK, err);
		if (!s)
			return err_wrap(err, "drop a path");
		bind_int(s, 1, t->store->peers[i]->id);
		bind_path(s, 2, path);
		r = statement_run(s, err);
	}
	return r;
}

static int bury_one(struct txn *t, const char *path, struct err *err)
{
	struct capturing *c = capturing_of(t);
	sqlite3_stmt *s;
	struct index_entry old;
	int r = txn_get(&s, &old, t, path, err);
	if (r > 0 && old.rec.kind != RECORD_ABSENT) {
		r = txn_bury(t, &old, path, t->epoch, ++t->state.last_seq, c->grave_flags, err);
		c->changed++;
	}
	sqlite3_stmt_free(s);
	return r < 0 ? r : 0;
}

static void forget_parent(struct capturing *c)
{
	free(c->parent);
	c->parent = NULL;
}

/* On a passive nothing is decided about what the active has: what vanished only leaves the index,
 * and the digest shows it. */
static int gone(struct capturing *c, const char *path, bool itself, struct err *err)
{
	int (*act)(struct txn *, const char *, struct err *) =
		c->foreign ? txn_forget_path : bury_one;
	forget_parent(c);
	int r = txn_each_beneath(&c->txn, path, false, act, err);
	return r == 0 && itself ? act(&c->txn, path, err) : r;
}

/* A peer has it and this node never had: the deletion gets a record all the same, and travels like
 * any. */
static int tombstone(struct capturing *c, const char *path, struct err *err)
{
	sqlite3_stmt *s;
	struct index_entry old;
	int r = txn_get(&s, &old, &c->txn, path, err);
	sqlite3_stmt_free(s);
	if (r != 0)
		return r < 0 ? r : 0;
	c->changed++;
	return txn_bury(&c->txn, NULL, path, c->txn.epoch, ++c->txn.state.last_seq, 0, err);
}

static int dropped(struct capturing *c, const char *path, struct err *err)
{
	forget_parent(c);
	int r = txn_each_beneath(&c->txn, path, true, drop_one, err);
	return r < 0 ? r : drop_one(&c->txn, path, err);
}

/* ---- things that come -------------------------------------------------------------------------
 */

static int put_version(struct capturing *c, const struct index_entry *old,
		       const struct index_entry *entry, struct err *err)
{
	struct index_entry now = *entry;
	now.flags &= ~(unsigned)(ENTRY_FOREIGN | ENTRY_KEPT);
	if (c->foreign) {
		now.flags |= ENTRY_FOREIGN;
		now.rec.epoch = now.rec.seq = 0;
	} else {
		now.rec.epoch = c->txn.epoch;
		now.rec.seq = ++c->txn.state.last_seq;
	}
	c->changed++;
	return txn_put(&c->txn, old, &now, err);
}

/* Equal to what is indexed, and that was given a seq or needs none. */
static bool is_known(const struct capturing *c, const struct index_entry *old,
		     const struct index_entry *entry)
{
	return (c->foreign || old->rec.seq != 0) && old->rec.kind != RECORD_ABSENT &&
	       record_equal(&old->rec, &entry->rec, c->txn.state.preserve_ownership);
}

/* @return 1 when the directory that the path lies in is in the index, 0, negative errno */
static int has_parent(struct capturing *c, const char *path, struct err *err)
{
	size_t len = relpath_parent_len(path);
	sqlite3_stmt *s;
	struct index_entry dir;
	if (!*path)
		return 1;
	if (c->parent && strncmp(c->parent, path, len) == 0 && c->parent[len] == '\0')
		return c->parent_indexed;
	forget_parent(c);
	c->parent = x_strndup(path, len);
	int r = txn_get(&s, &dir, &c->txn, c->parent, err);
	c->parent_indexed = r > 0 && dir.rec.kind == RECORD_DIR;
	sqlite3_stmt_free(s);
	return r < 0 ? r : c->parent_indexed;
}

static int version(struct capturing *c, const struct index_entry *entry, struct err *err)
{
	const char *path = entry->rec.path;
	sqlite3_stmt *s;
	struct index_entry old;
	int r = txn_get(&s, &old, &c->txn, path, err);
	if (r > 0 && old.rec.kind == RECORD_DIR && entry->rec.kind != RECORD_DIR) {
		/* Nothing can be beneath it any longer, whether or not a scan has said so yet. */
		sqlite3_stmt_free(s);
		r = gone(c, path, false, err);
		if (r == 0)
			r = txn_get(&s, &old, &c->txn, path, err);
	}
	if (r > 0 && is_known(c, &old, entry))
		r = txn_set_installed(&c->txn, path, &entry->inst, (int)entry->flags, err);
	else if (r >= 0)
		r = put_version(c, r > 0 ? &old : NULL, entry, err);
	sqlite3_stmt_free(s);
	return r;
}

static int version_or_orphan(struct capturing *c, const struct captured *item, struct err *err)
{
	int r = item->orphan ? has_parent(c, item->entry->rec.path, err) : 1;
	if (r < 0)
		return r;
	if (item->orphan)
		*item->orphan = r == 0;
	if (r == 0)
		return 0;
	if (c->parent && strcmp(c->parent, item->entry->rec.path) == 0)
		forget_parent(c);
	return version(c, item->entry, err);
}

/* ---- a batch ----------------------------------------------------------------------------------
 */

static int capture_item(struct capturing *c, const struct captured *item, struct err *err)
{
	bool approved =
		item->approved || (item->entry && (item->entry->flags & ENTRY_APPROVED) != 0);
	c->grave_flags = approved ? ENTRY_APPROVED : 0;
	switch (item->kind) {
	case CAPTURED_VERSION: return version_or_orphan(c, item, err);
	case CAPTURED_SAME:
		return txn_set_installed(&c->txn, item->entry->rec.path, &item->entry->inst,
					 (int)item->entry->flags, err);
	case CAPTURED_GONE: return gone(c, item->path, true, err);
	case CAPTURED_TOMBSTONE: return tombstone(c, item->path, err);
	case CAPTURED_DROPPED: return dropped(c, item->path, err);
	}
	return 0;
}

static int capture_all(struct capturing *c, const struct captured *items, size_t n, struct err *err)
{
	int r = 0;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = capture_item(c, &items[i], err);
	return r;
}

static bool only_stats(const struct captured *items, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (items[i].kind != CAPTURED_SAME)
			return false;
	}
	return true;
}

int store_capture(struct store *store, const struct captured *items, size_t n, bool foreign,
		  size_t *changed, struct err *err)
{
	struct capturing c = {.foreign = foreign};
	size_t ignored;
	if (!changed)
		changed = &ignored;
	*changed = 0;
	int r = txn_begin(&c.txn, store, only_stats(items, n) ? NULL : "capture", err);
	if (r < 0)
		return r;
	if (!foreign && c.txn.epoch == 0)
		r = err_set(err, -EPERM,
			    "this node belongs to no epoch: it must not number changes");
	else
		r = capture_all(&c, items, n, err);
	r = txn_end(&c.txn, r, err);
	forget_parent(&c);
	if (r == 0)
		*changed = c.changed;
	return r;
}
