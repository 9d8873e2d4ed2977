/* Paths that cannot go on, and signatures kept for later deltas. */
#include "agent/store/store_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- notes ------------------------------------------------------------------------------------
 */

/* @return 1 when the same note is there, 0 another or none (told apart by *there) */
static int same_note(struct txn *t, enum note_kind kind, const char *path, const char *reason,
		     bool *there, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_NOTE_GET, err);
	if (!s)
		return err_wrap(err, "look up a note");
	bind_int(s, 1, kind);
	bind_path(s, 2, path);
	int r = statement_step(s, err);
	*there = r > 0;
	return r > 0 ? strcmp(column_path(s, 0), reason) == 0 : r;
}

static int write_note(struct txn *t, enum note_kind kind, const char *path, const char *reason,
		      struct err *err)
{
	bool there = false;
	int r = same_note(t, kind, path, reason, &there, err);
	if (r != 0)
		return r < 0 ? r : 0;
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_NOTE_SET, err);
	if (!s)
		return err_wrap(err, "store a note");
	bind_int(s, 1, kind);
	bind_path(s, 2, path);
	BUG_ON(sqlite3_bind_text(s, 3, reason, -1, SQLITE_STATIC) != SQLITE_OK);
	bind_int(s, 4, t->now_ns);
	t->notes[kind] += !there;
	return statement_run(s, err);
}

int store_note_many(struct store *store, enum note_kind kind, const char *const *paths, size_t n,
		    const char *reason, struct err *err)
{
	struct txn t;
	int r = txn_begin(&t, store, NULL, err);
	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = write_note(&t, kind, paths[i], reason, err);
	return txn_end(&t, r, err);
}

int store_put_notes(struct store *store, enum note_kind kind, const struct note *notes, size_t n,
		    struct err *err)
{
	struct txn t;
	int r = txn_begin(&t, store, NULL, err);
	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = write_note(&t, kind, notes[i].path, notes[i].reason, err);
	return txn_end(&t, r, err);
}

/* Held paths are looked at again at every event and scan; saying the same again must not cost a
 * commit. */
static bool is_noted(struct store *store, enum note_kind kind, const char *path, const char *reason)
{
	pthread_mutex_lock(&store->read_lock);
	sqlite3_stmt *s = conn_statement(store->reader, SQL_NOTE_GET, NULL);
	bool noted = false;
	if (s) {
		bind_int(s, 1, kind);
		bind_path(s, 2, path);
		noted = statement_step(s, NULL) > 0 &&
			(!reason || strcmp(column_path(s, 0), reason) == 0);
		sqlite3_stmt_free(s);
	}
	pthread_mutex_unlock(&store->read_lock);
	return noted;
}

int store_note(struct store *store, enum note_kind kind, const char *path, const char *reason,
	       struct err *err)
{
	if (is_noted(store, kind, path, reason))
		return 0;
	return store_note_many(store, kind, &path, 1, reason, err);
}

static int delete_note(struct txn *t, enum note_kind kind, const char *path, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_NOTE_DELETE, err);
	if (!s)
		return err_wrap(err, "remove a note");
	bind_int(s, 1, kind);
	bind_path(s, 2, path);
	int r = statement_run(s, err);
	if (r == 0)
		t->notes[kind] -= sqlite3_changes(t->conn->db);
	return r;
}

int store_unnote(struct store *store, enum note_kind kind, const char *path, struct err *err)
{
	if (store_note_count(store, kind) == 0 || !is_noted(store, kind, path, NULL))
		return 0;
	struct txn t;
	int r = txn_begin(&t, store, NULL, err);
	if (r < 0)
		return r;
	return txn_end(&t, delete_note(&t, kind, path, err), err);
}

static int clear_notes(struct txn *t, enum note_kind kind, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_NOTES_CLEAR, err);
	if (!s)
		return err_wrap(err, "remove notes");
	bind_int(s, 1, kind);
	int r = statement_run(s, err);
	if (r == 0)
		t->notes[kind] -= sqlite3_changes(t->conn->db);
	return r;
}

int store_forget_notes(struct store *store, enum note_kind kind, struct err *err)
{
	if (store_note_count(store, kind) == 0)
		return 0;
	struct txn t;
	int r = txn_begin(&t, store, NULL, err);
	if (r < 0)
		return r;
	return txn_end(&t, clear_notes(&t, kind, err), err);
}

static int read_notes(struct store *store, enum note_kind kind, size_t max, struct note **out,
		      size_t *n, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(store->reader, SQL_NOTES_UP_TO, err);
	if (!s)
		return err_wrap(err, "read notes");
	bind_int(s, 1, kind);
	bind_int(s, 2, max > INT64_MAX ? -1 : (int64_t)max);
	size_t cap = 0;
	int r;
	while ((r = statement_step(s, err)) > 0) {
		GROW(*out, cap, *n + 1);
		(*out)[(*n)++] =
			(struct note){x_strdup(column_path(s, 0)), x_strdup(column_path(s, 1)),
				      sqlite3_column_int64(s, 2)};
	}
	return r;
}

int store_notes(struct store *store, enum note_kind kind, struct note **out, size_t *n,
		struct err *err)
{
	return store_notes_up_to(store, kind, SIZE_MAX, out, n, err);
}

int store_notes_up_to(struct store *store, enum note_kind kind, size_t max, struct note **out,
		      size_t *n, struct err *err)
{
	*out = NULL;
	*n = 0;
	pthread_mutex_lock(&store->read_lock);
	int r = read_notes(store, kind, max, out, n, err);
	pthread_mutex_unlock(&store->read_lock);
	if (r < 0) {
		notes_free(*out, *n);
		*out = NULL;
		*n = 0;
	}
	return r;
}

uint64_t store_note_count(struct store *store, enum note_kind kind)
{
	pthread_mutex_lock(&store->state_lock);
	uint64_t count = store->notes[kind];
	pthread_mutex_unlock(&store->state_lock);
	return count;
}

void notes_free(struct note *notes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(notes[i].path);
		free(notes[i].reason);
	}
	free(notes);
}

/* ---- signatures -------------------------------------------------------------------------------
 */

static int read_signature(struct store *store, const uint8_t hash[HASH_LEN], uint8_t **out,
			  size_t *len, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(store->reader, SQL_SIGNATURE, err);
	if (!s)
		return err_wrap(err, "look up a signature");
	bind_hash(s, 1, hash);
	int r = statement_step(s, err);
	if (r <= 0)
		return r < 0 ? r : err_set(err, -ENOENT, "no signature is kept of that content");
	*len = (size_t)sqlite3_column_bytes(s, 0);
	*out = x_memdup(sqlite3_column_blob(s, 0), *len);
	return 0;
}

int store_signature(struct store *store, const uint8_t hash[HASH_LEN], uint8_t **out, size_t *len,
		    struct err *err)
{
	pthread_mutex_lock(&store->read_lock);
	int r = read_signature(store, hash, out, len, err);
	pthread_mutex_unlock(&store->read_lock);
	return r;
}

static int write_signature(struct txn *t, const uint8_t hash[HASH_LEN], const uint8_t *sig,
			   size_t len, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_SIGNATURE_SET, err);
	if (!s)
		return err_wrap(err, "keep a signature");
	bind_hash(s, 1, hash);
	bind_bytes(s, 2, sig, len);
	return statement_run(s, err);
}

int store_set_signature(struct store *store, const uint8_t hash[HASH_LEN], const uint8_t *sig,
			size_t len, struct err *err)
{
	struct txn t;
	int r = txn_begin(&t, store, NULL, err);
	if (r < 0)
		return r;
	return txn_end(&t, write_signature(&t, hash, sig, len, err), err);
}

int store_prune_signatures(struct store *store, struct err *err)
{
	struct txn t;
	int r = txn_begin(&t, store, NULL, err);
	if (r < 0)
		return r;
	return txn_end(&t, conn_run(t.conn, SQL_SIGNATURE_PRUNE, err), err);
}
