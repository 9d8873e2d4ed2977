#include "agent/store/store_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/base/fault.h"
#include "protocol/wr.h"

#define NS_PER_S INT64_C(1000000000)
#define LOCK_NAP_NS 20000000 /* between two attempts to take the lock ... */
#define LOCK_NAPS 250	     /* ... of which there are so many */

/* ---- making one -------------------------------------------------------------------------------
 */

static int insert_state(sqlite3 *db, const struct store_state *initial, struct err *err)
{
	static const char sql[] =
		"INSERT INTO state VALUES(1,?1,?2,?3,?4,?5,?6,?7,0,?8,?9,0,0,0,0,0,0,?8,1,?10)";
	static const uint8_t zero[HASH_LEN];
	const struct digest empty = {0};
	uint8_t saved[DIGEST_STATE_LEN], digest[HASH_LEN];
	digest_save(saved, &empty);
	hash_bytes(digest, saved, sizeof(saved));
	sqlite3_stmt *s;
	if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK)
		return sql_error(db, err, "write the first state");
	BUG_ON(sqlite3_bind_text(s, 1, initial->node, -1, SQLITE_STATIC) != SQLITE_OK);
	BUG_ON(sqlite3_bind_text(s, 2, initial->group, -1, SQLITE_STATIC) != SQLITE_OK);
	bind_int(s, 3, initial->role);
	bind_int(s, 4, initial->adopt);
	bind_int(s, 5, initial->populated_checked);
	bind_int(s, 6, initial->preserve_ownership);
	bind_int(s, 7, (int64_t)initial->last_seq);
	bind_hash(s, 8, zero);
	bind_hash(s, 9, digest);
	bind_bytes(s, 10, saved, sizeof(saved));
	int r = statement_run(s, err);
	sqlite3_finalize(s);
	return r;
}

static int insert_epoch(sqlite3 *db, const struct epoch_entry *epoch, struct err *err)
{
	static const char sql[] = "INSERT INTO lineage VALUES(0,?1,?2,?3,?4,?5,?6)";
	sqlite3_stmt *s;
	if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK)
		return sql_error(db, err, "write the first epoch");
	bind_int(s, 1, (int64_t)epoch->number);
	bind_bytes(s, 2, epoch->id, WIRE_ID_LEN);
	bind_bytes(s, 3, epoch->parent, WIRE_ID_LEN);
	bind_int(s, 4, (int64_t)epoch->base_seq);
	BUG_ON(sqlite3_bind_text(s, 5, epoch->node, -1, SQLITE_STATIC) != SQLITE_OK);
	bind_bytes(s, 6, epoch->ends, WIRE_ID_LEN);
	int r = statement_run(s, err);
	sqlite3_finalize(s);
	return r;
}

static int fill_new(const char *path, const struct store_state *initial,
		    const struct epoch_entry *first_epoch, struct err *err)
{
	AUTO(conn) *conn = NULL;
	int r = conn_open(&conn, path, true, err);
	if (r < 0)
		return r;
	char pragmas[96];
	snprintf(pragmas, sizeof(pragmas),
		 "PRAGMA application_id=%d; PRAGMA user_version=%d; BEGIN", STORE_APPLICATION_ID,
		 STORE_SCHEMA_VERSION);
	if (sqlite3_exec(conn->db, pragmas, NULL, NULL, NULL) != SQLITE_OK ||
	    sqlite3_exec(conn->db, store_schema, NULL, NULL, NULL) != SQLITE_OK)
		return sql_error(conn->db, err, "create the tables");
	r = insert_state(conn->db, initial, err);
	if (r == 0 && first_epoch)
		r = insert_epoch(conn->db, first_epoch, err);
	if (r == 0 && sqlite3_exec(conn->db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
		r = sql_error(conn->db, err, "write the first state");
	return r;
}

/* Filled under another name and then linked: state.db is whole from the moment it is there, and one
 * that is there is never replaced. */
static int publish_new(int dirfd, struct err *err)
{
	int fault = fault_point("store create");
	if (fault)
		return err_sys(err, fault, "create " STORE_DB_NAME);
	if (linkat(dirfd, STORE_NEW_NAME, dirfd, STORE_DB_NAME, 0) < 0)
		return err_sys(err, errno, "create " STORE_DB_NAME);
	if (fsync(dirfd) < 0)
		return err_sys(err, errno, "sync the state directory");
	return 0;
}

int store_create(const char *state_dir, const struct store_state *initial,
		 const struct epoch_entry *first_epoch, struct err *err)
{
	AUTO_CLOSE int dirfd = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0)
		return err_sys(err, errno, "open the state directory %s", state_dir);
	if (faccessat(dirfd, STORE_DB_NAME, F_OK, 0) == 0)
		return err_set(err, -EEXIST, "%s already holds a node's state", state_dir);
	unlinkat(dirfd, STORE_NEW_NAME, 0); /* of an `init` that was interrupted */
	unlinkat(dirfd, STORE_NEW_NAME "-wal", 0);
	unlinkat(dirfd, STORE_NEW_NAME "-shm", 0);
	AUTO_CLOSE int fd =
		openat(dirfd, STORE_NEW_NAME, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(err, errno, "create %s/" STORE_NEW_NAME, state_dir);
	AUTO_FREE char *path = x_asprintf("%s/" STORE_NEW_NAME, state_dir);
	int r = fill_new(path, initial, first_epoch, err);
	if (r == 0 && fsync(fd) < 0)
		r = err_sys(err, errno, "sync %s", path);
	if (r == 0)
		r = publish_new(dirfd, err);
	unlinkat(dirfd, STORE_NEW_NAME, 0);
	return r;
}

/* ---- opening ----------------------------------------------------------------------------------
 */

static int pragma_text(char out[64], struct conn *conn, const char *pragma, struct err *err)
{
	sqlite3_stmt *s;
	if (sqlite3_prepare_v2(conn->db, pragma, -1, &s, NULL) != SQLITE_OK)
		return sql_error(conn->db, err, "read the state database");
	int r = statement_step(s, err);
	snprintf(out, 64, "%s", r > 0 ? (const char *)sqlite3_column_text(s, 0) : "");
	sqlite3_finalize(s);
	return r < 0 ? r : 0;
}

static int check_version(struct store *store, struct err *err)
{
	char text[64];
	int r = pragma_text(text, store->writer, "PRAGMA application_id", err);
	if (r < 0)
		return r;
	if (atoi(text) != STORE_APPLICATION_ID)
		return err_set(err, -EUCLEAN, "%s is not the state of an artifact-sync node",
			       store->db_path);
	r = pragma_text(text, store->writer, "PRAGMA user_version", err);
	if (r < 0)
		return r;
	if (atoi(text) != STORE_SCHEMA_VERSION)
		return err_set(
			err, -EPROTONOSUPPORT,
			"%s has schema %s, this program knows %d: start the program that wrote it",
			store->db_path, text, STORE_SCHEMA_VERSION);
	return 0;
}

/* The whole file is looked through only after an end that was not clean: it takes seconds for a
 * large tree. */
static int check_integrity(struct store *store, struct err *err)
{
	{
		AUTO(sqlite3_stmt) *s = conn_statement(store->writer, SQL_GET_CLEAN, err);
		if (!s)
			return err_wrap(err, "check %s", store->db_path);
		int r = statement_step(s, err);
		if (r < 0)
			return r;
		if (r == 0)
			return err_set(err, -EUCLEAN, "%s holds no state", store->db_path);
		if (sqlite3_column_int(s, 0) == 1) {
			store->last_vouched_ns = 0;
			return 0;
		}
	}
	char text[64];
	int r = pragma_text(text, store->writer, "PRAGMA quick_check(1)", err);
	if (r < 0)
		return r;
	if (strcmp(text, "ok") != 0)
		return err_set(err, -EUCLEAN,
			       "%s is damaged (%s): move the state directory away and let the node "
			       "join again",
			       store->db_path, text);
	return 0;
}

static void copy_name(char out[WIRE_NAME_MAX + 1], sqlite3_stmt *s, int at)
{
	snprintf(out, WIRE_NAME_MAX + 1, "%s", column_path(s, at));
}

static int load_state(struct store *store, struct err *err)
{
	struct store_state *state = &store->state;
	AUTO(sqlite3_stmt) *s = conn_statement(store->writer, SQL_LOAD_STATE, err);
	int r = s ? statement_step(s, err) : err_wrap(err, "load state");
	if (r <= 0)
		return r < 0 ? r : err_set(err, -EUCLEAN, "%s holds no state", store->db_path);
	copy_name(state->node, s, 0);
	copy_name(state->group, s, 1);
	state->role = (uint8_t)sqlite3_column_int(s, 2);
	state->adopt = sqlite3_column_int(s, 3);
	state->populated_checked = sqlite3_column_int(s, 4);
	state->preserve_ownership = sqlite3_column_int(s, 5);
	state->last_seq = (uint64_t)sqlite3_column_int64(s, 6);
	state->chain_n = (uint64_t)sqlite3_column_int64(s, 7);
	column_fixed(s, 8, state->chain, HASH_LEN);
	column_fixed(s, 9, state->digest, HASH_LEN);
	state->records = (uint64_t)sqlite3_column_int64(s, 10);
	state->files = (uint64_t)sqlite3_column_int64(s, 11);
	state->bytes = (uint64_t)sqlite3_column_int64(s, 12);
	state->foreign = (uint64_t)sqlite3_column_int64(s, 13);
	state->barrier_seq = (uint64_t)sqlite3_column_int64(s, 14);
	state->barrier_clock_ns = sqlite3_column_int64(s, 15);
	column_fixed(s, 16, state->barrier_digest, HASH_LEN);
	uint8_t saved[DIGEST_STATE_LEN], check[HASH_LEN];
	bool whole = column_fixed(s, 17, saved, sizeof(saved));
	digest_load(&store->set, saved);
	hash_bytes(check, saved, sizeof(saved));
	if (!whole || memcmp(check, state->digest, HASH_LEN) != 0)
		return err_set(err, -EUCLEAN, "%s: the set digest does not fit its hash",
			       store->db_path);
	return 0;
}

static int load_peers(struct store *store, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(store->writer, SQL_PEERS, err);
	int r = s ? 1 : err_wrap(err, "load peers");
	while (s && (r = statement_step(s, err)) > 0) {
		struct peer *peer = x_calloc(1, sizeof(*peer));
		peer->id = sqlite3_column_int64(s, 0);
		copy_name(peer->name, s, 1);
		GROW(store->peers, store->cap_peers, store->n_peers + 1);
		store->peers[store->n_peers++] = peer;
	}
	return r;
}

static int load_counts(struct store *store, struct err *err)
{
	AUTO(sqlite3_stmt) *notes = conn_statement(store->writer, SQL_NOTE_COUNTS, err);
	AUTO(sqlite3_stmt) *salvage = conn_statement(store->writer, SQL_SALVAGE_COUNT, err);
	if (!notes || !salvage)
		return err_wrap(err, "load counts");
	int r;
	while ((r = statement_step(notes, err)) > 0) {
		int kind = sqlite3_column_int(notes, 0);
		if (kind >= 0 && kind < STORE_NOTE_KINDS)
			store->notes[kind] = (uint64_t)sqlite3_column_int64(notes, 1);
	}
	if (r == 0)
		r = statement_step(salvage, err);
	if (r > 0) {
		store->salvaged = (uint64_t)sqlite3_column_int64(salvage, 0);
		store->salvaged_bytes = (uint64_t)sqlite3_column_int64(salvage, 1);
	}
	return r < 0 ? r : 0;
}

static int load_epoch(struct store *store, struct err *err)
{
	AUTO_FREE struct epoch_entry *entries = NULL;
	size_t n;
	int r = store_lineage(store, &entries, &n, err);
	if (r == 0 && n > 0)
		store->epoch = entries[n - 1].number;
	return r;
}

static int mark_clean(struct store *store, bool clean, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(store->writer, SQL_SET_CLEAN, err);
	if (!s)
		return err_wrap(err, "mark %s", store->db_path);
	int fault = fault_point("store mark");
	if (fault)
		return err_sys(err, fault, "mark %s", store->db_path);
	bind_int(s, 1, clean);
	return statement_run(s, err);
}

int64_t store_last_vouched_ns(const struct store *store)
{
	return store->last_vouched_ns;
}

/* Not durable, and need not be: after a power failure an older time comes back, and more is
 * doubted. */
void store_set_vouched(const struct store *store, int64_t real_ns)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
				    {.tv_sec = real_ns / NS_PER_S, .tv_nsec = real_ns % NS_PER_S}};
	futimens(store->lock_fd, times);
}

/* An agent that was killed while it started a child leaves the lock to that for the moment until
 * the child's program begins: whoever starts the next agent at once is not to be refused. */
static int take_lock(int fd)
{
	const struct timespec nap = {.tv_nsec = LOCK_NAP_NS};
	for (int i = 0; i < LOCK_NAPS; i++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK && errno != EINTR)
			break;
		nanosleep(&nap, NULL);
	}
	return -errno;
}

static int lock_state(struct store *store, struct err *err)
{
	struct stat st;
	AUTO_FREE char *path = x_asprintf("%s/" STORE_LOCK_NAME, store->dir);
	if (stat(path, &st) == 0)
		store->last_vouched_ns = (int64_t)st.st_mtim.tv_sec * NS_PER_S + st.st_mtim.tv_nsec;
	store->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (store->lock_fd < 0)
		return err_sys(err, errno, "open %s", path);
	int r = take_lock(store->lock_fd);
	if (r == 0)
		return 0;
	if (r == -EWOULDBLOCK || r == -EINTR)
		return err_set(err, -EBUSY,
			       "%s is in use: another agent runs with this state directory",
			       store->dir);
	return err_sys(err, errno, "lock %s", path);
}

static int open_all(struct store *store, struct err *err)
{
	if (access(store->db_path, F_OK) < 0)
		return err_sys(err, errno, "%s (make it with `artifact-sync init`)",
			       store->db_path);
	int r = lock_state(store, err);
	if (r == 0)
		r = conn_open(&store->writer, store->db_path, true, err);
	if (r == 0)
		r = check_version(store, err);
	if (r == 0)
		r = check_integrity(store, err);
	if (r == 0)
		r = conn_open(&store->reader, store->db_path, false, err);
	if (r == 0)
		r = load_state(store, err);
	if (r == 0)
		r = load_peers(store, err);
	if (r == 0)
		r = load_counts(store, err);
	if (r == 0)
		r = history_load_counts(store, err);
	if (r == 0)
		r = load_epoch(store, err);
	return r < 0 ? r : mark_clean(store, false, err);
}

int store_open(struct store **out, const char *state_dir, struct err *err)
{
	struct store *store = x_calloc(1, sizeof(*store));
	store->dir = x_strdup(state_dir);
	store->db_path = x_asprintf("%s/" STORE_DB_NAME, state_dir);
	store->lock_fd = -1;
	store->scratch = x_calloc(1, RECORD_ELEMENT_MAX);
	pthread_mutex_init(&store->write_lock, NULL);
	pthread_mutexattr_t recursive;
	pthread_mutexattr_init(&recursive);
	pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&store->read_lock, &recursive);
	pthread_mutexattr_destroy(&recursive);
	pthread_mutex_init(&store->pool_lock, NULL);
	pthread_mutex_init(&store->state_lock, NULL);
	int r = open_all(store, err);
	if (r < 0) {
		conn_free(STEAL(store->writer)); /* so that the end is not called a clean one */
		store_close(store);
		return r;
	}
	*out = store;
	return 0;
}

void store_close(struct store *store)
{
	if (!store)
		return;
	while (store->pool) {
		struct conn *conn = store->pool;
		store->pool = conn->next;
		conn_free(conn);
	}
	conn_free(store->reader);
	if (store->writer)
		mark_clean(store, true, NULL);
	conn_free(store->writer);
	if (store->lock_fd >= 0)
		close(store->lock_fd);
	for (size_t i = 0; i < store->n_peers; i++) {
		content_map_release(&store->peers[i]->content);
		free(store->peers[i]);
	}
	free(store->peers);
	salvage_forget_unfinished(store);
	pthread_mutex_destroy(&store->write_lock);
	pthread_mutex_destroy(&store->read_lock);
	pthread_mutex_destroy(&store->pool_lock);
	pthread_mutex_destroy(&store->state_lock);
	free(store->scratch);
	free(store->db_path);
	free(store->dir);
	free(store);
}

/* ---- readers ----------------------------------------------------------------------------------
 */

int store_take_reader(struct conn **out, struct store *store, struct err *err)
{
	pthread_mutex_lock(&store->pool_lock);
	*out = store->pool;
	if (*out) {
		store->pool = (*out)->next;
		store->pooled--;
	}
	pthread_mutex_unlock(&store->pool_lock);
	return *out ? 0 : conn_open(out, store->db_path, false, err);
}

void store_give_reader(struct store *store, struct conn *conn)
{
	pthread_mutex_lock(&store->pool_lock);
	bool keep = store->pooled < STORE_IDLE_READERS;
	if (keep) {
		conn->next = store->pool;
		store->pool = conn;
		store->pooled++;
	}
	pthread_mutex_unlock(&store->pool_lock);
	if (!keep)
		conn_free(conn);
}
