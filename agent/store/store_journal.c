/* The passive's side of the index: the batch being published, and its end. */
#include "agent/store/store_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- the journal ------------------------------------------------------------------------------
 */

static int journal_is_empty(struct txn *t, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_JOURNAL_ANY, err);
	if (!s)
		return err_wrap(err, "journal");
	int r = statement_step(s, err);
	if (r > 0)
		return err_set(err, -EEXIST, "a batch is journaled already");
	return r;
}

static int add_row(struct txn *t, size_t position, const struct journal_row *row, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_JOURNAL_ADD, err);
	if (!s)
		return err_wrap(err, "journal");
	entry_bind(s, &row->entry);
	bind_int(s, 23, (int64_t)position);
	bind_int(s, 24, row->op);
	BUG_ON(sqlite3_bind_text(s, 25, row->temp, -1, SQLITE_STATIC) != SQLITE_OK);
	bind_int(s, 26, (int64_t)row->temp_ino);
	bind_int(s, 27, row->install_mtime_ns);
	bind_int(s, 28, row->keep_foreign);
	return statement_run(s, err);
}

int store_journal_begin(struct store *store, const struct journal_row *rows, size_t n,
			struct err *err)
{
	struct txn t;
	int r = txn_begin(&t, store, NULL, err);
	if (r < 0)
		return r;
	r = journal_is_empty(&t, err);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = add_row(&t, i, &rows[i], err);
	return txn_end(&t, r, err);
}

static int read_rows(struct store *store, struct journal_row **out, size_t *n, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(store->reader, SQL_JOURNAL_ALL, err);
	if (!s)
		return err_wrap(err, "journal");
	size_t cap = 0;
	int r;
	while ((r = statement_step(s, err)) > 0) {
		GROW(*out, cap, *n + 1);
		struct journal_row *row = &(*out)[(*n)++];
		struct index_entry view;
		*row = (struct journal_row){0};
		entry_view(&view, s);
		index_entry_copy(&row->entry, &view);
		row->op = (enum journal_op)sqlite3_column_int(s, ENTRY_N);
		snprintf(row->temp, sizeof(row->temp), "%s", column_path(s, ENTRY_N + 1));
		row->temp_ino = (uint64_t)sqlite3_column_int64(s, ENTRY_N + 2);
		row->install_mtime_ns = sqlite3_column_int64(s, ENTRY_N + 3);
		row->keep_foreign = sqlite3_column_int(s, ENTRY_N + 4);
	}
	return r;
}

int store_journal_load(struct store *store, struct journal_row **out, size_t *n, struct err *err)
{
	*out = NULL;
	*n = 0;
	pthread_mutex_lock(&store->read_lock);
	int r = read_rows(store, out, n, err);
	pthread_mutex_unlock(&store->read_lock);
	if (r < 0) {
		journal_rows_free(*out, *n);
		*out = NULL;
		*n = 0;
	}
	return r;
}

void journal_rows_free(struct journal_row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++)
		index_entry_release(&rows[i].entry);
	free(rows);
}

/* ---- the end of a batch -----------------------------------------------------------------------
 */

/* What the active itself installs (an earlier state that is made current again, epoch 0) is a
 * change like any: it gets the next seq in the transaction that makes it current. So does what it
 * only put back, when somebody's change was captured in the meantime: the peers may have that. */
static void number(struct txn *t, struct index_entry *entry, const struct index_entry *old)
{
	bool overtaken = old && old->rec.seq > entry->rec.seq;
	if (t->state.role != WIRE_ROLE_ACTIVE || (entry->rec.epoch != 0 && !overtaken))
		return;
	entry->rec.epoch = t->epoch;
	entry->rec.seq = t->state.last_seq + 1;
}

static int install(struct txn *t, const struct installed *done, struct err *err)
{
	struct index_entry numbered = *done->entry;
	const struct index_entry *entry = &numbered;
	sqlite3_stmt *get;
	struct index_entry view;
	int r = txn_get(&get, &view, t, entry->rec.path, err);
	const struct index_entry *old = r > 0 ? &view : NULL;
	if (!done->forget)
		number(t, &numbered, old);
	if (old && (old->rec.kind == RECORD_DIR || old->flags & ENTRY_KEPT) &&
	    (entry->rec.kind == RECORD_FILE || entry->rec.kind == RECORD_SYMLINK)) {
		/* What was beneath went with the directory; its tombstones may come later. */
		sqlite3_stmt_free(get);
		r = txn_each_beneath(t, entry->rec.path, false, txn_forget_path, err);
		if (r == 0)
			r = txn_get(&get, &view, t, entry->rec.path, err);
	}
	if (r >= 0 && old && done->keep)
		r = txn_promise(t, done->keep, old, &entry->rec, err);
	if (r < 0)
		return r;
	if (done->forget)
		r = old ? txn_forget(t, old, err) : 0;
	else if (entry->rec.kind == RECORD_ABSENT)
		r = txn_bury(t, old, entry->rec.path, entry->rec.epoch, entry->rec.seq,
			     entry->flags, err);
	else
		r = txn_put(t, old, entry, err);
	sqlite3_stmt_free(get);
	if (t->state.last_seq < entry->rec.seq)
		t->state.last_seq = entry->rec.seq;
	return r;
}

/* What the batch did to a directory's times is taken over, unless the directory was captured since:
 * that record is of what was there in between, and has to be looked at again. */
static int take_over(struct txn *t, const struct index_entry *touched, struct err *err)
{
	sqlite3_stmt *get;
	struct index_entry view;
	int r = txn_get(&get, &view, t, touched->rec.path, err);
	bool same =
		r > 0 && view.rec.seq == touched->rec.seq && view.rec.epoch == touched->rec.epoch;
	sqlite3_stmt_free(get);
	if (r < 0 || !same)
		return r < 0 ? r : 0;
	return txn_set_installed(t, touched->rec.path, &touched->inst, -1, err);
}

static int end_batch(struct txn *t, const struct installed *done, size_t n,
		     const struct index_entry *touched, size_t n_touched, struct err *err)
{
	int r = 0;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = install(t, &done[i], err);
	for (size_t i = 0; r == 0 && i < n_touched; i++)
		r = take_over(t, &touched[i], err);
	return r < 0 ? r : conn_run(t->conn, SQL_JOURNAL_CLEAR, err);
}

int store_journal_end(struct store *store, const struct installed *done, size_t n,
		      const struct index_entry *touched, size_t n_touched, struct err *err)
{
	struct txn t;
	int r = txn_begin(&t, store, n > 0 ? "install" : NULL, err);
	if (r < 0)
		return r;
	return txn_end(&t, end_batch(&t, done, n, touched, n_touched, err), err);
}

int store_set_installed(struct store *store, const struct index_entry *entries, size_t n,
			struct err *err)
{
	struct txn t;
	int r = txn_begin(&t, store, NULL, err);
	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = txn_set_installed(&t, entries[i].rec.path, &entries[i].inst,
				      (int)entries[i].flags, err);
	return txn_end(&t, r, err);
}
