/* What a peer still needs. A record is acknowledged when the peer's row for its path carries its
 * seq, so the question is a merge of two indexes that are both in the order of (seq, path): no
 * table is touched for what is acknowledged. The walk begins at the watermark, beneath which all
 * is. */
#include "agent/store/store_private.h"

#include <errno.h>
#include <string.h>

#include "agent/base/hash_table.h"
#include "protocol/relpath.h"

#define ANCESTORS_MAX 16384 /* remembered within one call; then forgotten and looked up again */

struct peer *store_find_peer(struct store *store, const char *name)
{
	struct peer *found = NULL;
	pthread_mutex_lock(&store->state_lock);
	for (size_t i = 0; i < store->n_peers && !found; i++) {
		if (strcmp(store->peers[i]->name, name) == 0)
			found = store->peers[i];
	}
	pthread_mutex_unlock(&store->state_lock);
	return found;
}

/* ---- the merge --------------------------------------------------------------------------------
 */

struct merge {
	struct store *store;
	struct peer *peer; /* NULL: nothing is acknowledged */
	int64_t peer_id;
	struct conn *conn;
	sqlite3_stmt *records, *acked;
	bool acked_ended;
	uint64_t lowered; /* peer->lowered when the walk began */
	uint64_t last_seq;
};

static void merge_end(struct merge *m)
{
	if (!m->conn)
		return;
	sqlite3_stmt_free(m->records);
	sqlite3_stmt_free(m->acked);
	if (!sqlite3_get_autocommit(m->conn->db))
		sqlite3_exec(m->conn->db, "COMMIT", NULL, NULL, NULL);
	store_give_reader(m->store, m->conn);
}

static int step_acked(struct merge *m, struct err *err)
{
	int r = statement_step(m->acked, err);
	m->acked_ended = r == 0;
	return r;
}

/* Begins behind `after`. The two statements must see one state of the database: a transaction holds
 * it. */
static int merge_begin(struct merge *m, struct store *store, const char *name, uint64_t after,
		       struct err *err)
{
	*m = (struct merge){.store = store, .peer = store_find_peer(store, name), .peer_id = -1};
	pthread_mutex_lock(&store->state_lock);
	m->last_seq = store->state.last_seq; /* before the snapshot: all up to here is in it */
	if (m->peer) {
		m->peer_id = m->peer->id;
		m->lowered = m->peer->lowered;
		if (after < m->peer->watermark)
			after = m->peer->watermark;
	}
	pthread_mutex_unlock(&store->state_lock);
	int r = store_take_reader(&m->conn, store, err);
	if (r < 0)
		return r;
	m->records = conn_statement(m->conn, SQL_BY_SEQ, err);
	m->acked = conn_statement(m->conn, SQL_ACKED_BY_SEQ, err);
	if (!m->records || !m->acked)
		return err_wrap(err, "walk what is pending");
	if (sqlite3_exec(m->conn->db, "BEGIN", NULL, NULL, NULL) != SQLITE_OK)
		return sql_error(m->conn->db, err, "walk what is pending");
	bind_int(m->records, 1, (int64_t)after);
	bind_int(m->acked, 1, m->peer_id);
	bind_int(m->acked, 2, (int64_t)after);
	r = step_acked(m, err);
	return r < 0 ? r : 0;
}

/* Compares the two rows by (seq, path). */
static int merge_order(const struct merge *m)
{
	int64_t a = sqlite3_column_int64(m->acked, 0), b = sqlite3_column_int64(m->records, 0);
	return a != b ? (a < b ? -1 : 1)
		      : strcmp(column_path(m->acked, 1), column_path(m->records, 1));
}

/* @return 1 when the row of m->records is a record that is not acknowledged, 0 at the end */
static int merge_next(struct merge *m, struct err *err)
{
	int r;
	while ((r = statement_step(m->records, err)) > 0) {
		int order = 1;
		while (!m->acked_ended && (order = merge_order(m)) < 0) {
			r = step_acked(m, err);
			if (r < 0)
				return r;
		}
		if (m->acked_ended || order != 0)
			return 1;
	}
	return r;
}

/* Raises the watermark unless it was lowered since the walk began. */
static void raise_watermark(struct merge *m, uint64_t to)
{
	if (!m->peer)
		return;
	pthread_mutex_lock(&m->store->state_lock);
	if (m->peer->lowered == m->lowered && m->peer->watermark < to)
		m->peer->watermark = to;
	pthread_mutex_unlock(&m->store->state_lock);
}

/* ---- ancestors --------------------------------------------------------------------------------
 */

struct ancestor {
	UT_hash_handle hh;
	char path[];
};

struct listing {
	struct merge merge;
	struct ancestor
		*settled; /* the peer has them, or they have been listed, or are not to be sent */
	struct pending *out;
	size_t max, n;
};

static void forget_settled(struct listing *l)
{
	struct ancestor *a, *next;
	HASH_ITER (hh, l->settled, a, next) {
		HASH_DEL(l->settled, a);
		free(a);
	}
}

static bool is_settled(const struct listing *l, const char *path, size_t len)
{
	struct ancestor *a;
	HASH_FIND(hh, l->settled, path, len, a);
	return a != NULL;
}

static void settle(struct listing *l, const char *path, size_t len)
{
	if (is_settled(l, path, len))
		return;
	if (HASH_COUNT(l->settled) >= ANCESTORS_MAX)
		forget_settled(l);
	struct ancestor *a = x_calloc(1, sizeof(*a) + len + 1);
	memcpy(a->path, path, len);
	HASH_ADD(hh, l->settled, path, len, a);
}

static bool list(struct listing *l, const struct record *rec)
{
	if (l->n == l->max)
		return false;
	bool file = rec->kind == RECORD_FILE;
	l->out[l->n++] = (struct pending){.path = x_strdup(rec->path),
					  .seq = rec->seq,
					  .size = file ? rec->size : 0,
					  .mtime_ns = rec->mtime_ns,
					  .kind = rec->kind};
	return true;
}

static int peer_has_dir(struct listing *l, const char *path, size_t len, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(l->merge.conn, SQL_ACKED, err);
	if (!s)
		return err_wrap(err, "what a peer has");
	bind_int(s, 1, l->merge.peer_id);
	bind_bytes(s, 2, path, len);
	int r = statement_step(s, err);
	return r > 0 ? sqlite3_column_int(s, 1) == RECORD_DIR : r;
}

/* @return 1 listed, 0 not to be sent, -ENOBUFS without room */
static int list_dir(struct listing *l, const char *path, size_t len, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(l->merge.conn, SQL_GET, err);
	if (!s)
		return err_wrap(err, "look up a directory");
	bind_bytes(s, 1, path, len);
	int r = statement_step(s, err);
	if (r <= 0)
		return r;
	struct index_entry view;
	entry_view(&view, s);
	if (view.rec.kind != RECORD_DIR || view.rec.seq == 0)
		return 0;
	return list(l, &view.rec) ? 1 : -ENOBUFS;
}

static int settle_dir(struct listing *l, const char *path, size_t len, struct err *err)
{
	if (is_settled(l, path, len))
		return 0;
	int r = peer_has_dir(l, path, len, err);
	if (r == 0)
		r = list_dir(l, path, len, err);
	if (r < 0)
		return r;
	settle(l, path, len);
	return 0;
}

/* From the tree's own record downwards. */
static int settle_ancestors(struct listing *l, const char *path, struct err *err)
{
	if (*path == '\0')
		return 0;
	if (is_settled(l, path, relpath_parent_len(path)))
		return 0;
	int r = settle_dir(l, "", 0, err);
	for (const char *slash = strchr(path, '/'); r == 0 && slash; slash = strchr(slash + 1, '/'))
		r = settle_dir(l, path, (size_t)(slash - path), err);
	return r;
}

/* ---- listing ----------------------------------------------------------------------------------
 */

static void unlist_from(struct listing *l, size_t from)
{
	while (l->n > from)
		free(l->out[--l->n].path);
}

/* The record of the merge's row behind its ancestors. @return -ENOBUFS when they do not all fit */
static int list_candidate(struct listing *l, struct err *err)
{
	const char *path = column_path(l->merge.records, 1);
	bool tombstone = sqlite3_column_int(l->merge.records, 2) == RECORD_ABSENT;
	int r = tombstone ? 0 : settle_ancestors(l, path, err);
	if (r < 0)
		return r;
	AUTO(sqlite3_stmt) *s = conn_statement(l->merge.conn, SQL_GET, err);
	if (!s)
		return err_wrap(err, "look up a pending record");
	bind_path(s, 1, path);
	r = statement_step(s, err);
	if (r <= 0)
		return r;
	struct index_entry view;
	entry_view(&view, s);
	if (!list(l, &view.rec))
		return -ENOBUFS;
	if (view.rec.kind == RECORD_DIR)
		settle(l, path, strlen(path));
	return 0;
}

static int list_all(struct listing *l, struct err *err)
{
	int r;
	while (l->n < l->max && (r = merge_next(&l->merge, err)) != 0) {
		if (r < 0)
			return r;
		size_t before = l->n;
		r = list_candidate(l, err);
		if (r == -ENOBUFS) {
			unlist_from(l, before);
			return before > 0 ? 0
					  : err_set(err, -ENOBUFS,
						    "a page of %zu is too small for a "
						    "record and the directories above it",
						    l->max);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

int store_pending(struct store *store, const char *peer, uint64_t after, struct pending *out,
		  size_t max, size_t *n, struct err *err)
{
	struct listing l = {.out = out, .max = max};
	*n = 0;
	int r = merge_begin(&l.merge, store, peer, after, err);
	if (r == 0)
		r = list_all(&l, err);
	merge_end(&l.merge);
	forget_settled(&l);
	if (r < 0)
		unlist_from(&l, 0);
	*n = l.n;
	return r;
}

/* ---- one set ----------------------------------------------------------------------------------
 */

static int read_members(struct listing *l, const char *set, struct pending *members, size_t *n,
			struct err *err)
{
	int r;
	AUTO(sqlite3_stmt) *s = conn_statement(l->merge.conn, SQL_MEMBERS_PENDING, err);
	if (!s)
		return err_wrap(err, "list a set");
	bind_int(s, 1, l->merge.peer_id);
	bind_path(s, 2, set);
	bind_int(s, 3, WIRE_SET_MAX + 1);
	while ((r = statement_step(s, err)) > 0) {
		if (*n == WIRE_SET_MAX)
			return err_set(err, -E2BIG, "more than %d members", WIRE_SET_MAX);
		struct pending *p = &members[(*n)++];
		p->path = x_strdup(column_path(s, 0));
		p->seq = (uint64_t)sqlite3_column_int64(s, 1);
		p->kind = (enum record_kind)sqlite3_column_int(s, 2);
		p->size = p->kind == RECORD_FILE ? (uint64_t)sqlite3_column_int64(s, 3) : 0;
		p->mtime_ns = sqlite3_column_int64(s, 4);
	}
	return r;
}

/* A directory that is a member itself is not "above". */
static int list_set(struct listing *l, const struct pending *members, size_t n, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		if (members[i].kind == RECORD_DIR)
			settle(l, members[i].path, strlen(members[i].path));
	}
	for (size_t i = 0; i < n; i++) {
		int r = members[i].kind == RECORD_ABSENT
				? 0
				: settle_ancestors(l, members[i].path, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int store_pending_set(struct store *store, const char *peer, const char *set, struct pending *out,
		      size_t max, size_t *n_above, size_t *n, struct err *err)
{
	struct listing l = {.out = out, .max = max};
	AUTO_FREE struct pending *members = x_calloc(WIRE_SET_MAX, sizeof(*members));
	size_t count = 0;
	*n = *n_above = 0;
	int r = merge_begin(&l.merge, store, peer, 0, err);
	if (r == 0)
		r = read_members(&l, set, members, &count, err);
	if (r == 0)
		r = list_set(&l, members, count, err);
	if (r == 0 && l.n + count > max)
		r = err_set(err, -ENOBUFS, "a set and the directories above it are %zu records",
			    l.n + count);
	merge_end(&l.merge);
	forget_settled(&l);
	if (r < 0) {
		unlist_from(&l, 0);
		for (size_t i = 0; i < count; i++)
			free(members[i].path);
		return r;
	}
	memcpy(out + l.n, members, count * sizeof(*members));
	*n_above = l.n;
	*n = l.n + count;
	return 0;
}

/* ---- summary ----------------------------------------------------------------------------------
 */

static int find_watermark(uint64_t *out, struct store *store, const char *name, struct err *err)
{
	struct merge m;
	int r = merge_begin(&m, store, name, 0, err);
	if (r == 0)
		r = merge_next(&m, err);
	if (r >= 0) {
		*out = r > 0 ? (uint64_t)sqlite3_column_int64(m.records, 0) - 1 : m.last_seq;
		raise_watermark(&m, *out);
	}
	merge_end(&m);
	return r < 0 ? r : 0;
}

static int count_pending(struct pending_summary *out, struct store *store, const char *name,
			 struct err *err)
{
	struct merge m;
	out->changes = out->bytes = 0;
	int r = merge_begin(&m, store, name, 0, err);
	while (r >= 0 && (r = merge_next(&m, err)) > 0) {
		out->changes++;
		if (sqlite3_column_int(m.records, 2) == RECORD_FILE)
			out->bytes += (uint64_t)sqlite3_column_int64(m.records, 3);
	}
	merge_end(&m);
	return r;
}

/* Counted once by a walk, with writers kept out; from then on each transaction keeps the counts. */
static int count_first(struct pending_summary *out, struct store *store, const char *name,
		       struct err *err)
{
	pthread_mutex_lock(&store->write_lock);
	int r = count_pending(out, store, name, err);
	struct peer *peer = store_find_peer(store, name);
	if (r == 0 && peer) {
		pthread_mutex_lock(&store->state_lock);
		peer->changes = out->changes;
		peer->bytes = out->bytes;
		peer->counted = true;
		pthread_mutex_unlock(&store->state_lock);
	}
	pthread_mutex_unlock(&store->write_lock);
	return r;
}

int store_pending_summary(struct store *store, const char *peer, struct pending_summary *out,
			  struct err *err)
{
	struct peer *known = store_find_peer(store, peer);
	*out = (struct pending_summary){0};
	bool counted = false;
	if (known) {
		pthread_mutex_lock(&store->state_lock);
		counted = known->counted;
		out->changes = known->changes;
		out->bytes = known->bytes;
		pthread_mutex_unlock(&store->state_lock);
	}
	int r = counted ? 0 : count_first(out, store, peer, err);
	return r < 0 ? r : find_watermark(&out->acked_seq, store, peer, err);
}
