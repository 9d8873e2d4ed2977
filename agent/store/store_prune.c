/* Tombstones end when every peer has them, or when they are so old that a peer that lacks them is
 * reconciled instead. */
#include "agent/store/store_private.h"

#define PRUNE_CHUNK 512

struct tombstone {
	char *path;
	uint64_t seq;
	int64_t dead_at_ns;
};

static int list_tombstones(struct txn *t, const char *from, struct tombstone *out, size_t *n,
			   struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_TOMBSTONES, err);
	if (!s)
		return err_wrap(err, "list tombstones");
	bind_path(s, 1, from);
	bind_int(s, 2, PRUNE_CHUNK);
	int r;
	while ((r = statement_step(s, err)) > 0)
		out[(*n)++] = (struct tombstone){x_strdup(column_path(s, 0)),
						 (uint64_t)sqlite3_column_int64(s, 1),
						 sqlite3_column_int64(s, 2)};
	return r;
}

static int acked_by_all(struct txn *t, const struct tombstone *grave, struct peer *const *peers,
			size_t n, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		if (!peers[i])
			return 0; /* has never acknowledged anything */
		AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_ACKED_SEQ, err);
		if (!s)
			return err_wrap(err, "what a peer has");
		bind_int(s, 1, peers[i]->id);
		bind_path(s, 2, grave->path);
		int r = statement_step(s, err);
		if (r <= 0)
			return r;
		if ((uint64_t)sqlite3_column_int64(s, 0) != grave->seq)
			return 0;
	}
	return 1;
}

static int prune_one(struct txn *t, const char *path, struct err *err)
{
	int r = txn_forget_path(t, path, err);
	for (size_t i = 0; r == 0 && i < t->store->n_peers; i++) {
		AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_UNACK, err);
		if (!s)
			return err_wrap(err, "prune a tombstone");
		bind_int(s, 1, t->store->peers[i]->id);
		bind_path(s, 2, path);
		r = statement_run(s, err);
	}
	return r;
}

struct pruning {
	struct txn txn;
	struct peer **peers;
	size_t n_peers;
	int64_t oldest_ns;
	size_t pruned;
};

static int prune_chunk(struct pruning *p, const struct tombstone *graves, size_t n, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		int r = 1;
		if (graves[i].dead_at_ns >= p->oldest_ns)
			r = acked_by_all(&p->txn, &graves[i], p->peers, p->n_peers, err);
		if (r > 0) {
			r = prune_one(&p->txn, graves[i].path, err);
			p->pruned++;
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static int prune_all(struct pruning *p, struct err *err)
{
	struct tombstone graves[PRUNE_CHUNK];
	char *from = NULL;
	size_t n;
	int r;
	do {
		n = 0;
		r = list_tombstones(&p->txn, from ? from : "", graves, &n, err);
		if (r == 0)
			r = prune_chunk(p, graves, n, err);
		if (n > 0) {
			free(from);
			from = x_strdup(graves[n - 1].path);
		}
		for (size_t i = 0; i < n; i++)
			free(graves[i].path);
	} while (r == 0 && n == PRUNE_CHUNK);
	free(from);
	return r;
}

int store_prune_tombstones(struct store *store, const char *const *peers, size_t n,
			   uint64_t max_age_s, size_t *pruned, struct err *err)
{
	AUTO_FREE struct peer **known = x_calloc(n, sizeof(struct peer *));
	for (size_t i = 0; i < n; i++)
		known[i] = store_find_peer(store, peers[i]);
	struct pruning p = {.peers = known, .n_peers = n};
	*pruned = 0;
	int r = txn_begin(&p.txn, store, "prune", err);
	if (r < 0)
		return r;
	int64_t age_ns =
		max_age_s > INT64_MAX / 1000000000 ? INT64_MAX : (int64_t)max_age_s * 1000000000;
	p.oldest_ns = p.txn.now_ns - age_ns;
	r = txn_end(&p.txn, prune_all(&p, err), err);
	if (r == 0)
		*pruned = p.pruned;
	return r;
}
