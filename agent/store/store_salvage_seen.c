/* Which of the salvage a person has been shown. */
#include "agent/store/store_private.h"

static int see(struct txn *t, const char *id, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_SALVAGE_SEEN, err);
	if (!s)
		return err_wrap(err, "salvage catalogue");
	BUG_ON(sqlite3_bind_text(s, 1, id, -1, SQLITE_STATIC) != SQLITE_OK);
	return statement_run(s, err);
}

static int see_all(struct txn *t, const struct salvage_row *rows, size_t n, struct err *err)
{
	int r = 0;
	for (size_t i = 0; r == 0 && i < n; i++) {
		if (rows[i].complete && !rows[i].seen)
			r = see(t, rows[i].id, err);
	}
	return r;
}

int store_salvage_see(struct store *store, const struct salvage_row *rows, size_t n,
		      struct err *err)
{
	struct txn t;
	int r = txn_begin(&t, store, NULL, err);
	if (r < 0)
		return r;
	return txn_end(&t, see_all(&t, rows, n, err), err);
}

static int count_unseen(struct store *store, uint64_t *out, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(store->reader, SQL_SALVAGE_UNSEEN, err);
	if (!s)
		return err_wrap(err, "salvage catalogue");
	int r = statement_step(s, err);
	if (r > 0)
		*out = (uint64_t)sqlite3_column_int64(s, 0);
	return r < 0 ? r : 0;
}

int store_salvage_unseen(struct store *store, uint64_t *out, struct err *err)
{
	*out = 0;
	pthread_mutex_lock(&store->read_lock);
	int r = count_unseen(store, out, err);
	pthread_mutex_unlock(&store->read_lock);
	return r;
}
