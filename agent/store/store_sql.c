#include "agent/store/store_private.h"

#include <errno.h>
#include <string.h>

static const char *const statement_text[SQL_COUNT] = {
#define X(name, text) [SQL_##name] = text,
	STORE_STATEMENTS(X)
#undef X
};

static int errno_of(sqlite3 *db)
{
	int system;
	switch (sqlite3_errcode(db)) {
	case SQLITE_FULL: return -ENOSPC;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB: return -EUCLEAN;
	case SQLITE_BUSY:
	case SQLITE_LOCKED: return -EBUSY;
	case SQLITE_NOMEM: return -ENOMEM;
	case SQLITE_READONLY: return -EROFS;
	case SQLITE_PERM:
	case SQLITE_AUTH: return -EACCES;
	default: system = sqlite3_system_errno(db); return system > 0 ? -system : -EIO;
	}
}

int sql_error(sqlite3 *db, struct err *err, const char *what)
{
	int code = errno_of(db);
	char system[80];
	/* "disk I/O error" may be a full disk. */
	if (sqlite3_errcode(db) == SQLITE_IOERR)
		return err_set(err, code, "%s: %s: %s", what, sqlite3_errmsg(db),
			       strerror_r(-code, system, sizeof(system)));
	return err_set(err, code, "%s: %s", what, sqlite3_errmsg(db));
}

/* The log is written back only after a commit, and no commit succeeds while the log fills the disk.
 * What is written back makes room in it for the next. */
void conn_shrink(struct conn *conn)
{
	sqlite3_wal_checkpoint_v2(conn->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
}

/* ---- connections ------------------------------------------------------------------------------
 */

/* FULL: a commit has reached the disk when it returns; the passive acknowledges on the strength of
 * it. The cache bounds memory whatever the tree holds; the file is not mapped, so an I/O error is
 * an error, not a signal. */
static int configure(sqlite3 *db, bool writer, struct err *err)
{
	const char *settings =
		writer ? "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA "
			 "cache_size=-32768; PRAGMA wal_autocheckpoint=4096;"
			 "PRAGMA temp_store=MEMORY; PRAGMA mmap_size=0; PRAGMA cell_size_check=ON;"
		       : "PRAGMA synchronous=FULL; PRAGMA cache_size=-8192; PRAGMA mmap_size=0;"
			 "PRAGMA temp_store=MEMORY; PRAGMA query_only=ON;";
	if (sqlite3_exec(db, settings, NULL, NULL, NULL) != SQLITE_OK)
		return sql_error(db, err, "configure the state database");
	return 0;
}

/* Before SQLite is used first. Counting what it allocates would take one lock of the whole process
 * twice for every value; nobody asks for the count. */
static void configure_library(void)
{
	sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

int conn_open(struct conn **out, const char *path, bool writer, struct err *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	BUG_ON(pthread_once(&once, configure_library) != 0);
	AUTO(conn) *conn = x_calloc(1, sizeof(*conn));
	int flags =
		SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX; /* a reader, too, recovers the WAL */
	if (sqlite3_open_v2(path, &conn->db, flags, NULL) != SQLITE_OK)
		return sql_error(conn->db, err, "open the state database");
	sqlite3_extended_result_codes(conn->db, 0);
	sqlite3_busy_timeout(conn->db, 10000); /* milliseconds; only WAL recovery ever waits */
	int r = configure(conn->db, writer, err);
	if (r < 0)
		return r;
	*out = STEAL(conn);
	return 0;
}

void conn_free(struct conn *conn)
{
	if (!conn)
		return;
	for (size_t i = 0; i < SQL_COUNT; i++)
		sqlite3_finalize(conn->statements[i]);
	sqlite3_close(conn->db);
	free(conn);
}

sqlite3_stmt *conn_statement(struct conn *conn, enum statement which, struct err *err)
{
	sqlite3_stmt **s = &conn->statements[which];
	if (*s)
		return *s;
	if (sqlite3_prepare_v3(conn->db, statement_text[which], -1, SQLITE_PREPARE_PERSISTENT, s,
			       NULL) != SQLITE_OK)
		sql_error(conn->db, err, "prepare a statement");
	return *s;
}

int statement_step(sqlite3_stmt *s, struct err *err)
{
	switch (sqlite3_step(s)) {
	case SQLITE_ROW: return 1;
	case SQLITE_DONE: return 0;
	default: return sql_error(sqlite3_db_handle(s), err, "state database");
	}
}

int statement_run(sqlite3_stmt *s, struct err *err)
{
	int r;
	do {
		r = statement_step(s, err);
	} while (r > 0);
	return r;
}

int conn_run(struct conn *conn, enum statement which, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(conn, which, err);
	return s ? statement_run(s, err) : err_wrap(err, "state");
}

/* ---- values -----------------------------------------------------------------------------------
 */

void bind_int(sqlite3_stmt *s, int at, int64_t value)
{
	BUG_ON(sqlite3_bind_int64(s, at, value) != SQLITE_OK);
}

void bind_bytes(sqlite3_stmt *s, int at, const void *bytes, size_t len)
{
	BUG_ON(sqlite3_bind_blob64(s, at, bytes, len, SQLITE_STATIC) != SQLITE_OK);
}

void bind_path(sqlite3_stmt *s, int at, const char *path)
{
	bind_bytes(s, at, path, strlen(path));
}

void bind_hash(sqlite3_stmt *s, int at, const uint8_t hash[HASH_LEN])
{
	bind_bytes(s, at, hash, HASH_LEN);
}

const char *column_path(sqlite3_stmt *s, int at)
{
	/* Reading a blob as text only makes sure of the NUL behind it. */
	const unsigned char *text = sqlite3_column_text(s, at);
	return text ? (const char *)text : "";
}

bool column_fixed(sqlite3_stmt *s, int at, void *out, size_t len)
{
	if ((size_t)sqlite3_column_bytes(s, at) != len) {
		memset(out, 0, len);
		return false;
	}
	memcpy(out, sqlite3_column_blob(s, at), len);
	return true;
}

void file_stat_bind(sqlite3_stmt *s, int at, const struct file_stat *st)
{
	bind_int(s, at, (int64_t)st->dev);
	bind_int(s, at + 1, (int64_t)st->ino);
	bind_int(s, at + 2, (int64_t)st->size);
	bind_int(s, at + 3, st->mtime_ns);
	bind_int(s, at + 4, st->ctime_ns);
	bind_int(s, at + 5, st->mode);
	bind_int(s, at + 6, st->uid);
	bind_int(s, at + 7, st->gid);
	bind_int(s, at + 8, (int64_t)st->nlink);
}

void file_stat_column(struct file_stat *out, sqlite3_stmt *s, int at)
{
	out->dev = (uint64_t)sqlite3_column_int64(s, at);
	out->ino = (uint64_t)sqlite3_column_int64(s, at + 1);
	out->size = (uint64_t)sqlite3_column_int64(s, at + 2);
	out->mtime_ns = sqlite3_column_int64(s, at + 3);
	out->ctime_ns = sqlite3_column_int64(s, at + 4);
	out->mode = (uint32_t)sqlite3_column_int64(s, at + 5);
	out->uid = (uint32_t)sqlite3_column_int64(s, at + 6);
	out->gid = (uint32_t)sqlite3_column_int64(s, at + 7);
	out->nlink = (uint64_t)sqlite3_column_int64(s, at + 8);
}

void entry_bind(sqlite3_stmt *s, const struct index_entry *entry)
{
	const struct record *rec = &entry->rec;
	bind_path(s, 1, rec->path);
	bind_int(s, 2, rec->kind);
	bind_int(s, 3, rec->mode);
	bind_int(s, 4, rec->uid);
	bind_int(s, 5, rec->gid);
	bind_int(s, 6, rec->mtime_ns);
	bind_int(s, 7, (int64_t)rec->size);
	bind_bytes(s, 8, rec->kind == RECORD_FILE ? rec->hash : NULL, HASH_LEN);
	bind_bytes(s, 9, rec->target, rec->target_len);
	bind_bytes(s, 10, rec->xattrs_len ? rec->xattrs : NULL, rec->xattrs_len);
	bind_int(s, 11, (int64_t)rec->epoch);
	bind_int(s, 12, (int64_t)rec->seq);
	file_stat_bind(s, 13, &entry->inst);
	bind_int(s, ENTRY_N, entry->flags);
}

void entry_view(struct index_entry *out, sqlite3_stmt *s)
{
	struct record *rec = &out->rec;
	rec->path = column_path(s, 0);
	rec->kind = (enum record_kind)sqlite3_column_int(s, 1);
	rec->mode = (uint32_t)sqlite3_column_int64(s, 2);
	rec->uid = (uint32_t)sqlite3_column_int64(s, 3);
	rec->gid = (uint32_t)sqlite3_column_int64(s, 4);
	rec->mtime_ns = sqlite3_column_int64(s, 5);
	rec->size = (uint64_t)sqlite3_column_int64(s, 6);
	column_fixed(s, 7, rec->hash, HASH_LEN);
	rec->target = sqlite3_column_blob(s, 8);
	rec->target_len = (uint32_t)sqlite3_column_bytes(s, 8);
	rec->xattrs = sqlite3_column_blob(s, 9);
	rec->xattrs_len = (uint32_t)sqlite3_column_bytes(s, 9);
	rec->epoch = (uint64_t)sqlite3_column_int64(s, 10);
	rec->seq = (uint64_t)sqlite3_column_int64(s, 11);
	file_stat_column(&out->inst, s, 12);
	out->flags = (unsigned)sqlite3_column_int64(s, ENTRY_N - 1);
}

void entry_make_plain(struct index_entry *entry)
{
	if (entry->rec.kind != RECORD_ABSENT)
		return;
	entry->rec.size = 0;
	memset(entry->rec.hash, 0, sizeof(entry->rec.hash));
	entry->inst = (struct file_stat){0};
}

static char path_top[257];

static void fill_path_top(void)
{
	memset(path_top, 0xff, sizeof(path_top) - 1);
}

const char *path_above_all(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, fill_path_top);
	return path_top;
}

void path_range_beneath(char **lo, char **hi, const char *path)
{
	if (*path == '\0') {
		*lo = x_strdup("\x01"); /* the least byte a name may begin with */
		*hi = x_strdup(path_above_all());
		return;
	}
	*lo = x_asprintf("%s/", path);
	*hi = x_asprintf("%s0", path); /* '0' follows '/' */
}

/* ---- entries ----------------------------------------------------------------------------------
 */

void index_entry_copy(struct index_entry *out, const struct index_entry *entry)
{
	*out = *entry;
	out->rec.path = entry->rec.path ? x_strdup(entry->rec.path) : NULL;
	out->rec.target =
		entry->rec.target ? x_memdup(entry->rec.target, entry->rec.target_len) : NULL;
	out->rec.xattrs =
		entry->rec.xattrs ? x_memdup(entry->rec.xattrs, entry->rec.xattrs_len) : NULL;
}

void index_entry_release(struct index_entry *entry)
{
	free((void *)entry->rec.path);
	free((void *)entry->rec.target);
	free((void *)entry->rec.xattrs);
	*entry = (struct index_entry){0};
}
