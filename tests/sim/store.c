#include "store.h"

#include <string.h>

#include "content.h"
#include "random.h"

/* ---- records -------------------------------------------------------------------------------- */

void row_record(struct record *out, struct record_bytes *bytes, int path, const struct row *row)
{
	*out = (struct record){
		.path = path_text[path], .kind = row->kind, .epoch = row->epoch, .seq = row->seq};
	if (row->kind == RECORD_ABSENT)
		return;
	out->mtime_ns = row->mtime;
	if (row->kind != RECORD_SYMLINK)
		out->mode = row->mode;
	if (row->kind == RECORD_FILE) {
		out->size = content_size(row->content);
		content_hash(out->hash, row->content);
	} else if (row->kind == RECORD_SYMLINK) {
		for (int i = 0; i < 8; i++) /* bytes without NUL */
			bytes->target[i] = (uint8_t)(0x80 | (row->content >> 7 * i & 0x7f));
		out->target = bytes->target;
		out->target_len = sizeof(bytes->target);
	}
}

void row_of_record(struct row *out, const struct record *record)
{
	*out = (struct row){.kind = (uint8_t)record->kind,
			    .mode = (uint16_t)record->mode,
			    .mtime = record->mtime_ns,
			    .epoch = record->epoch,
			    .seq = record->seq};
	if (record->kind == RECORD_FILE)
		out->content = content_of_hash(record->hash);
	for (uint32_t i = 0; record->kind == RECORD_SYMLINK && i < record->target_len && i < 8; i++)
		out->content |= (uint64_t)(record->target[i] & 0x7f) << 7 * i;
}

bool row_is_live(const struct row *row)
{
	return row->kind != 0 && row->kind != RECORD_ABSENT;
}

bool row_same_content(const struct row *a, const struct row *b)
{
	return a->kind == b->kind && (a->kind == RECORD_DIR || a->content == b->content);
}

bool row_equal(const struct row *a, const struct row *b)
{
	return row_same_content(a, b) && a->mtime == b->mtime && a->mode == b->mode;
}

bool row_is_attrs(const struct row *row, const struct disk_attrs *attrs)
{
	return row->kind == attrs->kind && row->mode == attrs->mode && row->mtime == attrs->mtime &&
	       (row->kind == RECORD_DIR || row->content == attrs->content);
}

/* ---- digest --------------------------------------------------------------------------------- */

static void element_hash(uint8_t out[32], int path, const struct row *row)
{
	uint8_t element[512];
	struct record record;
	struct record_bytes bytes;
	row_record(&record, &bytes, path, row);
	size_t len = record_element(element, sizeof(element), &record, false);
	hash32(out, element, (uint32_t)len, 2);
}

static void account(struct store *store, int path, const struct row *row, int sign)
{
	uint8_t hash[32], expanded[DIGEST_STATE_LEN];
	struct random stream;
	if (!row_is_live(row))
		return;
	element_hash(hash, path, row);
	memcpy(&stream.state, hash, sizeof(stream.state));
	for (size_t i = 0; i < sizeof(expanded); i += 8) {
		uint64_t word = random_next(&stream);
		memcpy(expanded + i, &word, 8);
	}
	(sign > 0 ? digest_add : digest_remove)(&store->set, expanded);
	store->records += (uint64_t)(int64_t)sign;
	store->digest_valid = false;
}

const uint8_t *store_digest(struct store *store)
{
	uint8_t saved[DIGEST_STATE_LEN];
	if (!store->digest_valid) {
		digest_save(saved, &store->set);
		hash32(store->digest, saved, sizeof(saved), 3);
		store->digest_valid = true;
	}
	return store->digest;
}

uint64_t store_range_digest(const struct store *store, int lo, int hi, uint8_t out[32])
{
	uint64_t n = 0;
	uint8_t joined[64] = {0};
	for (int path = lo; path < hi; path++) {
		if (!row_is_live(&store->rows[path]))
			continue;
		element_hash(joined + 32, path, &store->rows[path]);
		hash32(joined, joined, sizeof(joined), 4);
		n++;
	}
	memcpy(out, joined, 32);
	return n;
}

/* ---- transactions --------------------------------------------------------------------------- */

static void extend_chain(struct store *store, const char *what)
{
	uint8_t bytes[32 + 32 + 8 + 16] = {0};
	memcpy(bytes, store->chain, 32);
	memcpy(bytes + 32, store_digest(store), 32);
	memcpy(bytes + 64, &store->last_seq, 8);
	memcpy(bytes + 72, what, strlen(what));
	hash32(store->chain, bytes, sizeof(bytes), 5);
	store->chain_n++;
	memcpy(&store->chains[store->chain_n % CHAINS_KEPT], store->chain, sizeof(uint64_t));
}

bool store_chain_was_ours(const struct store *store, uint64_t n, const uint8_t chain[32])
{
	if (n == 0 || n + CHAINS_KEPT <= store->chain_n)
		return true;
	return n <= store->chain_n &&
	       memcmp(&store->chains[n % CHAINS_KEPT], chain, sizeof(uint64_t)) == 0;
}

static void put(struct store *store, int path, const struct row *row)
{
	account(store, path, &store->rows[path], -1);
	store->rows[path] = *row;
	account(store, path, row, 1);
}

static uint64_t epoch_of(const struct store *store)
{
	return store->n_lineage ? store->lineage[store->n_lineage - 1].number : 0;
}

static void bury(struct store *store, int path, uint64_t epoch, uint64_t seq, uint8_t flags)
{
	struct row grave = {.kind = RECORD_ABSENT, .flags = flags, .epoch = epoch, .seq = seq};
	put(store, path, &grave);
}

static void forget(struct store *store, int path)
{
	const struct row nothing = {0};
	put(store, path, &nothing);
}

static size_t bury_or_forget(struct store *store, int path, bool foreign)
{
	if (!row_is_live(&store->rows[path]))
		return 0;
	if (foreign)
		forget(store, path);
	else
		bury(store, path, epoch_of(store), ++store->last_seq, 0);
	return 1;
}

/* Descending order: children before their directories. */
static size_t gone(struct store *store, int path, bool itself, bool foreign)
{
	size_t changed = 0;
	for (int i = N_PATHS - 1; i > path; i--) {
		if (path_beneath[path] >> i & 1)
			changed += bury_or_forget(store, i, foreign);
	}
	return changed + (itself ? bury_or_forget(store, path, foreign) : 0);
}

static size_t version(struct store *store, const struct captured *item, bool foreign)
{
	struct row *old = &store->rows[item->path];
	struct row now = item->row;
	size_t changed = 0;
	if (old->kind == RECORD_DIR && now.kind != RECORD_DIR)
		changed += gone(store, item->path, false, foreign);
	if ((foreign || old->seq != 0) && row_is_live(old) && row_equal(old, &now)) {
		old->inst = now.inst;
		return changed;
	}
	now.flags = foreign ? ROW_FOREIGN : 0;
	now.epoch = foreign ? 0 : epoch_of(store);
	now.seq = foreign ? 0 : ++store->last_seq;
	put(store, item->path, &now);
	return changed + 1;
}

static size_t tombstone(struct store *store, int path)
{
	if (store->rows[path].kind != 0)
		return 0;
	bury(store, path, epoch_of(store), ++store->last_seq, 0);
	return 1;
}

size_t store_capture(struct store *store, const struct captured *items, size_t n, bool foreign)
{
	size_t changed = 0;
	bool only_stats = true;
	for (size_t i = 0; i < n; i++) {
		only_stats &= items[i].kind == CAPTURED_SAME;
		switch (items[i].kind) {
		case CAPTURED_VERSION: changed += version(store, &items[i], foreign); break;
		case CAPTURED_SAME: store->rows[items[i].path].inst = items[i].row.inst; break;
		case CAPTURED_GONE: changed += gone(store, items[i].path, true, foreign); break;
		case CAPTURED_TOMBSTONE: changed += tombstone(store, items[i].path); break;
		}
	}
	if (!only_stats)
		extend_chain(store, "capture");
	return changed;
}

void store_set_role(struct store *store, uint8_t role)
{
	store->role = role;
	extend_chain(store, "role");
}

void store_set_lineage(struct store *store, const struct epoch_entry *entries, uint16_t n)
{
	memcpy(store->lineage, entries, n * sizeof(*entries));
	store->n_lineage = n;
	if (n > 0 && entries[n - 1].base_seq > store->last_seq)
		store->last_seq = entries[n - 1].base_seq;
	extend_chain(store, "lineage");
}

void store_raise_seq(struct store *store, uint64_t seq)
{
	if (seq <= store->last_seq)
		return;
	store->last_seq = seq;
	extend_chain(store, "raise");
}

void store_ack(struct store *store, int peer, const int *paths, const struct acked_row *rows,
	       size_t n)
{
	for (size_t i = 0; i < n; i++)
		store->peers[peer].acked[paths[i]] = rows[i];
	extend_chain(store, "ack");
}

void store_unack(struct store *store, int peer, uint64_t paths)
{
	for (int path = 0; path < N_PATHS; path++) {
		if (paths >> path & 1)
			store->peers[peer].acked[path] = (struct acked_row){0};
	}
	extend_chain(store, "unack");
}

void store_set_peer_chain(struct store *store, int peer, uint64_t n, const uint8_t chain[32])
{
	store->peers[peer].chain_n = n;
	memcpy(store->peers[peer].chain, chain, 32);
}

static bool acked_by_all(const struct store *store, int path, uint32_t peers)
{
	for (int peer = 0; peer < NODES_MAX; peer++) {
		if ((peers >> peer & 1) && !store_is_acked(store, peer, path))
			return false;
	}
	return true;
}

void store_prune_tombstones(struct store *store, uint32_t peers)
{
	for (int path = 0; path < N_PATHS; path++) {
		if (store->rows[path].kind != RECORD_ABSENT || !acked_by_all(store, path, peers))
			continue;
		forget(store, path);
		for (int peer = 0; peer < NODES_MAX; peer++)
			store->peers[peer].acked[path] = (struct acked_row){0};
	}
	extend_chain(store, "prune");
}

/* ---- a batch -------------------------------------------------------------------------------- */

void store_journal_begin(struct store *store, const struct journal_row *rows, size_t n)
{
	memcpy(store->journal, rows, n * sizeof(*rows));
	store->n_journal = n;
}

static void install(struct store *store, const struct installed *done)
{
	const struct row *row = &done->row;
	const struct row *old = &store->rows[done->path];
	if ((old->kind == RECORD_DIR || (old->flags & ROW_KEPT)) &&
	    (row->kind == RECORD_FILE || row->kind == RECORD_SYMLINK))
		gone(store, done->path, false, true);
	if (done->forget)
		forget(store, done->path);
	else if (row->kind == RECORD_ABSENT)
		bury(store, done->path, row->epoch, row->seq, row->flags);
	else
		put(store, done->path, row);
	if (store->last_seq < row->seq)
		store->last_seq = row->seq;
}

void store_journal_end(struct store *store, const struct installed *done, size_t n,
		       const struct touched_stat *touched, size_t n_touched)
{
	for (size_t i = 0; i < n; i++)
		install(store, &done[i]);
	for (size_t i = 0; i < n_touched; i++) {
		if (row_is_live(&store->rows[touched[i].path]))
			store->rows[touched[i].path].inst = touched[i].inst;
	}
	store->n_journal = 0;
	if (n > 0)
		extend_chain(store, "install");
}

/* The oldest row makes room: its object stays in the salvage. */
struct salvage_row *store_salvage_begin(struct store *store, uint32_t name, uint64_t content)
{
	struct salvage_row *row = &store->salvage[store->next_salvage++ % SALVAGE_ROWS];
	*row = (struct salvage_row){.name = name, .content = content};
	return row;
}

/* ---- what a peer still needs ---------------------------------------------------------------- */

bool store_is_acked(const struct store *store, int peer, int path)
{
	const struct acked_row *acked = &store->peers[peer].acked[path];
	return acked->present && acked->seq == store->rows[path].seq;
}

static bool is_pending(const struct store *store, int peer, int path)
{
	const struct row *row = &store->rows[path];
	return row->kind != 0 && row->seq != 0 && !store_is_acked(store, peer, path);
}

size_t store_count_pending(const struct store *store, int peer)
{
	size_t n = 0;
	for (int path = 0; path < N_PATHS; path++)
		n += is_pending(store, peer, path);
	return n;
}

static struct pending describe(const struct store *store, int path)
{
	const struct row *row = &store->rows[path];
	return (struct pending){.path = path,
				.seq = row->seq,
				.kind = row->kind,
				.size = row->kind == RECORD_FILE ? content_size(row->content) : 0};
}

/* The next pending record behind (seq, path), or -1. */
static int next_pending(const struct store *store, int peer, uint64_t seq, int behind)
{
	int next = -1;
	for (int path = 0; path < N_PATHS; path++) {
		const struct row *row = &store->rows[path];
		if (!is_pending(store, peer, path) || row->seq < seq ||
		    (row->seq == seq && path <= behind))
			continue;
		if (next < 0 || row->seq < store->rows[next].seq)
			next = path;
	}
	return next;
}

/* Directories above that the peer does not have as directories, from the tree downwards. */
static uint64_t ancestors_to_list(const struct store *store, int peer, int path, uint64_t settled)
{
	uint64_t list = 0;
	for (int above = 0; above < path; above++) {
		const struct acked_row *acked = &store->peers[peer].acked[above];
		if (!(path_above[path] >> above & 1) || (settled >> above & 1) ||
		    (acked->present && acked->kind == RECORD_DIR))
			continue;
		if (store->rows[above].kind == RECORD_DIR && store->rows[above].seq != 0)
			list |= 1ull << above;
	}
	return list;
}

size_t store_pending(const struct store *store, int peer, uint64_t after, struct pending *out,
		     size_t max)
{
	size_t n = 0;
	uint64_t settled = 0;
	int path = next_pending(store, peer, after + 1, -1);
	while (path >= 0) {
		uint64_t above = store->rows[path].kind == RECORD_ABSENT
					 ? 0
					 : ancestors_to_list(store, peer, path, settled);
		if (n + (size_t)__builtin_popcountll(above) + 1 > max)
			break;
		for (int i = 0; i < path; i++) {
			if (above >> i & 1)
				out[n++] = describe(store, i);
		}
		settled |= above;
		out[n++] = describe(store, path);
		if (store->rows[path].kind == RECORD_DIR)
			settled |= 1ull << path;
		path = next_pending(store, peer, store->rows[path].seq, path);
	}
	return n;
}
