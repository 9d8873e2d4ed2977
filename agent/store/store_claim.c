/* What belongs to this node alone: claimed when it becomes the active, disowned when it was
 * superseded. */
#include "agent/store/store_private.h"

#include <errno.h>

#define CLAIM_CHUNK 512

struct claiming {
	struct txn txn;
	uint64_t above;	 /* SQL_ABOVE: the seq */
	int64_t peer;	 /* SQL_ABOVE_OR_UNACKED: the survivor */
	uint64_t proven; /* own_entry: the seq */
	size_t changed;
};

/* ---- a node that becomes the active ------------------------------------------------------------
 */

static int claim_entry(struct claiming *c, const struct index_entry *old, struct err *err)
{
	struct index_entry now = *old;
	now.flags &= ~(unsigned)ENTRY_FOREIGN;
	now.rec.epoch = c->txn.epoch;
	now.rec.seq = ++c->txn.state.last_seq;
	return txn_put(&c->txn, old, &now, err);
}

static int own_entry(struct claiming *c, const struct index_entry *old, struct err *err)
{
	struct index_entry now = *old;
	now.flags &= ~(unsigned)ENTRY_FOREIGN;
	now.rec.epoch = c->txn.epoch;
	now.rec.seq = c->proven;
	return txn_put(&c->txn, old, &now, err);
}

/* ---- a node that was superseded ----------------------------------------------------------------
 */

static int disown_entry(struct claiming *c, const struct index_entry *old, struct err *err)
{
	if (old->rec.kind == RECORD_ABSENT)
		return txn_forget(&c->txn, old, err);
	struct index_entry now = *old;
	now.flags |= ENTRY_FOREIGN;
	now.rec.epoch = now.rec.seq = 0;
	return txn_put(&c->txn, old, &now, err);
}

/* ---- both -------------------------------------------------------------------------------------
 */

typedef int change_entry(struct claiming *c, const struct index_entry *old, struct err *err);

static int change_path(struct claiming *c, const char *path, change_entry *change, struct err *err)
{
	sqlite3_stmt *s;
	struct index_entry old;
	int r = txn_get(&s, &old, &c->txn, path, err);
	if (r > 0)
		r = change(c, &old, err);
	sqlite3_stmt_free(s);
	c->changed++;
	return r;
}

/* No row that has been changed is listed again, so the list is read from its beginning until it is
 * empty. */
static int list_chunk(struct claiming *c, enum statement which, char *paths[CLAIM_CHUNK], size_t *n,
		      struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(c->txn.conn, which, err);
	if (!s)
		return err_wrap(err, "list entries");
	bind_int(s, 1, CLAIM_CHUNK);
	if (which != SQL_FOREIGN)
		bind_int(s, 2, (int64_t)c->above);
	if (which == SQL_ABOVE_OR_UNACKED)
		bind_int(s, 3, c->peer);
	int r;
	while ((r = statement_step(s, err)) > 0)
		paths[(*n)++] = x_strdup(column_path(s, 0));
	return r;
}

static int change_all(struct claiming *c, enum statement which, change_entry *change,
		      struct err *err)
{
	char *paths[CLAIM_CHUNK];
	size_t n;
	do {
		n = 0;
		int r = list_chunk(c, which, paths, &n, err);
		for (size_t i = 0; r == 0 && i < n; i++)
			r = change_path(c, paths[i], change, err);
		for (size_t i = 0; i < n; i++)
			free(paths[i]);
		if (r < 0)
			return r;
	} while (n > 0);
	return 0;
}

int store_claim_foreign(struct store *store, size_t *changed, struct err *err)
{
	struct claiming c = {0};
	*changed = 0;
	int r = txn_begin(&c.txn, store, "claim", err);
	if (r < 0)
		return r;
	if (c.txn.epoch == 0)
		r = err_set(err, -EPERM,
			    "this node belongs to no epoch: it must not number changes");
	else
		r = change_all(&c, SQL_FOREIGN, claim_entry, err);
	r = txn_end(&c.txn, r, err);
	*changed = r == 0 ? c.changed : 0;
	return r;
}

int store_disown_above(struct store *store, uint64_t base_seq, const char *survivor,
		       size_t *changed, struct err *err)
{
	struct claiming c = {.above = base_seq, .peer = -1};
	const struct peer *peer = survivor ? store_find_peer(store, survivor) : NULL;
	*changed = 0;
	if (peer)
		c.peer = peer->id;
	int r = txn_begin(&c.txn, store, "disown", err);
	if (r < 0)
		return r;
	r = txn_end(&c.txn,
		    change_all(&c, survivor ? SQL_ABOVE_OR_UNACKED : SQL_ABOVE, disown_entry, err),
		    err);
	*changed = r == 0 ? c.changed : 0;
	return r;
}

int store_own_foreign(struct store *store, uint64_t seq, size_t *changed, struct err *err)
{
	struct claiming c = {.proven = seq};
	*changed = 0;
	int r = txn_begin(&c.txn, store, "claim", err);
	if (r < 0)
		return r;
	r = txn_end(&c.txn, change_all(&c, SQL_FOREIGN, own_entry, err), err);
	*changed = r == 0 ? c.changed : 0;
	return r;
}
