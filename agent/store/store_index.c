/* Reading the index: points through the shared reader, walks through a connection of their own. */
#include "agent/store/store_private.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* ---- points -----------------------------------------------------------------------------------
 */

static int get_entry(struct store *store, const char *path, struct index_entry *out,
		     struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(store->reader, SQL_GET, err);
	if (!s)
		return err_wrap(err, "look up a path");
	bind_path(s, 1, path);
	int r = statement_step(s, err);
	if (r <= 0)
		return r < 0 ? r : err_set(err, -ENOENT, "the path is not in the index");
	struct index_entry view;
	entry_view(&view, s);
	entry_make_plain(&view);
	index_entry_copy(out, &view);
	return 0;
}

void store_begin_reads(struct store *store)
{
	pthread_mutex_lock(&store->read_lock);
	conn_run(store->reader, SQL_BEGIN_READS, NULL);
}

void store_end_reads(struct store *store)
{
	conn_run(store->reader, SQL_COMMIT, NULL);
	pthread_mutex_unlock(&store->read_lock);
}

int store_get(struct store *store, const char *path, struct index_entry *out, struct err *err)
{
	pthread_mutex_lock(&store->read_lock);
	int r = get_entry(store, path, out, err);
	pthread_mutex_unlock(&store->read_lock);
	return r;
}

static int find_inode(struct store *store, const struct file_stat *st, struct index_entry *out,
		      struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(store->reader, SQL_BY_INODE, err);
	if (!s)
		return err_wrap(err, "look up an inode");
	bind_int(s, 1, (int64_t)st->ino);
	bind_int(s, 2, (int64_t)st->dev);
	bind_int(s, 3, (int64_t)st->size);
	bind_int(s, 4, st->mtime_ns);
	bind_int(s, 5, st->ctime_ns);
	int r;
	while ((r = statement_step(s, err)) > 0) {
		struct index_entry view;
		entry_view(&view, s);
		/* Read while its timestamps were too young to tell: the stat proves nothing. */
		if (view.flags & ENTRY_RACY || !S_ISREG(view.inst.mode))
			continue;
		index_entry_copy(out, &view);
		return 0;
	}
	return r < 0 ? r : err_set(err, -ENOENT, "no such inode in the index");
}

int store_find_inode(struct store *store, const struct file_stat *st, struct index_entry *out,
		     struct err *err)
{
	pthread_mutex_lock(&store->read_lock);
	int r = find_inode(store, st, out, err);
	pthread_mutex_unlock(&store->read_lock);
	return r;
}

static int linked_paths(struct store *store, const struct index_entry *entry, char **paths,
			size_t max, size_t *n, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(store->reader, SQL_LINKED, err);
	if (!s)
		return err_wrap(err, "look up hard links");
	bind_int(s, 1, (int64_t)entry->inst.ino);
	bind_path(s, 2, entry->rec.path);
	bind_int(s, 3, (int64_t)max);
	bind_int(s, 4, entry->inst.nlink);
	int r;
	while ((r = statement_step(s, err)) > 0)
		paths[(*n)++] = x_strdup(column_path(s, 0));
	return r;
}

int store_linked_paths(struct store *store, const struct index_entry *entry, char **paths,
		       size_t max, size_t *n, struct err *err)
{
	*n = 0;
	pthread_mutex_lock(&store->read_lock);
	int r = linked_paths(store, entry, paths, max, n, err);
	pthread_mutex_unlock(&store->read_lock);
	return r;
}

static int linked_beneath(struct store *store, const char *dir, char **paths, size_t max, size_t *n,
			  struct err *err)
{
	AUTO_FREE char *lo = NULL;
	AUTO_FREE char *hi = NULL;
	path_range_beneath(&lo, &hi, dir);
	AUTO(sqlite3_stmt) *s = conn_statement(store->reader, SQL_LINKED_BENEATH, err);
	if (!s)
		return err_wrap(err, "look up hard links");
	bind_path(s, 1, lo);
	bind_path(s, 2, hi);
	bind_int(s, 3, (int64_t)max);
	int r;
	while ((r = statement_step(s, err)) > 0)
		paths[(*n)++] = x_strdup(column_path(s, 0));
	return r;
}

int store_linked_beneath(struct store *store, const char *dir, char **paths, size_t max, size_t *n,
			 struct err *err)
{
	*n = 0;
	pthread_mutex_lock(&store->read_lock);
	int r = linked_beneath(store, dir, paths, max, n, err);
	pthread_mutex_unlock(&store->read_lock);
	return r;
}

static int content_paths(struct store *store, const uint8_t hash[HASH_LEN], char **paths,
			 size_t max, size_t *n, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(store->reader, SQL_BY_HASH, err);
	if (!s)
		return err_wrap(err, "look up content");
	bind_hash(s, 1, hash);
	bind_int(s, 2, (int64_t)max);
	int r;
	while ((r = statement_step(s, err)) > 0)
		paths[(*n)++] = x_strdup(column_path(s, 0));
	return r;
}

int store_content_paths(struct store *store, const uint8_t hash[HASH_LEN], char **paths, size_t max,
			size_t *n, struct err *err)
{
	*n = 0;
	pthread_mutex_lock(&store->read_lock);
	int r = content_paths(store, hash, paths, max, n, err);
	pthread_mutex_unlock(&store->read_lock);
	return r;
}

/* ---- walks ------------------------------------------------------------------------------------
 */

struct store_cursor {
	struct store *store;
	struct conn *conn;
	sqlite3_stmt *rows;
	char *lo, *hi; /* bound to the statement, which borrows them */
	struct index_entry entry;
};

int store_cursor_open(struct store_cursor **out, struct store *store, const char *lo,
		      const char *hi, struct err *err)
{
	AUTO(store_cursor) *cursor = x_calloc(1, sizeof(*cursor));
	cursor->store = store;
	int r = store_take_reader(&cursor->conn, store, err);
	if (r < 0)
		return r;
	cursor->rows = conn_statement(cursor->conn, SQL_RANGE, err);
	if (!cursor->rows)
		return err_wrap(err, "walk the index");
	cursor->lo = x_strdup(lo);
	cursor->hi = x_strdup(*hi ? hi : path_above_all());
	bind_path(cursor->rows, 1, cursor->lo);
	bind_path(cursor->rows, 2, cursor->hi);
	*out = STEAL(cursor);
	return 0;
}

int store_cursor_next(struct store_cursor *cursor, const struct index_entry **entry,
		      struct err *err)
{
	int r = statement_step(cursor->rows, err);
	if (r <= 0)
		return r;
	entry_view(&cursor->entry, cursor->rows);
	entry_make_plain(&cursor->entry);
	*entry = &cursor->entry;
	return 1;
}

void store_cursor_free(struct store_cursor *cursor)
{
	if (!cursor)
		return;
	sqlite3_stmt_free(cursor->rows);
	if (cursor->conn)
		store_give_reader(cursor->store, cursor->conn);
	free(cursor->lo);
	free(cursor->hi);
	free(cursor);
}
