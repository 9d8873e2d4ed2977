/* What brakes stopped. A held path is a note whose reason is the number of its hold, so that holds
 * are few whatever they hold. */
#include "agent/store/store_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/clock.h"

#define RELEASE_CHUNK 512

/* A clock that was set may end an approval early, which only asks again, and cannot prolong one. */
static bool has_run_out(int64_t decided_ns)
{
	int64_t age = clock_real_ns() - decided_ns;
	return age < 0 || age >= HOLD_APPROVED_S * INT64_C(1000000000);
}

static void read_hold(struct hold *out, sqlite3_stmt *s)
{
	*out = (struct hold){.id = (uint64_t)sqlite3_column_int64(s, 0),
			     .side = (enum hold_side)sqlite3_column_int(s, 1),
			     .cause = (enum hold_cause)sqlite3_column_int(s, 2),
			     .state = (enum hold_state)sqlite3_column_int(s, 3),
			     .since_ns = sqlite3_column_int64(s, 4),
			     .joined_ns = sqlite3_column_int64(s, 5),
			     .decided_ns = sqlite3_column_int64(s, 6),
			     .paths = (uint64_t)sqlite3_column_int64(s, 7)};
	snprintf(out->reason, sizeof(out->reason), "%s", column_path(s, 8));
	if (out->state == HOLD_APPROVED && has_run_out(out->decided_ns))
		out->state = HOLD_CLOSED;
}

/* ---- adding ---------------------------------------------------------------------------------- */

static int make_hold(struct txn *t, uint64_t *id, enum hold_side side, enum hold_cause cause,
		     const char *reason, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_HOLD_ADD, err);
	if (!s)
		return err_wrap(err, "make a hold");
	bind_int(s, 1, side);
	bind_int(s, 2, cause);
	bind_int(s, 3, t->now_ns);
	BUG_ON(sqlite3_bind_text(s, 4, reason, -1, SQLITE_STATIC) != SQLITE_OK);
	int r = statement_run(s, err);
	if (r == 0)
		*id = (uint64_t)sqlite3_last_insert_rowid(t->conn->db);
	return r;
}

static int lessen(struct txn *t, int64_t id, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_HOLD_LESS, err);
	if (!s)
		return err_wrap(err, "change a hold");
	bind_int(s, 1, id);
	return statement_run(s, err);
}

/* @return 1 when a note was there and is gone, 0 without one */
static int take_note(struct txn *t, const char *path, struct err *err)
{
	AUTO(sqlite3_stmt) *get = conn_statement(t->conn, SQL_NOTE_GET, err);
	AUTO(sqlite3_stmt) *drop = conn_statement(t->conn, SQL_NOTE_DELETE, err);
	if (!get || !drop)
		return err_wrap(err, "release a path");
	bind_int(get, 1, NOTE_BRAKE);
	bind_path(get, 2, path);
	int r = statement_step(get, err);
	if (r <= 0)
		return r;
	int64_t id = strtoll(column_path(get, 0), NULL, 10);
	bind_int(drop, 1, NOTE_BRAKE);
	bind_path(drop, 2, path);
	r = statement_run(drop, err);
	if (r == 0)
		r = lessen(t, id, err);
	t->notes[NOTE_BRAKE]--;
	return r < 0 ? r : 1;
}

static int put_note(struct txn *t, const char *path, const char *id, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_NOTE_SET, err);
	if (!s)
		return err_wrap(err, "hold a path");
	bind_int(s, 1, NOTE_BRAKE);
	bind_path(s, 2, path);
	BUG_ON(sqlite3_bind_text(s, 3, id, -1, SQLITE_STATIC) != SQLITE_OK);
	bind_int(s, 4, t->now_ns);
	t->notes[NOTE_BRAKE]++;
	return statement_run(s, err);
}

static int join_hold(struct txn *t, uint64_t id, const char *reason, size_t n, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_HOLD_JOIN, err);
	if (!s)
		return err_wrap(err, "change a hold");
	bind_int(s, 1, (int64_t)id);
	bind_int(s, 2, t->now_ns);
	bind_int(s, 3, (int64_t)n);
	BUG_ON(sqlite3_bind_text(s, 4, reason, -1, SQLITE_STATIC) != SQLITE_OK);
	return statement_run(s, err);
}

int store_hold_add(struct store *store, uint64_t *id, enum hold_side side, enum hold_cause cause,
		   const char *reason, const char *const *paths, size_t n, struct err *err)
{
	struct txn t;
	char text[24];
	uint64_t hold = *id;
	int r = txn_begin(&t, store, NULL, err);
	if (r < 0)
		return r;
	if (hold == 0)
		r = make_hold(&t, &hold, side, cause, reason, err);
	snprintf(text, sizeof(text), "%" PRIu64, hold);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		r = take_note(&t, paths[i], err);
		if (r >= 0)
			r = put_note(&t, paths[i], text, err);
	}
	if (r >= 0)
		r = join_hold(&t, hold, reason, n, err);
	if (r >= 0)
		r = conn_run(t.conn, SQL_HOLDS_DONE, err); /* one that all went over to this one */
	r = txn_end(&t, r, err);
	if (r == 0)
		*id = hold;
	return r;
}

/* ---- looking --------------------------------------------------------------------------------- */

static int read_by_id(struct conn *conn, int64_t id, struct hold *out, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(conn, SQL_HOLD_GET, err);
	if (!s)
		return err_wrap(err, "look up a hold");
	bind_int(s, 1, id);
	int r = statement_step(s, err);
	if (r > 0)
		read_hold(out, s);
	return r;
}

static int read_of(struct store *store, const char *path, struct hold *out, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(store->reader, SQL_NOTE_GET, err);
	if (!s)
		return err_wrap(err, "look up a hold");
	bind_int(s, 1, NOTE_BRAKE);
	bind_path(s, 2, path);
	int r = statement_step(s, err);
	return r > 0 ? read_by_id(store->reader, strtoll(column_path(s, 0), NULL, 10), out, err)
		     : r;
}

int store_hold_of(struct store *store, const char *path, struct hold *out, struct err *err)
{
	if (store_note_count(store, NOTE_BRAKE) == 0)
		return 0;
	pthread_mutex_lock(&store->read_lock);
	int r = read_of(store, path, out, err);
	pthread_mutex_unlock(&store->read_lock);
	return r;
}

static int read_beneath(struct store *store, const char *path, struct hold *out, struct err *err)
{
	AUTO_FREE char *lo = NULL;
	AUTO_FREE char *hi = NULL;
	AUTO(sqlite3_stmt) *s = conn_statement(store->reader, SQL_HOLD_BENEATH_CLOSED, err);
	if (!s)
		return err_wrap(err, "look for holds");
	path_range_beneath(&lo, &hi, path);
	bind_path(s, 1, lo);
	bind_path(s, 2, hi);
	bind_int(s, 3, clock_real_ns() - HOLD_APPROVED_S * INT64_C(1000000000));
	int r = statement_step(s, err);
	return r > 0 ? read_by_id(store->reader, sqlite3_column_int64(s, 0), out, err) : r;
}

int store_hold_beneath(struct store *store, const char *path, struct hold *out, struct err *err)
{
	if (store_note_count(store, NOTE_BRAKE) == 0)
		return 0;
	pthread_mutex_lock(&store->read_lock);
	int r = read_beneath(store, path, out, err);
	pthread_mutex_unlock(&store->read_lock);
	return r;
}

int store_hold_get(struct store *store, uint64_t id, struct hold *out, struct err *err)
{
	pthread_mutex_lock(&store->read_lock);
	int r = read_by_id(store->reader, (int64_t)id, out, err);
	pthread_mutex_unlock(&store->read_lock);
	if (r < 0)
		return r;
	return r > 0 ? 0 : err_set(err, -ENOENT, "there is no hold %" PRIu64, id);
}

int store_holds(struct store *store, struct hold **out, size_t *n, struct err *err)
{
	size_t cap = 0;
	*out = NULL;
	*n = 0;
	pthread_mutex_lock(&store->read_lock);
	sqlite3_stmt *s = conn_statement(store->reader, SQL_HOLDS, err);
	int r = s ? 1 : err_wrap(err, "list the holds");
	while (s && (r = statement_step(s, err)) > 0) {
		GROW(*out, cap, *n + 1);
		read_hold(&(*out)[(*n)++], s);
	}
	sqlite3_stmt_free(s);
	pthread_mutex_unlock(&store->read_lock);
	return r;
}

int store_hold_paths(struct store *store, uint64_t id, const char *after, struct note *out,
		     size_t max, size_t *n, struct err *err)
{
	char text[24];
	*n = 0;
	snprintf(text, sizeof(text), "%" PRIu64, id);
	pthread_mutex_lock(&store->read_lock);
	sqlite3_stmt *s = conn_statement(store->reader, SQL_HOLD_PATHS, err);
	int r = s ? 1 : err_wrap(err, "list what is held");
	if (s) {
		BUG_ON(sqlite3_bind_text(s, 1, text, -1, SQLITE_STATIC) != SQLITE_OK);
		bind_path(s, 2, after);
		bind_int(s, 3, (int64_t)max);
	}
	while (s && *n < max && (r = statement_step(s, err)) > 0)
		out[(*n)++] = (struct note){.path = x_strdup(column_path(s, 0)),
					    .since_ns = sqlite3_column_int64(s, 1)};
	sqlite3_stmt_free(s);
	pthread_mutex_unlock(&store->read_lock);
	return r < 0 ? r : 0;
}

/* ---- ending ---------------------------------------------------------------------------------- */

int store_hold_decide(struct store *store, uint64_t id, enum hold_state state, struct err *err)
{
	struct txn t;
	int r = txn_begin(&t, store, NULL, err);
	if (r < 0)
		return r;
	AUTO(sqlite3_stmt) *s = conn_statement(t.conn, SQL_HOLD_DECIDE, err);
	if (s) {
		bind_int(s, 1, (int64_t)id);
		bind_int(s, 2, state);
		bind_int(s, 3, t.now_ns);
	}
	return txn_end(&t, s ? statement_run(s, err) : err_wrap(err, "decide a hold"), err);
}

static int release_all(struct txn *t, const char *const *paths, size_t n, struct err *err)
{
	int r = 0;
	for (size_t i = 0; r >= 0 && i < n; i++)
		r = take_note(t, paths[i], err);
	return r < 0 ? r : conn_run(t->conn, SQL_HOLDS_DONE, err);
}

int store_hold_release(struct store *store, const char *const *paths, size_t n, struct err *err)
{
	struct txn t;
	if (n == 0 || store_note_count(store, NOTE_BRAKE) == 0)
		return 0;
	int r = txn_begin(&t, store, NULL, err);
	return r < 0 ? r : txn_end(&t, release_all(&t, paths, n, err), err);
}

static int list_beneath(struct store *store, const char *path, char *paths[RELEASE_CHUNK],
			size_t *n, struct err *err)
{
	AUTO_FREE char *lo = NULL;
	AUTO_FREE char *hi = NULL;
	path_range_beneath(&lo, &hi, path);
	pthread_mutex_lock(&store->read_lock);
	sqlite3_stmt *s = conn_statement(store->reader, SQL_HOLD_BENEATH, err);
	int r = s ? 1 : err_wrap(err, "list what is held");
	if (s) {
		bind_path(s, 1, lo);
		bind_path(s, 2, hi);
		bind_int(s, 3, RELEASE_CHUNK);
	}
	while (s && (r = statement_step(s, err)) > 0)
		paths[(*n)++] = x_strdup(column_path(s, 0));
	sqlite3_stmt_free(s);
	pthread_mutex_unlock(&store->read_lock);
	return r;
}

int store_hold_release_beneath(struct store *store, const char *path, struct err *err)
{
	char *paths[RELEASE_CHUNK];
	size_t n;
	int r;
	do {
		n = 0;
		if (store_note_count(store, NOTE_BRAKE) == 0)
			return 0;
		r = list_beneath(store, path, paths, &n, err);
		if (r == 0)
			r = store_hold_release(store, (const char *const *)paths, n, err);
		for (size_t i = 0; i < n; i++)
			free(paths[i]);
	} while (r == 0 && n == RELEASE_CHUNK);
	return r;
}

static int clear(struct txn *t, enum hold_side side, struct err *err)
{
	AUTO(sqlite3_stmt) *holds = conn_statement(t->conn, SQL_HOLDS_CLEAR, err);
	if (!holds)
		return err_wrap(err, "forget holds");
	bind_int(holds, 1, side);
	int r = statement_run(holds, err);
	if (r == 0)
		r = conn_run(t->conn, SQL_HOLD_NOTES_CLEAR, err);
	if (r == 0)
		t->notes[NOTE_BRAKE] -= sqlite3_changes(t->conn->db);
	return r;
}

int store_holds_clear(struct store *store, enum hold_side side, struct err *err)
{
	struct txn t;
	if (store_note_count(store, NOTE_BRAKE) == 0)
		return 0;
	int r = txn_begin(&t, store, NULL, err);
	return r < 0 ? r : txn_end(&t, clear(&t, side, err), err);
}

/* ---- what came --------------------------------------------------------------------------------
 */

static int walk_files(struct conn *conn, uint64_t after_seq,
		      void (*visit)(void *arg, const char *path, const uint8_t hash[HASH_LEN]),
		      void *arg, struct err *err)
{
	uint8_t hash[HASH_LEN];
	AUTO(sqlite3_stmt) *s = conn_statement(conn, SQL_FILES_SINCE, err);
	if (!s)
		return err_wrap(err, "list what came");
	bind_int(s, 1, (int64_t)after_seq);
	int r;
	while ((r = statement_step(s, err)) > 0) {
		if (column_fixed(s, 1, hash, HASH_LEN))
			visit(arg, column_path(s, 0), hash);
	}
	return r;
}

int store_files_since(struct store *store, uint64_t after_seq,
		      void (*visit)(void *arg, const char *path, const uint8_t hash[HASH_LEN]),
		      void *arg, struct err *err)
{
	struct conn *conn;
	int r = store_take_reader(&conn, store, err);
	if (r < 0)
		return r;
	r = walk_files(conn, after_seq, visit, arg, err);
	store_give_reader(store, conn);
	return r;
}
