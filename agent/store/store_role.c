/* What is durable of the role machine, and epochs that will never be taken here. */
#include "agent/store/store_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- the machine ------------------------------------------------------------------------------
 */

static int read_machine(struct store *store, struct role_machine *out, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(store->reader, SQL_HANDOVER_GET, err);
	if (!s)
		return err_wrap(err, "read the role");
	int r = statement_step(s, err);
	if (r <= 0)
		return r; /* no row: it was never changed */
	out->number = (uint64_t)sqlite3_column_int64(s, 0);
	out->due = (enum role_action)sqlite3_column_int(s, 1);
	out->has_offer = sqlite3_column_int(s, 2) != 0;
	out->offer.number = (uint64_t)sqlite3_column_int64(s, 3);
	column_fixed(s, 4, out->offer.id, WIRE_ID_LEN);
	out->offer.base_seq = (uint64_t)sqlite3_column_int64(s, 5);
	column_fixed(s, 6, out->offer.digest, HASH_LEN);
	const char *node = (const char *)sqlite3_column_text(s, 7);
	snprintf(out->offer.node, sizeof(out->offer.node), "%s", node ? node : "");
	return 0;
}

int store_role(struct store *store, struct role_machine *out, struct err *err)
{
	struct store_state state;
	AUTO_FREE struct epoch_entry *lineage = NULL;
	size_t n = 0;
	store_state(store, &state);
	*out = (struct role_machine){.role = (enum wire_role)state.role};
	int r = store_lineage(store, &lineage, &n, err);
	if (r < 0)
		return r;
	pthread_mutex_lock(&store->read_lock);
	r = read_machine(store, out, err);
	pthread_mutex_unlock(&store->read_lock);
	if (n > 0 && lineage[n - 1].number > out->number)
		out->number = lineage[n - 1].number;
	return r;
}

static int write_machine(struct txn *t, const struct role_machine *m, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_HANDOVER_SET, err);
	if (!s)
		return err_wrap(err, "store the role");
	bind_int(s, 1, (int64_t)m->number);
	bind_int(s, 2, m->due);
	bind_int(s, 3, m->has_offer);
	bind_int(s, 4, (int64_t)m->offer.number);
	bind_bytes(s, 5, m->offer.id, WIRE_ID_LEN);
	bind_int(s, 6, (int64_t)m->offer.base_seq);
	bind_bytes(s, 7, m->offer.digest, HASH_LEN);
	sqlite3_bind_text(s, 8, m->offer.node, -1, SQLITE_TRANSIENT);
	return statement_run(s, err);
}

/* How many epochs there are, and whether the last is this one. */
static int lineage_end(struct store *store, const struct epoch_entry *epoch, size_t *n,
		       struct err *err)
{
	AUTO_FREE struct epoch_entry *lineage = NULL;
	int r = store_lineage(store, &lineage, n, err);
	if (r < 0)
		return r;
	if (*n > 0 && memcmp(lineage[*n - 1].id, epoch->id, WIRE_ID_LEN) == 0)
		return err_set(err, -EEXIST, "that epoch has begun already");
	if (*n == WIRE_LINEAGE_MAX)
		return err_set(err, -E2BIG, "a lineage of %d epochs is full: init the group anew",
			       WIRE_LINEAGE_MAX);
	return 0;
}

static int write_owed(struct txn *t, const struct hook_facts *owed, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_OWED_SET, err);
	if (!s)
		return err_wrap(err, "store what a hook is told");
	sqlite3_bind_text(s, 1, owed->reason, -1, SQLITE_TRANSIENT);
	sqlite3_bind_text(s, 2, owed->peer, -1, SQLITE_TRANSIENT);
	bind_int(s, 3, (int64_t)owed->epoch);
	return statement_run(s, err);
}

int store_change_role(struct store *store, struct role_change *change, struct err *err)
{
	const struct role_machine *machine = change->machine;
	const struct epoch_entry *epoch = change->epoch;
	struct txn t;
	size_t n = 0;
	int r = epoch ? lineage_end(store, epoch, &n, err) : 0;
	if (r == 0)
		r = txn_begin(&t, store, "role", err);
	if (r < 0)
		return r;
	t.state.role = machine->role;
	t.state_changed = true;
	r = write_machine(&t, machine, err);
	if (r == 0 && epoch) {
		r = txn_add_epoch(&t, n, epoch, err);
		t.epoch = epoch->number;
		if (epoch->base_seq > t.state.last_seq)
			t.state.last_seq = epoch->base_seq;
	}
	if (r == 0 && change->owed)
		r = write_owed(&t, change->owed, err);
	if (r == 0 && change->entry)
		r = txn_add_entry(&t, change->entry, &change->entry_n, err);
	return txn_end(&t, r, err);
}

int store_set_machine(struct store *store, const struct role_machine *machine,
		      const struct epoch_entry *epoch, struct err *err)
{
	struct role_change change = {.machine = machine, .epoch = epoch};
	return store_change_role(store, &change, err);
}

static int read_owed(struct store *store, struct hook_facts *out, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(store->reader, SQL_OWED_GET, err);
	if (!s)
		return err_wrap(err, "read what a hook is told");
	int r = statement_step(s, err);
	if (r <= 0)
		return r;
	snprintf(out->reason, sizeof(out->reason), "%s", (const char *)sqlite3_column_text(s, 0));
	snprintf(out->peer, sizeof(out->peer), "%s", (const char *)sqlite3_column_text(s, 1));
	out->epoch = (uint64_t)sqlite3_column_int64(s, 2);
	return 0;
}

int store_owed(struct store *store, struct hook_facts *out, struct err *err)
{
	*out = (struct hook_facts){0};
	pthread_mutex_lock(&store->read_lock);
	int r = read_owed(store, out, err);
	pthread_mutex_unlock(&store->read_lock);
	return r;
}

/* ---- refusals ---------------------------------------------------------------------------------
 */

int store_refuse_epoch(struct store *store, const uint8_t id[WIRE_ID_LEN], struct err *err)
{
	struct txn t;
	int r = txn_begin(&t, store, "role", err);
	if (r < 0)
		return r;
	sqlite3_stmt *s = conn_statement(t.conn, SQL_REFUSAL_ADD, err);
	r = s ? 0 : -EIO;
	if (s) {
		bind_bytes(s, 1, id, WIRE_ID_LEN);
		r = statement_run(s, err);
		sqlite3_stmt_free(s);
	}
	return txn_end(&t, r, err);
}

static int find_refusal(struct store *store, const uint8_t id[WIRE_ID_LEN], struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(store->reader, SQL_REFUSAL_GET, err);
	if (!s)
		return err_wrap(err, "read refusals");
	bind_bytes(s, 1, id, WIRE_ID_LEN);
	int r = statement_step(s, err);
	return r > 0 ? 1 : r;
}

int store_is_epoch_refused(struct store *store, const uint8_t id[WIRE_ID_LEN], struct err *err)
{
	pthread_mutex_lock(&store->read_lock);
	int r = find_refusal(store, id, err);
	pthread_mutex_unlock(&store->read_lock);
	return r;
}

/* ---- lineage ----------------------------------------------------------------------------------
 */

int store_cut_lineage(struct store *store, size_t n, struct err *err)
{
	struct txn t;
	AUTO_FREE struct epoch_entry *lineage = NULL;
	size_t have = 0;
	int r = store_lineage(store, &lineage, &have, err);
	if (r < 0 || n >= have)
		return r;
	r = txn_begin(&t, store, "lineage", err);
	if (r < 0)
		return r;
	sqlite3_stmt *s = conn_statement(t.conn, SQL_LINEAGE_CUT, err);
	r = s ? 0 : -EIO;
	if (s) {
		bind_int(s, 1, (int64_t)n);
		r = statement_run(s, err);
		sqlite3_stmt_free(s);
	}
	t.epoch = n > 0 ? lineage[n - 1].number : 0;
	return txn_end(&t, r, err);
}
