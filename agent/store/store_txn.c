/* Transactions: what every write shares. The state as it will be travels in struct txn and becomes
 * the store's only when SQLite has committed, so that memory never says more than the disk. */
#include "agent/store/store_private.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/fault.h"
#include "protocol/wr.h"

#define BURY_CHUNK 512 /* paths held at a time while a subtree goes */

int txn_begin(struct txn *t, struct store *store, const char *what, struct err *err)
{
	pthread_mutex_lock(&store->write_lock);
	*t = (struct txn){.store = store, .conn = store->writer, .what = what};
	int fault = fault_point("store begin");
	int r = fault ? err_sys(err, fault, "state database: begin")
		      : conn_run(t->conn, SQL_BEGIN, err);
	if (r < 0) {
		pthread_mutex_unlock(&store->write_lock);
		return r;
	}
	/* Only a writer changes these, and the write lock is ours. */
	t->state = store->state;
	t->set = store->set;
	t->epoch = store->epoch;
	t->history = store->history;
	t->recording = store->recording;
	t->now_ns = clock_real_ns();
	for (size_t i = 0; i < store->n_peers; i++) {
		struct peer *peer = store->peers[i];
		peer->delta_changes = peer->delta_bytes = 0;
		peer->lower_to = UINT64_MAX;
	}
	return 0;
}

/* ---- ending -----------------------------------------------------------------------------------
 */

static int save_set(struct txn *t, struct err *err)
{
	uint8_t saved[DIGEST_STATE_LEN];
	digest_save(saved, &t->set);
	hash_bytes(t->state.digest, saved, sizeof(saved));
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_SAVE_SET, err);
	if (!s)
		return err_wrap(err, "save digest");
	bind_bytes(s, 1, saved, sizeof(saved));
	return statement_run(s, err);
}

static int extend_chain(struct txn *t, struct err *err)
{
	uint8_t seq[8];
	struct wr w;
	wr_init(&w, seq, sizeof(seq));
	wr_u64(&w, t->state.last_seq);
	struct hasher *h = hasher_new();
	hasher_add(h, t->state.chain, HASH_LEN);
	hasher_add(h, t->what, strlen(t->what) + 1);
	hasher_add(h, seq, sizeof(seq));
	hasher_add(h, t->state.digest, HASH_LEN);
	hasher_end(h, t->state.chain);
	hasher_free(h);
	t->state.chain_n++;
	AUTO(sqlite3_stmt) *add = conn_statement(t->conn, SQL_CHAIN_ADD, err);
	AUTO(sqlite3_stmt) *trim = conn_statement(t->conn, SQL_CHAIN_TRIM, err);
	if (!add || !trim)
		return err_wrap(err, "extend the chain");
	bind_int(add, 1, (int64_t)t->state.chain_n);
	bind_hash(add, 2, t->state.chain);
	bind_int(trim, 1, (int64_t)t->state.chain_n - STORE_CHAINS_KEPT);
	int r = statement_run(add, err);
	return r < 0 ? r : statement_run(trim, err);
}

static int save_state(struct txn *t, struct err *err)
{
	const struct store_state *state = &t->state;
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_SAVE_STATE, err);
	if (!s)
		return err_wrap(err, "save state");
	bind_int(s, 1, state->role);
	bind_int(s, 2, state->adopt);
	bind_int(s, 3, state->populated_checked);
	bind_int(s, 4, state->preserve_ownership);
	bind_int(s, 5, (int64_t)state->last_seq);
	bind_int(s, 6, (int64_t)state->chain_n);
	bind_hash(s, 7, state->chain);
	bind_hash(s, 8, state->digest);
	bind_int(s, 9, (int64_t)state->records);
	bind_int(s, 10, (int64_t)state->files);
	bind_int(s, 11, (int64_t)state->bytes);
	bind_int(s, 12, (int64_t)state->foreign);
	bind_int(s, 13, (int64_t)state->barrier_seq);
	bind_int(s, 14, state->barrier_clock_ns);
	bind_hash(s, 15, state->barrier_digest);
	return statement_run(s, err);
}

static int prepare_commit(struct txn *t, struct err *err)
{
	int r = t->set_changed ? save_set(t, err) : 0;
	if (r == 0 && t->what)
		r = extend_chain(t, err);
	if (r == 0 && (t->set_changed || t->state_changed || t->what))
		r = save_state(t, err);
	int fault = r == 0 ? fault_point("store commit") : 0;
	if (fault)
		r = err_sys(err, fault, "state database: commit");
	return r < 0 ? r : conn_run(t->conn, SQL_COMMIT, err);
}

static void publish_peers(struct store *store)
{
	for (size_t i = 0; i < store->n_peers; i++) {
		struct peer *peer = store->peers[i];
		if (peer->counted) {
			peer->changes += (uint64_t)peer->delta_changes;
			peer->bytes += (uint64_t)peer->delta_bytes;
		}
		if (peer->lower_to < peer->watermark) {
			peer->watermark = peer->lower_to;
			peer->lowered++;
		}
	}
}

static void publish_txn(struct txn *t)
{
	struct store *store = t->store;
	pthread_mutex_lock(&store->state_lock);
	store->state = t->state;
	store->set = t->set;
	store->epoch = t->epoch;
	for (size_t i = 0; i < STORE_NOTE_KINDS; i++)
		store->notes[i] += (uint64_t)t->notes[i];
	store->salvaged += (uint64_t)t->salvaged;
	store->history = t->history;
	store->salvaged_bytes += (uint64_t)t->salvaged_bytes;
	publish_peers(store);
	if (t->new_peer) {
		GROW(store->peers, store->cap_peers, store->n_peers + 1);
		store->peers[store->n_peers++] = t->new_peer;
	}
	pthread_mutex_unlock(&store->state_lock);
}

/* A failed COMMIT may have rolled back already; asking twice is harmless. */
static void roll_back(struct txn *t)
{
	if (!sqlite3_get_autocommit(t->conn->db))
		conn_run(t->conn, SQL_ROLLBACK, NULL);
}

int txn_end(struct txn *t, int result, struct err *err)
{
	if (result >= 0)
		result = prepare_commit(t, err);
	if (result < 0) {
		roll_back(t);
		free(t->new_peer);
		if (result == -ENOSPC)
			conn_shrink(t->conn);
	} else {
		publish_txn(t);
	}
	pthread_mutex_unlock(&t->store->write_lock);
	return result;
}

/* ---- peers ------------------------------------------------------------------------------------
 */

int txn_peer(struct peer **out, struct txn *t, const char *name, struct err *err)
{
	*out = store_find_peer(t->store, name);
	/* One that this transaction has added is everybody's when it ends. */
	if (!*out && t->new_peer && strcmp(t->new_peer->name, name) == 0)
		*out = t->new_peer;
	if (*out)
		return 0;
	if (strlen(name) > WIRE_NAME_MAX)
		return err_set(err, -EINVAL, "the name of a peer has more than %d bytes",
			       WIRE_NAME_MAX);
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_PEER_ADD, err);
	if (!s)
		return err_wrap(err, "add peer");
	BUG_ON(sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC) != SQLITE_OK);
	int r = statement_run(s, err);
	if (r < 0)
		return r;
	struct peer *peer = x_calloc(1, sizeof(*peer));
	memcpy(peer->name, name, strlen(name));
	peer->id = sqlite3_last_insert_rowid(t->conn->db);
	peer->lower_to = UINT64_MAX;
	*out = t->new_peer = peer;
	return 0;
}

static int acked_seq(uint64_t *seq, struct txn *t, const struct peer *peer, const char *path,
		     struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_ACKED_SEQ, err);
	if (!s)
		return err_wrap(err, "what a peer has");
	bind_int(s, 1, peer->id);
	bind_path(s, 2, path);
	int r = statement_step(s, err);
	*seq = r > 0 ? (uint64_t)sqlite3_column_int64(s, 0) : 0;
	return r < 0 ? r : 0;
}

static int64_t bytes_of(const struct index_entry *entry)
{
	return entry->rec.kind == RECORD_FILE ? (int64_t)entry->rec.size : 0;
}

/* The record at a path changed: keeps each peer's count of what is pending right. */
static int recount_peers(struct txn *t, const char *path, const struct index_entry *old,
			 const struct index_entry *now, struct err *err)
{
	for (size_t i = 0; i < t->store->n_peers; i++) {
		struct peer *peer = t->store->peers[i];
		uint64_t acked;
		int r = acked_seq(&acked, t, peer, path, err);
		if (r < 0)
			return r;
		if (old && old->rec.seq != 0 && old->rec.seq != acked) {
			peer->delta_changes--;
			peer->delta_bytes -= bytes_of(old);
		}
		if (now && now->rec.seq != 0 && now->rec.seq != acked) {
			peer->delta_changes++;
			peer->delta_bytes += bytes_of(now);
			if (now->rec.seq <= peer->lower_to)
				peer->lower_to = now->rec.seq - 1;
		}
	}
	return 0;
}

/* ---- digest and counts ------------------------------------------------------------------------
 */

static void expand(uint8_t element[DIGEST_STATE_LEN], struct txn *t, const struct record *rec)
{
	uint8_t *scratch = t->store->scratch;
	size_t len = record_element(scratch, RECORD_ELEMENT_MAX, rec, t->state.preserve_ownership);
	BUG_ON(len > RECORD_ELEMENT_MAX);
	hash_expand(element, DIGEST_STATE_LEN, scratch, len);
}

/* Brings a version in (sign 1) or takes it out (-1). Tombstones are in neither. */
static void account(struct txn *t, const struct index_entry *entry, int sign)
{
	if (!entry || entry->rec.kind == RECORD_ABSENT)
		return;
	uint8_t element[DIGEST_STATE_LEN];
	expand(element, t, &entry->rec);
	(sign > 0 ? digest_add : digest_remove)(&t->set, element);
	t->set_changed = true;
	t->state.records += (uint64_t)(int64_t)sign;
	t->state.foreign += entry->flags & ENTRY_FOREIGN ? (uint64_t)(int64_t)sign : 0;
	if (entry->rec.kind == RECORD_FILE) {
		t->state.files += (uint64_t)(int64_t)sign;
		t->state.bytes += (uint64_t)(sign * bytes_of(entry));
	}
}

int txn_recount(struct txn *t, struct err *err)
{
	t->set = (struct digest){0};
	t->set_changed = true;
	t->state.records = t->state.files = t->state.bytes = t->state.foreign = 0;
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_RANGE, err);
	if (!s)
		return err_wrap(err, "count records");
	bind_path(s, 1, "");
	bind_path(s, 2, path_above_all());
	int r;
	while ((r = statement_step(s, err)) > 0) {
		struct index_entry entry;
		entry_view(&entry, s);
		account(t, &entry, 1);
	}
	return r;
}

/* ---- entries ----------------------------------------------------------------------------------
 */

int txn_get(sqlite3_stmt **s, struct index_entry *out, struct txn *t, const char *path,
	    struct err *err)
{
	*s = conn_statement(t->conn, SQL_GET, err);
	if (!*s)
		return err_wrap(err, "look up a path");
	sqlite3_stmt_free(*s);
	bind_path(*s, 1, path);
	int r = statement_step(*s, err);
	if (r > 0)
		entry_view(out, *s);
	return r;
}

int txn_put(struct txn *t, const struct index_entry *old, const struct index_entry *entry,
	    struct err *err)
{
	int r = recount_peers(t, entry->rec.path, old, entry, err);
	if (r == 0)
		r = txn_remember(t, entry->rec.path, old, entry, err);
	if (r < 0)
		return r;
	account(t, old, -1);
	account(t, entry, 1);
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_PUT, err);
	if (!s)
		return err_wrap(err, "store a record");
	entry_bind(s, entry);
	r = statement_run(s, err);
	return r < 0 ? r : txn_note_member(t, entry->rec.path, err);
}

int txn_bury(struct txn *t, const struct index_entry *old, const char *path, uint64_t epoch,
	     uint64_t seq, unsigned flags, struct err *err)
{
	const struct index_entry grave = {.rec = {.kind = RECORD_ABSENT, .seq = seq}};
	int r = recount_peers(t, path, old, &grave, err);
	if (r == 0)
		r = txn_remember(t, path, old, NULL, err);
	if (r < 0)
		return r;
	account(t, old, -1);
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_BURY, err);
	if (!s)
		return err_wrap(err, "store a deletion");
	bind_path(s, 1, path);
	bind_int(s, 2, (int64_t)epoch);
	bind_int(s, 3, (int64_t)seq);
	bind_int(s, 4, flags);
	bind_int(s, 5, t->now_ns);
	r = statement_run(s, err);
	return r < 0 ? r : txn_note_member(t, path, err);
}

int txn_forget(struct txn *t, const struct index_entry *old, struct err *err)
{
	int r = recount_peers(t, old->rec.path, old, NULL, err);
	if (r == 0)
		r = txn_remember(t, old->rec.path, old, NULL, err);
	if (r < 0)
		return r;
	account(t, old, -1);
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_FORGET, err);
	if (!s)
		return err_wrap(err, "forget a record");
	bind_path(s, 1, old->rec.path);
	return statement_run(s, err);
}

int txn_forget_path(struct txn *t, const char *path, struct err *err)
{
	sqlite3_stmt *s;
	struct index_entry old;
	int r = txn_get(&s, &old, t, path, err);
	if (r > 0)
		r = txn_forget(t, &old, err);
	sqlite3_stmt_free(s);
	return r;
}

int txn_set_installed(struct txn *t, const char *path, const struct file_stat *inst, int flags,
		      struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_SET_INSTALLED, err);
	if (!s)
		return err_wrap(err, "store a stat");
	bind_path(s, 1, path);
	file_stat_bind(s, 2, inst);
	bind_int(s, 11, flags);
	return statement_run(s, err);
}

/* ---- subtrees ---------------------------------------------------------------------------------
 */

static void free_paths(char **paths, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(paths[i]);
}

static int read_chunk(struct txn *t, enum statement which, const char *lo, const char *hi,
		      char *paths[BURY_CHUNK], size_t *n, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, which, err);
	if (!s)
		return err_wrap(err, "list a subtree");
	bind_path(s, 1, lo);
	bind_path(s, 2, hi);
	bind_int(s, 3, BURY_CHUNK);
	int r;
	while ((r = statement_step(s, err)) > 0)
		paths[(*n)++] = x_strdup(column_path(s, 0));
	return r;
}

/* Descending order visits children before their parents. A chunk is read to its end before it is
 * acted on: SQLite does not say what a query sees of rows that change under it. */
int txn_each_beneath(struct txn *t, const char *path, bool tombstones_too,
		     int (*act)(struct txn *t, const char *path, struct err *err), struct err *err)
{
	AUTO_FREE char *lo = NULL;
	AUTO_FREE char *hi = NULL;
	path_range_beneath(&lo, &hi, path);
	char *paths[BURY_CHUNK];
	size_t n;
	do {
		n = 0;
		int r = read_chunk(t, tombstones_too ? SQL_BENEATH_ANY : SQL_BENEATH, lo, hi, paths,
				   &n, err);
		for (size_t i = 0; r == 0 && i < n; i++)
			r = act(t, paths[i], err);
		if (n > 0) {
			free(hi);
			hi = x_strdup(paths[n - 1]);
		}
		free_paths(paths, n);
		if (r < 0)
			return r;
	} while (n == BURY_CHUNK);
	return 0;
}
