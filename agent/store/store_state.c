/* The node's own state: role, lineage, barrier, markers of its roots, and the chain that tells a
 * state directory restored from an old copy. */
#include "agent/store/store_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void store_state(struct store *store, struct store_state *out)
{
	pthread_mutex_lock(&store->state_lock);
	*out = store->state;
	pthread_mutex_unlock(&store->state_lock);
}

int store_set_role(struct store *store, uint8_t role, struct err *err)
{
	struct txn t;
	int r = txn_begin(&t, store, "role", err);
	if (r < 0)
		return r;
	t.state.role = role;
	return txn_end(&t, 0, err);
}

static int set_adopt(struct store *store, bool adopt, struct err *err)
{
	struct txn t;
	int r = txn_begin(&t, store, NULL, err);
	if (r < 0)
		return r;
	t.state.adopt = adopt;
	t.state_changed = true;
	return txn_end(&t, 0, err);
}

int store_set_adopt(struct store *store, struct err *err)
{
	return set_adopt(store, true, err);
}

int store_clear_adopt(struct store *store, struct err *err)
{
	return set_adopt(store, false, err);
}

static int write_canary(struct txn *t, uint64_t nonce, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_CANARY_SET, err);
	if (!s)
		return err_wrap(err, "note the canary");
	bind_int(s, 1, (int64_t)nonce);
	return statement_run(s, err);
}

int store_canary(struct store *store, uint64_t nonce, struct err *err)
{
	struct txn t;
	int r = txn_begin(&t, store, NULL, err);
	if (r < 0)
		return r;
	return txn_end(&t, write_canary(&t, nonce, err), err);
}

int store_raise_seq(struct store *store, uint64_t seq, struct err *err)
{
	struct store_state state;
	struct txn t;
	store_state(store, &state);
	if (seq <= state.last_seq)
		return 0;
	int r = txn_begin(&t, store, "raise", err);
	if (r < 0)
		return r;
	if (seq > t.state.last_seq)
		t.state.last_seq = seq;
	return txn_end(&t, 0, err);
}

int store_set_populated_checked(struct store *store, struct err *err)
{
	struct txn t;
	int r = txn_begin(&t, store, NULL, err);
	if (r < 0)
		return r;
	t.state.populated_checked = true;
	t.state_changed = true;
	return txn_end(&t, 0, err);
}

static void set_barrier(struct txn *t, uint64_t seq, int64_t clock_ns,
			const uint8_t digest[HASH_LEN])
{
	t->state.barrier_seq = seq;
	t->state.barrier_clock_ns = clock_ns;
	memcpy(t->state.barrier_digest, digest, HASH_LEN);
	t->state_changed = true;
}

int store_set_barrier(struct store *store, uint64_t seq, int64_t clock_ns,
		      const uint8_t digest[HASH_LEN], struct err *err)
{
	struct txn t;
	int r = txn_begin(&t, store, NULL, err);
	if (r < 0)
		return r;
	set_barrier(&t, seq, clock_ns, digest);
	return txn_end(&t, 0, err);
}

int store_note_barrier(struct store *store, uint64_t seq, int64_t clock_ns, int64_t sent_ns,
		       const uint8_t digest[HASH_LEN], struct err *err)
{
	struct txn t;
	int r = txn_begin(&t, store, NULL, err);
	if (r < 0)
		return r;
	set_barrier(&t, seq, clock_ns, digest);
	return txn_end(&t, txn_note_barrier(&t, seq, sent_ns, err), err);
}

int store_set_preserve_ownership(struct store *store, bool preserve, struct err *err)
{
	struct store_state state;
	store_state(store, &state);
	if (state.preserve_ownership == preserve)
		return 0;
	struct txn t;
	int r = txn_begin(&t, store, "ownership", err);
	if (r < 0)
		return r;
	t.state.preserve_ownership = preserve;
	return txn_end(&t, txn_recount(&t, err), err);
}

/* ---- lineage ----------------------------------------------------------------------------------
 */

static void read_epoch(struct epoch_entry *out, sqlite3_stmt *s)
{
	out->number = (uint64_t)sqlite3_column_int64(s, 0);
	column_fixed(s, 1, out->id, WIRE_ID_LEN);
	column_fixed(s, 2, out->parent, WIRE_ID_LEN);
	out->base_seq = (uint64_t)sqlite3_column_int64(s, 3);
	snprintf(out->node, sizeof(out->node), "%s", column_path(s, 4));
	column_fixed(s, 5, out->ends, WIRE_ID_LEN);
}

static int read_lineage(struct store *store, struct epoch_entry *entries, size_t *n,
			struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(store->reader, SQL_LINEAGE_ALL, err);
	if (!s)
		return err_wrap(err, "read lineage");
	int r;
	while ((r = statement_step(s, err)) > 0) {
		if (*n == WIRE_LINEAGE_MAX)
			return err_set(err, -EUCLEAN, "the lineage has more than %d epochs",
				       WIRE_LINEAGE_MAX);
		read_epoch(&entries[(*n)++], s);
	}
	return r;
}

int store_lineage(struct store *store, struct epoch_entry **out, size_t *n, struct err *err)
{
	AUTO_FREE struct epoch_entry *entries = x_calloc(WIRE_LINEAGE_MAX, sizeof(*entries));
	*n = 0;
	pthread_mutex_lock(&store->read_lock);
	int r = read_lineage(store, entries, n, err);
	pthread_mutex_unlock(&store->read_lock);
	if (r < 0)
		return r;
	*out = STEAL(entries);
	return 0;
}

int txn_add_epoch(struct txn *t, size_t position, const struct epoch_entry *epoch, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_LINEAGE_ADD, err);
	if (!s)
		return err_wrap(err, "store lineage");
	bind_int(s, 1, (int64_t)position);
	bind_int(s, 2, (int64_t)epoch->number);
	bind_bytes(s, 3, epoch->id, WIRE_ID_LEN);
	bind_bytes(s, 4, epoch->parent, WIRE_ID_LEN);
	bind_int(s, 5, (int64_t)epoch->base_seq);
	BUG_ON(sqlite3_bind_text(s, 6, epoch->node, -1, SQLITE_STATIC) != SQLITE_OK);
	bind_bytes(s, 7, epoch->ends, WIRE_ID_LEN);
	return statement_run(s, err);
}

int store_set_lineage(struct store *store, const struct epoch_entry *entries, size_t n,
		      struct err *err)
{
	return store_follow_lineage(store, entries, n, NULL, 0, NULL, err);
}

int store_follow_lineage(struct store *store, const struct epoch_entry *epochs, size_t n,
			 char *const *entries, size_t n_entries, uint64_t *entry_n, struct err *err)
{
	if (n > WIRE_LINEAGE_MAX)
		return err_set(err, -E2BIG, "a lineage of %zu epochs: at most %d", n,
			       WIRE_LINEAGE_MAX);
	struct txn t;
	int r = txn_begin(&t, store, "lineage", err);
	if (r < 0)
		return r;
	r = conn_run(t.conn, SQL_LINEAGE_CLEAR, err);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = txn_add_epoch(&t, i, &epochs[i], err);
	for (size_t i = 0; r == 0 && i < n_entries; i++)
		r = txn_add_entry(&t, entries[i], entry_n, err);
	t.epoch = n > 0 ? epochs[n - 1].number : 0;
	/* A new epoch's first seq lies above everything its parent may have used. */
	if (n > 0 && epochs[n - 1].base_seq > t.state.last_seq)
		t.state.last_seq = epochs[n - 1].base_seq;
	return txn_end(&t, r, err);
}

/* ---- markers ----------------------------------------------------------------------------------
 */

static int read_root_id(struct store *store, const char *at, uint8_t id[16], struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(store->reader, SQL_ROOT_GET, err);
	if (!s)
		return err_wrap(err, "read a marker's id");
	bind_path(s, 1, at);
	int r = statement_step(s, err);
	if (r <= 0)
		return r < 0 ? r : err_set(err, -ENOENT, "no marker is known for this root");
	column_fixed(s, 0, id, 16);
	return 0;
}

int store_root_id(struct store *store, const char *at, uint8_t id[16], struct err *err)
{
	pthread_mutex_lock(&store->read_lock);
	int r = read_root_id(store, at, id, err);
	pthread_mutex_unlock(&store->read_lock);
	return r;
}

int store_root_ids(struct store *store, char *const *follow, size_t n_follow, uint8_t (*ids)[16],
		   size_t max, struct err *err)
{
	if (n_follow + 1 > max)
		return err_set(err, -E2BIG, "more than %zu followed directories: follow a parent",
			       max - 1);
	for (size_t i = 0; i < n_follow + 1; i++) {
		int r = store_root_id(store, i ? follow[i - 1] : "", ids[i], NULL);
		if (r == -ENOENT)
			memset(ids[i], 0, 16);
		else if (r < 0)
			return err_set(err, r, "read which markers this state belongs to: %s",
				       strerror(-r));
	}
	return 0;
}

static int write_root_id(struct txn *t, const char *at, const uint8_t id[16], struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_ROOT_SET, err);
	if (!s)
		return err_wrap(err, "store a marker's id");
	bind_path(s, 1, at);
	bind_bytes(s, 2, id, 16);
	return statement_run(s, err);
}

int store_set_root_id(struct store *store, const char *at, const uint8_t id[16], struct err *err)
{
	struct txn t;
	int r = txn_begin(&t, store, NULL, err);
	if (r < 0)
		return r;
	return txn_end(&t, write_root_id(&t, at, id, err), err);
}

/* ---- chain ------------------------------------------------------------------------------------
 */

/* @return 1 with the hash, 0 when that number is not kept, negative errno */
static int read_chain(struct store *store, uint64_t n, uint8_t chain[HASH_LEN])
{
	AUTO(sqlite3_stmt) *s = conn_statement(store->reader, SQL_CHAIN_GET, NULL);
	if (!s)
		return -EIO;
	bind_int(s, 1, (int64_t)n);
	int r = statement_step(s, NULL);
	if (r > 0)
		column_fixed(s, 0, chain, HASH_LEN);
	return r;
}

bool store_chain_was_ours(struct store *store, uint64_t n, const uint8_t chain[HASH_LEN])
{
	struct store_state state;
	store_state(store, &state);
	if (n == 0)
		return true; /* never met */
	if (n > state.chain_n)
		return false;
	uint8_t ours[HASH_LEN];
	pthread_mutex_lock(&store->read_lock);
	int r = read_chain(store, n, ours);
	pthread_mutex_unlock(&store->read_lock);
	return r <= 0 || memcmp(ours, chain, HASH_LEN) == 0;
}
