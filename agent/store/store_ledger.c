/* The ledger's last line, and the entries that wait to become lines: made durable with the change
 * of roles that they tell of, so that no crash after it can lose what they say. */
#include "agent/store/store_private.h"

#include <string.h>

/* ---- entries that wait ------------------------------------------------------------------------
 */

int txn_add_entry(struct txn *t, const char *entry, uint64_t *n, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_ENTRY_ADD, err);
	if (!s)
		return err_wrap(err, "store an entry of the ledger");
	sqlite3_bind_text(s, 1, entry, -1, SQLITE_TRANSIENT);
	int r = statement_run(s, err);
	if (r == 0 && n)
		*n = (uint64_t)sqlite3_last_insert_rowid(t->conn->db);
	return r;
}

static int read_entry(struct store *store, uint64_t after, uint64_t *n, char **entry,
		      struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(store->reader, SQL_ENTRY_NEXT, err);
	if (!s)
		return err_wrap(err, "read an entry of the ledger");
	bind_int(s, 1, (int64_t)after);
	int r = statement_step(s, err);
	if (r <= 0)
		return r;
	*n = (uint64_t)sqlite3_column_int64(s, 0);
	*entry = x_strdup((const char *)sqlite3_column_text(s, 1));
	return 1;
}

int store_next_entry(struct store *store, uint64_t after, uint64_t *n, char **entry,
		     struct err *err)
{
	pthread_mutex_lock(&store->read_lock);
	int r = read_entry(store, after, n, entry, err);
	pthread_mutex_unlock(&store->read_lock);
	return r;
}

static int replace_entry(struct txn *t, uint64_t n, const char *entry, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_ENTRY_SET, err);
	if (!s)
		return err_wrap(err, "store an entry of the ledger");
	bind_int(s, 1, (int64_t)n);
	sqlite3_bind_text(s, 2, entry, -1, SQLITE_TRANSIENT);
	return statement_run(s, err);
}

int store_set_entry(struct store *store, uint64_t n, const char *entry, struct err *err)
{
	struct txn t;
	int r = txn_begin(&t, store, NULL, err);
	if (r < 0)
		return r;
	r = replace_entry(&t, n, entry, err);
	return txn_end(&t, r, err);
}

/* ---- the last line ----------------------------------------------------------------------------
 */

static int read_head(struct store *store, uint64_t *n, uint8_t hash[HASH_LEN], struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(store->reader, SQL_LEDGER_GET, err);
	if (!s)
		return err_wrap(err, "read the ledger's head");
	int r = statement_step(s, err);
	if (r <= 0)
		return r;
	*n = (uint64_t)sqlite3_column_int64(s, 0);
	column_fixed(s, 1, hash, HASH_LEN);
	return 0;
}

int store_ledger_head(struct store *store, uint64_t *n, uint8_t hash[HASH_LEN], struct err *err)
{
	*n = 0;
	memset(hash, 0, HASH_LEN);
	pthread_mutex_lock(&store->read_lock);
	int r = read_head(store, n, hash, err);
	pthread_mutex_unlock(&store->read_lock);
	return r;
}

static int write_head(struct txn *t, uint64_t n, const uint8_t hash[HASH_LEN], struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_LEDGER_SET, err);
	if (!s)
		return err_wrap(err, "store the ledger's head");
	bind_int(s, 1, (int64_t)n);
	bind_bytes(s, 2, hash, HASH_LEN);
	return statement_run(s, err);
}

static int drop_entry(struct txn *t, uint64_t n, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_ENTRY_DROP, err);
	if (!s)
		return err_wrap(err, "forget an entry of the ledger");
	bind_int(s, 1, (int64_t)n);
	return statement_run(s, err);
}

int store_entry_written(struct store *store, uint64_t entry_n, uint64_t n,
			const uint8_t hash[HASH_LEN], struct err *err)
{
	struct txn t;
	int r = txn_begin(&t, store, NULL, err);
	if (r < 0)
		return r;
	r = write_head(&t, n, hash, err);
	if (r == 0)
		r = drop_entry(&t, entry_n, err);
	return txn_end(&t, r, err);
}
