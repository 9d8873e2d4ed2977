/* Reading the undo log: the versions of a path, and the tree as it was at a barrier. */
#include "agent/store/store_private.h"

#include <errno.h>
#include <string.h>

/* ---- barriers ---------------------------------------------------------------------------------
 */

static void read_barrier(struct history_barrier *out, sqlite3_stmt *s)
{
	out->txn = (uint64_t)sqlite3_column_int64(s, 0);
	out->seq = (uint64_t)sqlite3_column_int64(s, 1);
	out->first_ns = sqlite3_column_int64(s, 2);
	out->last_ns = sqlite3_column_int64(s, 3);
	column_fixed(s, 4, out->digest, HASH_LEN);
	out->records = (uint64_t)sqlite3_column_int64(s, 5);
	out->with_owner = sqlite3_column_int(s, 6);
}

static int find_barrier(struct store *store, enum statement which, int64_t at_ns,
			struct history_barrier *out, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(store->reader, which, err);
	if (!s)
		return err_wrap(err, "look up a barrier");
	if (which == SQL_BARRIER_LAST)
		bind_int(s, 1, at_ns);
	int r = statement_step(s, err);
	if (r > 0)
		read_barrier(out, s);
	return r < 0 ? r : r > 0 ? 0 : err_set(err, -ENOENT, "no barrier is known from then");
}

int store_history_barrier(struct store *store, int64_t at_ns, struct history_barrier *out,
			  struct err *err)
{
	pthread_mutex_lock(&store->read_lock);
	int r = find_barrier(store, SQL_BARRIER_LAST, at_ns, out, err);
	pthread_mutex_unlock(&store->read_lock);
	return r;
}

int store_history_oldest(struct store *store, struct history_barrier *out, struct err *err)
{
	pthread_mutex_lock(&store->read_lock);
	int r = find_barrier(store, SQL_BARRIER_FIRST, 0, out, err);
	pthread_mutex_unlock(&store->read_lock);
	return r;
}

/* ---- versions ---------------------------------------------------------------------------------
 */

/* Borrowed from the statement until its next step. */
static void view_version(struct history_version *out, sqlite3_stmt *s)
{
	struct record *rec = &out->entry.rec;
	*out = (struct history_version){.txn = (uint64_t)sqlite3_column_int64(s, 1),
					.until_ns = sqlite3_column_int64(s, 2)};
	rec->path = column_path(s, 0);
	rec->kind = (enum record_kind)sqlite3_column_int(s, 3);
	rec->mode = (uint32_t)sqlite3_column_int64(s, 4);
	rec->uid = (uint32_t)sqlite3_column_int64(s, 5);
	rec->gid = (uint32_t)sqlite3_column_int64(s, 6);
	rec->mtime_ns = sqlite3_column_int64(s, 7);
	rec->size = (uint64_t)sqlite3_column_int64(s, 8);
	column_fixed(s, 9, rec->hash, HASH_LEN);
	rec->target = sqlite3_column_blob(s, 10);
	rec->target_len = (uint32_t)sqlite3_column_bytes(s, 10);
	rec->xattrs = sqlite3_column_blob(s, 11);
	rec->xattrs_len = (uint32_t)sqlite3_column_bytes(s, 11);
	rec->epoch = (uint64_t)sqlite3_column_int64(s, 12);
	rec->seq = (uint64_t)sqlite3_column_int64(s, 13);
}

static void copy_version(struct history_version *out, sqlite3_stmt *s)
{
	struct history_version view;
	view_version(&view, s);
	*out = view;
	index_entry_copy(&out->entry, &view.entry);
}

void history_version_release(struct history_version *version)
{
	index_entry_release(&version->entry);
	*version = (struct history_version){0};
}

static int read_versions(struct store *store, const char *path, struct history_version *out,
			 size_t max, size_t *n, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(store->reader, SQL_UNDO_OF, err);
	if (!s)
		return err_wrap(err, "list versions");
	bind_path(s, 1, path);
	bind_int(s, 2, (int64_t)max);
	int r;
	while ((r = statement_step(s, err)) > 0)
		copy_version(&out[(*n)++], s);
	return r;
}

int store_history_versions(struct store *store, const char *path, struct history_version *out,
			   size_t max, size_t *n, struct err *err)
{
	*n = 0;
	pthread_mutex_lock(&store->read_lock);
	int r = read_versions(store, path, out, max, n, err);
	pthread_mutex_unlock(&store->read_lock);
	for (; r < 0 && *n > 0; (*n)--)
		history_version_release(&out[*n - 1]);
	return r;
}

static int read_version(struct store *store, const char *path, uint64_t txn,
			struct history_version *out, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(store->reader, SQL_UNDO_GET, err);
	if (!s)
		return err_wrap(err, "look up a version");
	bind_path(s, 1, path);
	bind_int(s, 2, (int64_t)txn);
	int r = statement_step(s, err);
	if (r > 0)
		copy_version(out, s);
	return r < 0 ? r : r > 0 ? 0 : err_set(err, -ENOENT, "the path has no such version");
}

int store_history_version(struct store *store, const char *path, uint64_t txn,
			  struct history_version *out, struct err *err)
{
	pthread_mutex_lock(&store->read_lock);
	int r = read_version(store, path, txn, out, err);
	pthread_mutex_unlock(&store->read_lock);
	return r;
}

/* ---- the tree at a barrier --------------------------------------------------------------------
 */

/* Two walks in the same order over one snapshot: the index, and what has to be undone. */
struct page {
	const struct history_range *range;
	const char *hi;
	sqlite3_stmt *now, *undone;
	int have_now, have_undone; /* 1 a row stands there, 0 the end, negative errno */
	struct index_entry now_view;
	struct history_version undone_view;
};

static void step_now(struct page *p, struct err *err)
{
	p->have_now = statement_step(p->now, err);
	if (p->have_now > 0) {
		entry_view(&p->now_view, p->now);
		entry_make_plain(&p->now_view);
	}
}

static void step_undone(struct page *p, struct err *err)
{
	p->have_undone = statement_step(p->undone, err);
	if (p->have_undone > 0)
		view_version(&p->undone_view, p->undone);
}

/* The next path in order as it was. @return 1 with *out borrowed until the next call, 0 at the end,
 * negative errno. *used_now, *used_undone: which rows it came from, to be stepped over */
static int peek(struct page *p, const struct index_entry **out, bool *used_now, bool *used_undone)
{
	if (p->have_now < 0 || p->have_undone < 0)
		return p->have_now < 0 ? p->have_now : p->have_undone;
	int order = 0;
	if (p->have_now && p->have_undone)
		order = strcmp(p->now_view.rec.path, p->undone_view.entry.rec.path) *
			(p->range->backwards ? -1 : 1);
	*used_now = p->have_now && (!p->have_undone || order <= 0);
	*used_undone = p->have_undone && (!p->have_now || order >= 0);
	*out = *used_undone ? &p->undone_view.entry : &p->now_view;
	return *used_now || *used_undone;
}

static int fill_page(struct page *p, struct index_entry *out, size_t max, size_t *n,
		     struct err *err)
{
	const struct index_entry *entry;
	bool used_now, used_undone;
	int r = 0;
	step_now(p, err);
	step_undone(p, err);
	while (*n < max && (r = peek(p, &entry, &used_now, &used_undone)) > 0) {
		if (entry->rec.kind != RECORD_ABSENT) {
			struct index_entry view = {.rec = entry->rec};
			index_entry_copy(&out[(*n)++], &view);
		}
		if (used_now)
			step_now(p, err);
		if (used_undone)
			step_undone(p, err);
	}
	return r < 0 ? r : 0;
}

static int bind_page(struct page *p, struct conn *conn, uint64_t txn, struct err *err)
{
	bool back = p->range->backwards;
	p->now = conn_statement(conn, back ? SQL_RANGE_BACK : SQL_RANGE, err);
	p->undone = conn_statement(conn, back ? SQL_UNDONE_BACK : SQL_UNDONE, err);
	if (!p->now || !p->undone)
		return err_wrap(err, "read an earlier tree");
	bind_path(p->now, 1, p->range->lo);
	bind_path(p->now, 2, p->hi);
	bind_path(p->undone, 1, p->range->lo);
	bind_path(p->undone, 2, p->hi);
	bind_int(p->undone, 3, (int64_t)txn);
	return 0;
}

static int barrier_stands(struct conn *conn, uint64_t txn, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(conn, SQL_BARRIER_IS, err);
	if (!s)
		return err_wrap(err, "look up a barrier");
	bind_int(s, 1, (int64_t)txn);
	int r = statement_step(s, err);
	return r < 0   ? r
	       : r > 0 ? 0
		       : err_set(err, -ESTALE,
				 "what led back to this barrier is not kept any longer");
}

static int read_page(struct conn *conn, uint64_t txn, const struct history_range *range,
		     struct index_entry *out, size_t max, size_t *n, struct err *err)
{
	struct page p = {.range = range, .hi = *range->hi ? range->hi : path_above_all()};
	int r = barrier_stands(conn, txn, err);
	if (r == 0)
		r = bind_page(&p, conn, txn, err);
	if (r == 0)
		r = fill_page(&p, out, max, n, err);
	sqlite3_stmt_free(p.now);
	sqlite3_stmt_free(p.undone);
	return r;
}

int store_history_page(struct store *store, uint64_t barrier_txn, const struct history_range *range,
		       struct index_entry *out, size_t max, size_t *n, struct err *err)
{
	struct conn *conn;
	*n = 0;
	int r = store_take_reader(&conn, store, err);
	if (r < 0)
		return r;
	r = conn_run(conn, SQL_BEGIN_READS, err);
	if (r == 0) {
		r = read_page(conn, barrier_txn, range, out, max, n, err);
		conn_run(conn, SQL_COMMIT, NULL);
	}
	store_give_reader(store, conn);
	for (; r < 0 && *n > 0; (*n)--)
		index_entry_release(&out[*n - 1]);
	return r;
}

static int read_changes(struct conn *conn, uint64_t txn, const char *lo, struct index_entry *out,
			size_t max, size_t *n, struct err *err)
{
	int r = barrier_stands(conn, txn, err);
	AUTO(sqlite3_stmt) *s = conn_statement(conn, SQL_UNDONE, err);
	if (r < 0 || !s)
		return r < 0 ? r : err_wrap(err, "read what changed");
	bind_path(s, 1, lo);
	bind_path(s, 2, path_above_all());
	bind_int(s, 3, (int64_t)txn);
	while (*n < max && (r = statement_step(s, err)) > 0) {
		struct history_version view;
		view_version(&view, s);
		index_entry_copy(&out[(*n)++], &view.entry);
	}
	return r < 0 ? r : 0;
}

int store_history_changes(struct store *store, uint64_t barrier_txn, const char *after,
			  struct index_entry *out, size_t max, size_t *n, struct err *err)
{
	struct conn *conn;
	*n = 0;
	AUTO_FREE char *lo = after ? x_asprintf("%s\x01", after) : x_strdup("");
	int r = store_take_reader(&conn, store, err);
	if (r < 0)
		return r;
	r = conn_run(conn, SQL_BEGIN_READS, err);
	if (r == 0) {
		r = read_changes(conn, barrier_txn, lo, out, max, n, err);
		conn_run(conn, SQL_COMMIT, NULL);
	}
	store_give_reader(store, conn);
	for (; r < 0 && *n > 0; (*n)--)
		index_entry_release(&out[*n - 1]);
	return r;
}

/* ---- kept content -----------------------------------------------------------------------------
 */

static int read_unsettled(struct store *store, struct kept_object **out, size_t *n, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(store->reader, SQL_KEPT_UNSETTLED, err);
	if (!s)
		return err_wrap(err, "list kept versions");
	size_t cap = 0;
	int r;
	while ((r = statement_step(s, err)) > 0) {
		GROW(*out, cap, *n + 1);
		kept_object_read(&(*out)[(*n)++], s);
	}
	return r;
}

int store_kept_unsettled(struct store *store, struct kept_object **out, size_t *n, struct err *err)
{
	*out = NULL;
	*n = 0;
	pthread_mutex_lock(&store->read_lock);
	int r = read_unsettled(store, out, n, err);
	pthread_mutex_unlock(&store->read_lock);
	if (r < 0) {
		kept_objects_free(*out, *n);
		*out = NULL;
		*n = 0;
	}
	return r;
}

static int find_kept(struct store *store, const uint8_t hash[HASH_LEN], const char *root_at,
		     struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(store->reader, SQL_KEPT_FIND, err);
	if (!s)
		return err_wrap(err, "look up a kept version");
	bind_hash(s, 1, hash);
	bind_path(s, 2, root_at);
	return statement_step(s, err);
}

int store_kept_find(struct store *store, const uint8_t hash[HASH_LEN], const char *root_at,
		    struct err *err)
{
	pthread_mutex_lock(&store->read_lock);
	int r = find_kept(store, hash, root_at, err);
	pthread_mutex_unlock(&store->read_lock);
	return r;
}

static int claims(struct store *store, const char *temp, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(store->reader, SQL_KEPT_CLAIMS, err);
	if (!s)
		return err_wrap(err, "look up a promise");
	BUG_ON(sqlite3_bind_text(s, 1, temp, -1, SQLITE_STATIC) != SQLITE_OK);
	return statement_step(s, err);
}

int store_kept_claims(struct store *store, const char *temp, struct err *err)
{
	pthread_mutex_lock(&store->read_lock);
	int r = claims(store, temp, err);
	pthread_mutex_unlock(&store->read_lock);
	return r;
}
