/* What content a peer has, and under which path. The table of acknowledgements knows it by path;
 * a map in memory, made of that table when it is first asked for, leads to the row. */
#include "agent/store/store_private.h"

#include <errno.h>

#define STALE_MAX 65536 /* entries whose path has other content by now, before all is made anew */

void content_note(struct store *store, struct peer *peer, const struct acked *ack)
{
	if (ack->kind != RECORD_FILE || ack->seq == 0)
		return;
	pthread_mutex_lock(&store->state_lock);
	if (peer->content_known)
		content_map_put(&peer->content, ack->hash, ack->seq);
	if (peer->content.n > 2 * peer->content_loaded + STALE_MAX)
		peer->content_known = false;
	pthread_mutex_unlock(&store->state_lock);
}

void content_forget(struct store *store, struct peer *peer)
{
	pthread_mutex_lock(&store->state_lock);
	peer->content_known = false;
	pthread_mutex_unlock(&store->state_lock);
}

static int load_rows(struct content_map *out, struct store *store, int64_t peer, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(store->reader, SQL_ACKED_CONTENTS, err);
	if (!s)
		return err_wrap(err, "what a peer has");
	bind_int(s, 1, peer);
	int r;
	while ((r = statement_step(s, err)) > 0) {
		uint8_t hash[HASH_LEN];
		column_fixed(s, 1, hash, HASH_LEN);
		content_map_put(out, hash, (uint64_t)sqlite3_column_int64(s, 0));
	}
	return r;
}

/* What is acknowledged from here on is noted, so that at worst something is missed that a
 * transaction under way acknowledges. */
static int load(struct store *store, struct peer *peer, struct err *err)
{
	struct content_map map = {0};
	pthread_mutex_lock(&store->state_lock);
	bool known = peer->content_known;
	pthread_mutex_unlock(&store->state_lock);
	if (known)
		return 0;
	int r = load_rows(&map, store, peer->id, err);
	if (r < 0) {
		content_map_release(&map);
		return r;
	}
	pthread_mutex_lock(&store->state_lock);
	content_map_release(&peer->content);
	peer->content = map;
	peer->content_loaded = map.n;
	peer->content_known = true;
	pthread_mutex_unlock(&store->state_lock);
	return 0;
}

static int find_row(struct store *store, int64_t peer, uint64_t seq, const uint8_t hash[HASH_LEN],
		    char **path, struct err *err)
{
	AUTO(sqlite3_stmt) *s = conn_statement(store->reader, SQL_ACKED_AT, err);
	if (!s)
		return err_wrap(err, "what a peer has");
	bind_int(s, 1, peer);
	bind_int(s, 2, (int64_t)seq);
	bind_hash(s, 3, hash);
	int r = seq == 0 ? 0 : statement_step(s, err);
	if (r <= 0)
		return r < 0 ? r : err_set(err, -ENOENT, "the peer has no such content");
	*path = x_strdup(column_path(s, 0));
	return 0;
}

static int find_content(struct store *store, struct peer *peer, const uint8_t hash[HASH_LEN],
			char **path, struct err *err)
{
	int r = load(store, peer, err);
	if (r < 0)
		return r;
	pthread_mutex_lock(&store->state_lock);
	uint64_t seq = content_map_get(&peer->content, hash);
	pthread_mutex_unlock(&store->state_lock);
	return find_row(store, peer->id, seq, hash, path, err);
}

int store_acked_content(struct store *store, const char *peer, const uint8_t hash[HASH_LEN],
			char **path, struct err *err)
{
	struct peer *known = store_find_peer(store, peer);
	if (!known)
		return err_set(err, -ENOENT, "the peer has acknowledged nothing");
	pthread_mutex_lock(&store->read_lock);
	int r = find_content(store, known, hash, path, err);
	pthread_mutex_unlock(&store->read_lock);
	return r;
}
