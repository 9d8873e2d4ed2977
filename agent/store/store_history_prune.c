/* Forgetting the oldest: undo rows in the order in which they were written, and with them the
 * barriers that they led back to and the content that only they needed. */
#include "agent/store/store_private.h"

struct oldest {
	uint64_t txn;
	char *path;
	int64_t until_ns;
	bool has_hash;
	uint8_t hash[HASH_LEN];
};

struct forgetting {
	struct txn txn;
	const struct history_limits *limits;
	struct kept_object *freed;
	size_t n, cap;
	uint64_t last_txn; /* of the rows that went; 0 = none */
	bool more;
};

static bool exceeds(const struct forgetting *f, const struct oldest *row)
{
	const struct history_counts *now = &f->txn.history;
	return row->until_ns < f->limits->oldest_ns ||
	       now->bytes + now->versions * HISTORY_ROW_BYTES > f->limits->max_bytes;
}

static int list_oldest(struct txn *t, struct oldest *rows, size_t max, size_t *n, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_UNDO_OLDEST, err);
	if (!s)
		return err_wrap(err, "list the oldest versions");
	bind_int(s, 1, (int64_t)max);
	int r;
	while ((r = statement_step(s, err)) > 0) {
		struct oldest *row = &rows[(*n)++];
		row->txn = (uint64_t)sqlite3_column_int64(s, 0);
		row->path = x_strdup(column_path(s, 1));
		row->until_ns = sqlite3_column_int64(s, 2);
		row->has_hash = column_fixed(s, 3, row->hash, HASH_LEN);
	}
	return r;
}

static int is_needed(struct txn *t, const uint8_t hash[HASH_LEN], struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_UNDO_NEEDS, err);
	if (!s)
		return err_wrap(err, "look up who needs a version");
	bind_hash(s, 1, hash);
	return statement_step(s, err);
}

static int free_content(struct forgetting *f, const uint8_t hash[HASH_LEN], struct err *err)
{
	int r = is_needed(&f->txn, hash, err);
	if (r != 0)
		return r < 0 ? r : 0;
	AUTO(sqlite3_stmt) *s = conn_statement(f->txn.conn, SQL_KEPT_FREE, err);
	if (!s)
		return err_wrap(err, "forget a kept version");
	bind_hash(s, 1, hash);
	while ((r = statement_step(s, err)) > 0) {
		GROW(f->freed, f->cap, f->n + 1);
		kept_object_read(&f->freed[f->n], s);
		f->txn.history.bytes -= f->freed[f->n++].size;
	}
	return r;
}

static int forget_row(struct forgetting *f, const struct oldest *row, struct err *err)
{
	{
		AUTO(sqlite3_stmt) *s = conn_statement(f->txn.conn, SQL_UNDO_DELETE, err);
		if (!s)
			return err_wrap(err, "forget a version");
		bind_path(s, 1, row->path);
		bind_int(s, 2, (int64_t)row->txn);
		int r = statement_run(s, err);
		if (r < 0)
			return r;
	}
	f->txn.history.versions--;
	f->last_txn = row->txn;
	return row->has_hash ? free_content(f, row->hash, err) : 0;
}

/* The way back to what was before a forgotten row has a gap. */
static int forget_barriers_before(struct forgetting *f, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(f->txn.conn, SQL_BARRIER_PRUNE, err);
	if (!s)
		return err_wrap(err, "forget barriers");
	bind_int(s, 1, (int64_t)f->last_txn);
	int r = statement_run(s, err);
	f->txn.history.barriers -= r == 0 ? (uint64_t)sqlite3_changes(f->txn.conn->db) : 0;
	return r;
}

static int forget_oldest(struct forgetting *f, size_t max_rows, struct err *err)
{
	size_t n = 0, at = 0;
	AUTO_FREE struct oldest *rows = x_calloc(max_rows, sizeof(*rows));
	int r = list_oldest(&f->txn, rows, max_rows, &n, err);
	for (; r == 0 && at < n && exceeds(f, &rows[at]); at++)
		r = forget_row(f, &rows[at], err);
	f->more = at == max_rows;
	if (r == 0 && f->last_txn != 0)
		r = forget_barriers_before(f, err);
	for (size_t i = 0; i < n; i++)
		free(rows[i].path);
	return r;
}

int store_history_prune(struct store *store, const struct history_limits *limits, size_t max_rows,
			struct kept_object **freed, size_t *n, bool *more, struct err *err)
{
	struct forgetting f = {.limits = limits};
	*freed = NULL;
	*n = 0;
	*more = false;
	int r = txn_begin(&f.txn, store, NULL, err);
	if (r < 0)
		return r;
	r = txn_end(&f.txn, forget_oldest(&f, max_rows, err), err);
	if (r < 0) {
		kept_objects_free(f.freed, f.n);
		return r;
	}
	*freed = f.freed;
	*n = f.n;
	*more = f.more;
	return 0;
}
