/* Recording what the index was, in the transactions that change it. */
#include "agent/store/store_private.h"

#include <stdio.h>
#include <string.h>

void store_history_counts(struct store *store, struct history_counts *out)
{
	pthread_mutex_lock(&store->state_lock);
	*out = store->history;
	pthread_mutex_unlock(&store->state_lock);
}

/* Transactions take it over when they begin, under the same lock. */
void store_history_record(struct store *store, bool on)
{
	pthread_mutex_lock(&store->write_lock);
	store->recording = on;
	pthread_mutex_unlock(&store->write_lock);
}

static int load_one(uint64_t *out, struct store *store, enum statement which, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(store->writer, which, err);
	int r = s ? statement_step(s, err) : err_wrap(err, "load counts");
	if (r > 0)
		*out = (uint64_t)sqlite3_column_int64(s, 0);
	return r < 0 ? r : 0;
}

int history_load_counts(struct store *store, struct err *err)
{
	int r = load_one(&store->history.versions, store, SQL_UNDO_COUNT, err);
	if (r == 0)
		r = load_one(&store->history.bytes, store, SQL_KEPT_BYTES, err);
	return r < 0 ? r : load_one(&store->history.barriers, store, SQL_BARRIER_COUNT, err);
}

/* ---- barriers ---------------------------------------------------------------------------------
 */

static int forget_barriers(struct txn *t, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_BARRIER_PRUNE, err);
	if (!s)
		return err_wrap(err, "forget barriers");
	bind_int(s, 1, INT64_MAX);
	int r = statement_run(s, err);
	t->history.barriers = 0;
	return r;
}

/* @return 1 with its number when the newest barrier proved the same tree, 0, negative errno */
static int same_as_last(uint64_t *txn, struct txn *t, struct err *err)
{
	uint8_t digest[HASH_LEN];
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_BARRIER_LAST, err);
	if (!s)
		return err_wrap(err, "look up a barrier");
	bind_int(s, 1, INT64_MAX);
	int r = statement_step(s, err);
	if (r <= 0)
		return r;
	*txn = (uint64_t)sqlite3_column_int64(s, 0);
	column_fixed(s, 4, digest, HASH_LEN);
	return memcmp(digest, t->state.digest, HASH_LEN) == 0 &&
	       sqlite3_column_int(s, 6) == t->state.preserve_ownership;
}

/* The tree is still, or again, the one of the barrier before: that one moves up, so that less is
 * needed to get back to it. */
static int extend_barrier(struct txn *t, uint64_t was, uint64_t seq, int64_t sent_ns,
			  struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_BARRIER_AGAIN, err);
	if (!s)
		return err_wrap(err, "note a barrier");
	bind_int(s, 1, (int64_t)was);
	bind_int(s, 2, (int64_t)t->state.chain_n);
	bind_int(s, 3, (int64_t)seq);
	bind_int(s, 4, sent_ns);
	return statement_run(s, err);
}

static int add_barrier(struct txn *t, uint64_t seq, int64_t sent_ns, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_BARRIER_ADD, err);
	if (!s)
		return err_wrap(err, "note a barrier");
	bind_int(s, 1, (int64_t)t->state.chain_n);
	bind_int(s, 2, (int64_t)seq);
	bind_int(s, 3, sent_ns);
	bind_int(s, 4, sent_ns);
	bind_hash(s, 5, t->state.digest);
	bind_int(s, 6, (int64_t)t->state.records);
	bind_int(s, 7, t->state.preserve_ownership);
	t->history.barriers++;
	return statement_run(s, err);
}

int txn_note_barrier(struct txn *t, uint64_t seq, int64_t sent_ns, struct err *err)
{
	uint64_t was = 0;
	/* A batch may have ended since the barrier was judged; the next one is not far. */
	if (!t->recording || memcmp(t->state.digest, t->state.barrier_digest, HASH_LEN) != 0)
		return 0;
	int r = same_as_last(&was, t, err);
	if (r < 0)
		return r;
	return r > 0 ? extend_barrier(t, was, seq, sent_ns, err)
		     : add_barrier(t, seq, sent_ns, err);
}

/* ---- undo -------------------------------------------------------------------------------------
 */

static bool is_live(const struct index_entry *entry)
{
	return entry && entry->rec.kind != RECORD_ABSENT;
}

static bool is_same(const struct index_entry *old, const struct index_entry *now)
{
	if (!is_live(old) || !is_live(now))
		return !is_live(old) && !is_live(now);
	return record_equal(&old->rec, &now->rec, true);
}

/* A path that changes twice in a transaction was, before it, what the first row says: the second is
 * ignored. */
static int add_undo(struct txn *t, const char *path, const struct record *was, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_UNDO_ADD, err);
	if (!s)
		return err_wrap(err, "keep what a record was");
	bind_path(s, 1, path);
	bind_int(s, 2, (int64_t)t->state.chain_n + 1);
	bind_int(s, 3, t->now_ns);
	bind_int(s, 4, was->kind);
	bind_int(s, 5, was->mode);
	bind_int(s, 6, was->uid);
	bind_int(s, 7, was->gid);
	bind_int(s, 8, was->mtime_ns);
	bind_int(s, 9, (int64_t)was->size);
	bind_bytes(s, 10, was->kind == RECORD_FILE ? was->hash : NULL, HASH_LEN);
	bind_bytes(s, 11, was->target, was->target_len);
	bind_bytes(s, 12, was->xattrs_len ? was->xattrs : NULL, was->xattrs_len);
	bind_int(s, 13, (int64_t)was->epoch);
	bind_int(s, 14, (int64_t)was->seq);
	int r = statement_run(s, err);
	t->history.versions += r == 0 ? (uint64_t)sqlite3_changes(t->conn->db) : 0;
	return r;
}

int txn_remember(struct txn *t, const char *path, const struct index_entry *old,
		 const struct index_entry *now, struct err *err)
{
	static const struct record nothing = {.kind = RECORD_ABSENT};
	if (t->history.barriers == 0 || is_same(old, now))
		return 0;
	if (!t->recording)
		return forget_barriers(t, err);
	return add_undo(t, path, is_live(old) ? &old->rec : &nothing, err);
}

/* ---- kept content -----------------------------------------------------------------------------
 */

int txn_promise(struct txn *t, struct keep_order *order, const struct index_entry *old,
		const struct record *now, struct err *err)
{
	order->promised = false;
	if (!t->recording || t->history.barriers == 0 || old->rec.kind != RECORD_FILE ||
	    record_same_content(&old->rec, now))
		return 0;
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_KEPT_ADD, err);
	if (!s)
		return err_wrap(err, "promise to keep a version");
	bind_hash(s, 1, old->rec.hash);
	bind_path(s, 2, order->root_at);
	bind_int(s, 3, (int64_t)old->rec.size);
	BUG_ON(sqlite3_bind_text(s, 4, order->temp, -1, SQLITE_STATIC) != SQLITE_OK);
	int r = statement_run(s, err);
	if (r < 0)
		return r;
	if (sqlite3_changes(t->conn->db) > 0)
		t->history.bytes += old->rec.size;
	order->promised = true;
	order->size = old->rec.size;
	memcpy(order->hash, old->rec.hash, HASH_LEN);
	return 0;
}

void kept_object_read(struct kept_object *out, sqlite3_stmt *s)
{
	*out = (struct kept_object){0};
	column_fixed(s, 0, out->hash, HASH_LEN);
	out->size = (uint64_t)sqlite3_column_int64(s, 1);
	out->root_at = x_strdup(column_path(s, 2));
	snprintf(out->temp, sizeof(out->temp), "%s", column_path(s, 3));
}

void kept_objects_free(struct kept_object *objects, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(objects[i].root_at);
	free(objects);
}

static int settle_all(struct txn *t, const struct kept_object *objects, size_t n, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_KEPT_SETTLE, err);
		if (!s)
			return err_wrap(err, "settle kept versions");
		bind_hash(s, 1, objects[i].hash);
		bind_path(s, 2, objects[i].root_at);
		BUG_ON(sqlite3_bind_text(s, 3, objects[i].temp, -1, SQLITE_STATIC) != SQLITE_OK);
		int r = statement_run(s, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int store_kept_settle(struct store *store, const struct kept_object *objects, size_t n,
		      struct err *err)
{
	struct txn t;
	int r = n > 0 ? txn_begin(&t, store, NULL, err) : 0;
	if (r < 0 || n == 0)
		return r;
	return txn_end(&t, settle_all(&t, objects, n, err), err);
}

static int forget_all(struct txn *t, const struct kept_object *objects, size_t n, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_KEPT_FORGET, err);
		if (!s)
			return err_wrap(err, "forget kept versions");
		bind_hash(s, 1, objects[i].hash);
		bind_path(s, 2, objects[i].root_at);
		int r;
		while ((r = statement_step(s, err)) > 0)
			t->history.bytes -= (uint64_t)sqlite3_column_int64(s, 0);
		if (r < 0)
			return r;
	}
	return 0;
}

int store_kept_forget(struct store *store, const struct kept_object *objects, size_t n,
		      struct err *err)
{
	struct txn t;
	int r = n > 0 ? txn_begin(&t, store, NULL, err) : 0;
	if (r < 0 || n == 0)
		return r;
	return txn_end(&t, forget_all(&t, objects, n, err), err);
}
