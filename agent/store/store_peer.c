/* What each peer has: one row per path with the version it acknowledged. */
#include "agent/store/store_private.h"

#include <errno.h>
#include <string.h>

/* ---- acknowledging ----------------------------------------------------------------------------
 */

/* Also when the transaction then fails: a count too many costs a walk, no harm. */
static void count_again(struct store *store, struct peer *peer)
{
	pthread_mutex_lock(&store->state_lock);
	peer->counted = false;
	pthread_mutex_unlock(&store->state_lock);
}

/* What changes for the count of pending records when the peer's version of a path goes from one seq
 * to another. */
static int recount_ack(struct txn *t, struct peer *peer, const char *path, uint64_t now,
		       struct err *err)
{
	uint64_t before = 0;
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_ACKED_SEQ, err);
	if (!s)
		return err_wrap(err, "what a peer has");
	bind_int(s, 1, peer->id);
	bind_path(s, 2, path);
	int r = statement_step(s, err);
	if (r > 0)
		before = (uint64_t)sqlite3_column_int64(s, 0);
	sqlite3_stmt *get = NULL;
	struct index_entry entry;
	if (r >= 0)
		r = txn_get(&get, &entry, t, path, err);
	if (r > 0 && entry.rec.seq != 0) {
		int was = before != entry.rec.seq, is = now != entry.rec.seq;
		peer->delta_changes += is - was;
		peer->delta_bytes +=
			(is - was) * (entry.rec.kind == RECORD_FILE ? (int64_t)entry.rec.size : 0);
		if (is && entry.rec.seq <= peer->lower_to)
			peer->lower_to = entry.rec.seq - 1;
	}
	sqlite3_stmt_free(get);
	return r < 0 ? r : 0;
}

static int clear_refusal(struct txn *t, const char *path, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_NOTE_DELETE, err);
	if (!s)
		return err_wrap(err, "clear a refusal");
	bind_int(s, 1, NOTE_REFUSED);
	bind_path(s, 2, path);
	int r = statement_run(s, err);
	if (r == 0)
		t->notes[NOTE_REFUSED] -= sqlite3_changes(t->conn->db);
	return r;
}

static int write_ack(struct txn *t, const struct peer *peer, const struct acked *ack,
		     struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_ACK, err);
	if (!s)
		return err_wrap(err, "store an acknowledgement");
	bool file = ack->kind == RECORD_FILE;
	bind_int(s, 1, peer->id);
	bind_path(s, 2, ack->path);
	bind_int(s, 3, (int64_t)ack->seq);
	bind_int(s, 4, ack->kind);
	bind_bytes(s, 5, file ? ack->hash : NULL, HASH_LEN);
	bind_int(s, 6, file ? (int64_t)ack->size : 0);
	return statement_run(s, err);
}

static int ack_all(struct txn *t, const char *name, const struct acked *acks, size_t n,
		   struct err *err)
{
	struct peer *peer;
	int r = txn_peer(&peer, t, name, err);
	bool refusals = t->store->notes[NOTE_REFUSED] > 0;
	for (size_t i = 0; r == 0 && i < n; i++) {
		r = recount_ack(t, peer, acks[i].path, acks[i].seq, err);
		if (r == 0)
			r = write_ack(t, peer, &acks[i], err);
		if (r == 0)
			content_note(t->store, peer, &acks[i]);
		if (r == 0 && refusals)
			r = clear_refusal(t, acks[i].path, err);
	}
	return r;
}

int store_ack(struct store *store, const char *peer, const struct acked *acks, size_t n,
	      struct err *err)
{
	struct txn t;
	int r = txn_begin(&t, store, "ack", err);
	if (r < 0)
		return r;
	return txn_end(&t, ack_all(&t, peer, acks, n, err), err);
}

static int write_peer_chain(struct txn *t, const char *name, uint64_t n,
			    const uint8_t chain[HASH_LEN], struct err *err)
{
	struct peer *peer;
	int r = txn_peer(&peer, t, name, err);
	if (r < 0)
		return r;
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_PEER_SET_CHAIN, err);
	if (!s)
		return err_wrap(err, "the peer's chain");
	bind_int(s, 1, peer->id);
	bind_int(s, 2, (int64_t)n);
	bind_hash(s, 3, chain);
	return statement_run(s, err);
}

int store_ack_chained(struct store *store, const char *peer, const struct ack_set *set,
		      struct err *err)
{
	struct txn t;
	int r = txn_begin(&t, store, "ack", err);
	if (r < 0)
		return r;
	r = ack_all(&t, peer, set->acks, set->n, err);
	if (r == 0)
		r = write_peer_chain(&t, peer, set->chain_n, set->chain, err);
	return txn_end(&t, r, err);
}

static int ack_everything(struct txn *t, const char *name, uint64_t up_to, struct err *err)
{
	struct peer *peer;
	int r = txn_peer(&peer, t, name, err);
	if (r < 0)
		return r;
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_ACK_ALL, err);
	if (!s)
		return err_wrap(err, "acknowledge everything");
	bind_int(s, 1, peer->id);
	bind_int(s, 2, (int64_t)up_to);
	count_again(t->store, peer);
	content_forget(t->store, peer);
	return statement_run(s, err);
}

int store_ack_all(struct store *store, const char *peer, uint64_t up_to_seq, struct err *err)
{
	struct txn t;
	int r = txn_begin(&t, store, "ack", err);
	if (r < 0)
		return r;
	return txn_end(&t, ack_everything(&t, peer, up_to_seq, err), err);
}

static int unack_paths(struct txn *t, const char *name, const char *const *paths, size_t n,
		       struct err *err)
{
	struct peer *peer;
	int r = txn_peer(&peer, t, name, err);
	for (size_t i = 0; r == 0 && i < n; i++) {
		r = recount_ack(t, peer, paths[i], 0, err);
		if (r < 0)
			return r;
		AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_UNACK, err);
		if (!s)
			return err_wrap(err, "forget an acknowledgement");
		bind_int(s, 1, peer->id);
		bind_path(s, 2, paths[i]);
		r = statement_run(s, err);
	}
	return r;
}

int store_unack(struct store *store, const char *peer, const char *const *paths, size_t n,
		struct err *err)
{
	struct txn t;
	int r = txn_begin(&t, store, "unack", err);
	if (r < 0)
		return r;
	return txn_end(&t, unack_paths(&t, peer, paths, n, err), err);
}

static int unack_all(struct txn *t, struct peer *peer, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_UNACK_ALL, err);
	if (!s)
		return err_wrap(err, "forget acknowledgements");
	bind_int(s, 1, peer->id);
	peer->lower_to = 0;
	return statement_run(s, err);
}

int store_unack_all(struct store *store, const char *name, struct err *err)
{
	struct txn t;
	struct peer *peer;
	int r = txn_begin(&t, store, "unack", err);
	if (r < 0)
		return r;
	r = txn_peer(&peer, &t, name, err);
	if (r == 0)
		r = unack_all(&t, peer, err);
	if (r == 0)
		count_again(store, peer);
	return txn_end(&t, r, err);
}

/* ---- asking -----------------------------------------------------------------------------------
 */

static int read_acked(struct store *store, int64_t peer, const char *path, struct acked *out,
		      struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(store->reader, SQL_ACKED, err);
	if (!s)
		return err_wrap(err, "what a peer has");
	bind_int(s, 1, peer);
	bind_path(s, 2, path);
	int r = statement_step(s, err);
	if (r <= 0)
		return r < 0 ? r : err_set(err, -ENOENT, "the peer has acknowledged nothing there");
	*out = (struct acked){.seq = (uint64_t)sqlite3_column_int64(s, 0),
			      .kind = (enum record_kind)sqlite3_column_int(s, 1),
			      .size = (uint64_t)sqlite3_column_int64(s, 3)};
	column_fixed(s, 2, out->hash, HASH_LEN);
	return 0;
}

int store_acked(struct store *store, const char *peer, const char *path, struct acked *out,
		struct err *err)
{
	struct peer *known = store_find_peer(store, peer);
	if (!known)
		return err_set(err, -ENOENT, "the peer has acknowledged nothing");
	pthread_mutex_lock(&store->read_lock);
	int r = read_acked(store, known->id, path, out, err);
	pthread_mutex_unlock(&store->read_lock);
	return r;
}

/* ---- the peer's own chain ----------------------------------------------------------------------
 */

static int read_peer_chain(struct store *store, int64_t peer, uint64_t *n, uint8_t chain[HASH_LEN],
			   struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(store->reader, SQL_PEER_CHAIN, err);
	if (!s)
		return err_wrap(err, "the peer's chain");
	bind_int(s, 1, peer);
	int r = statement_step(s, err);
	if (r <= 0)
		return r;
	*n = (uint64_t)sqlite3_column_int64(s, 0);
	column_fixed(s, 1, chain, HASH_LEN);
	return 0;
}

int store_peer_chain(struct store *store, const char *peer, uint64_t *n, uint8_t chain[HASH_LEN],
		     struct err *err)
{
	*n = 0;
	memset(chain, 0, HASH_LEN);
	struct peer *known = store_find_peer(store, peer);
	if (!known)
		return 0;
	pthread_mutex_lock(&store->read_lock);
	int r = read_peer_chain(store, known->id, n, chain, err);
	pthread_mutex_unlock(&store->read_lock);
	return r;
}

int store_set_peer_chain(struct store *store, const char *peer, uint64_t n,
			 const uint8_t chain[HASH_LEN], struct err *err)
{
	struct txn t;
	int r = txn_begin(&t, store, NULL, err);
	if (r < 0)
		return r;
	return txn_end(&t, write_peer_chain(&t, peer, n, chain, err), err);
}
