/* The catalogue of what was moved out of the way. */
#include "agent/store/store_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int add_row(struct txn *t, const struct salvage_row *row, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_SALVAGE_ADD, err);
	if (!s)
		return err_wrap(err, "salvage catalogue");
	BUG_ON(sqlite3_bind_text(s, 1, row->id, -1, SQLITE_STATIC) != SQLITE_OK);
	bind_path(s, 2, row->path);
	bind_path(s, 3, row->root_at);
	BUG_ON(sqlite3_bind_text(s, 4, row->why, -1, SQLITE_STATIC) != SQLITE_OK);
	bind_int(s, 5, row->when_ns);
	bind_int(s, 6, (int64_t)row->epoch);
	file_stat_bind(s, 7, &row->stat);
	bind_int(s, 16, (int64_t)row->bytes);
	if (row->has_hash)
		bind_hash(s, 17, row->hash);
	t->salvaged_bytes += (int64_t)row->bytes;
	return statement_run(s, err);
}

int store_salvage_begin(struct store *store, const struct salvage_row *row, struct err *err)
{
	struct txn t;
	int r = txn_begin(&t, store, NULL, err);
	if (r < 0)
		return r;
	return txn_end(&t, add_row(&t, row, err), err);
}

static int complete_row(struct txn *t, const char *id, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_SALVAGE_COMPLETE, err);
	if (!s)
		return err_wrap(err, "salvage catalogue");
	BUG_ON(sqlite3_bind_text(s, 1, id, -1, SQLITE_STATIC) != SQLITE_OK);
	int r = statement_run(s, err);
	t->salvaged += r == 0 ? sqlite3_changes(t->conn->db) : 0;
	return r;
}

static int record_end(struct store *store, const char *id, struct err *err)
{
	struct txn t;
	int r = txn_begin(&t, store, NULL, err);
	if (r < 0)
		return r;
	return txn_end(&t, complete_row(&t, id, err), err);
}

int store_salvage_end(struct store *store, const char *id, struct err *err)
{
	int r = record_end(store, id, err);
	if (r == 0)
		return 0;
	struct unfinished *left = x_calloc(1, sizeof(*left));
	snprintf(left->id, sizeof(left->id), "%s", id);
	pthread_mutex_lock(&store->state_lock);
	left->next = store->unfinished;
	store->unfinished = left;
	pthread_mutex_unlock(&store->state_lock);
	return r;
}

static struct unfinished *take_unfinished(struct store *store)
{
	pthread_mutex_lock(&store->state_lock);
	struct unfinished *left = store->unfinished;
	if (left)
		store->unfinished = left->next;
	pthread_mutex_unlock(&store->state_lock);
	return left;
}

int store_salvage_end_left(struct store *store, struct err *err)
{
	struct unfinished *left;
	int r = 0;
	while (r == 0 && (left = take_unfinished(store))) {
		r = store_salvage_end(store, left->id, err);
		free(left);
	}
	return r;
}

void salvage_forget_unfinished(struct store *store)
{
	struct unfinished *left;
	while ((left = take_unfinished(store)))
		free(left);
}

static int forget_row(struct txn *t, const char *id, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_SALVAGE_FORGET, err);
	if (!s)
		return err_wrap(err, "salvage catalogue");
	BUG_ON(sqlite3_bind_text(s, 1, id, -1, SQLITE_STATIC) != SQLITE_OK);
	int r;
	while ((r = statement_step(s, err)) > 0) {
		t->salvaged -= sqlite3_column_int(s, 0);
		t->salvaged_bytes -= sqlite3_column_int64(s, 1);
	}
	return r;
}

int store_salvage_forget(struct store *store, const char *id, struct err *err)
{
	struct txn t;
	int r = txn_begin(&t, store, NULL, err);
	if (r < 0)
		return r;
	return txn_end(&t, forget_row(&t, id, err), err);
}

static void read_row(struct salvage_row *row, sqlite3_stmt *s)
{
	*row = (struct salvage_row){0};
	snprintf(row->id, sizeof(row->id), "%s", column_path(s, 0));
	row->path = x_strdup(column_path(s, 1));
	row->root_at = x_strdup(column_path(s, 2));
	row->why = x_strdup(column_path(s, 3));
	row->when_ns = sqlite3_column_int64(s, 4);
	row->epoch = (uint64_t)sqlite3_column_int64(s, 5);
	file_stat_column(&row->stat, s, 6);
	row->complete = sqlite3_column_int(s, 15);
	row->seen = sqlite3_column_int(s, 16);
	row->bytes = (uint64_t)sqlite3_column_int64(s, 17);
	row->has_hash = column_fixed(s, 18, row->hash, HASH_LEN);
}

static int read_rows(struct store *store, struct salvage_row **out, size_t *n, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(store->reader, SQL_SALVAGE_ALL, err);
	if (!s)
		return err_wrap(err, "salvage catalogue");
	size_t cap = 0;
	int r;
	while ((r = statement_step(s, err)) > 0) {
		GROW(*out, cap, *n + 1);
		read_row(&(*out)[(*n)++], s);
	}
	return r;
}

int store_salvage_list(struct store *store, struct salvage_row **out, size_t *n, struct err *err)
{
	*out = NULL;
	*n = 0;
	pthread_mutex_lock(&store->read_lock);
	int r = read_rows(store, out, n, err);
	pthread_mutex_unlock(&store->read_lock);
	if (r < 0) {
		salvage_rows_free(*out, *n);
		*out = NULL;
		*n = 0;
	}
	return r;
}

uint64_t store_salvage_count(struct store *store)
{
	pthread_mutex_lock(&store->state_lock);
	uint64_t count = store->salvaged;
	pthread_mutex_unlock(&store->state_lock);
	return count;
}

uint64_t store_salvage_bytes(struct store *store)
{
	pthread_mutex_lock(&store->state_lock);
	uint64_t bytes = store->salvaged_bytes;
	pthread_mutex_unlock(&store->state_lock);
	return bytes;
}

void salvage_rows_free(struct salvage_row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(rows[i].path);
		free(rows[i].root_at);
		free(rows[i].why);
	}
	free(rows);
}
