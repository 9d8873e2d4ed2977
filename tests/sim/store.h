/* store.h - the model of agent/store: what is durable outside the tree. Each call is one
 * transaction: nothing of it is lost by a crash, and nothing of another is seen in the midst of it.
 * It follows store_*.c in what a transaction does to index, digest, chain and acknowledgements. */
#ifndef SIM_STORE_H
#define SIM_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "disk.h"
#include "paths.h"
#include "protocol/digest.h"
#include "protocol/record.h"
#include "protocol/wire.h"

#define NODES_MAX 3
#define LINEAGE_KEPT 16
#define BATCH_ROWS 24 /* records in one batch */
#define SALVAGE_ROWS 96
#define CHAINS_KEPT 512

#define ROW_FOREIGN 0x01 /* as ENTRY_FOREIGN, ENTRY_KEPT */
#define ROW_KEPT 0x02

struct row {
	uint8_t kind; /* 0: no row */
	uint8_t flags;
	uint16_t mode;
	int64_t mtime;
	uint64_t content;
	uint64_t epoch, seq;
	struct disk_stat inst; /* kind 0: nothing installed */
};

struct acked_row {
	bool present;
	uint8_t kind;
	uint64_t seq, content;
};

struct peer_rows {
	struct acked_row acked[N_PATHS];
	uint64_t chain_n;
	uint8_t chain[32];
};

enum journal_op { JOURNAL_PUBLISH = 1, JOURNAL_DIR, JOURNAL_META, JOURNAL_REMOVE, JOURNAL_RMDIR };

struct journal_row {
	enum journal_op op;
	int path;
	struct row row; /* to come; inst is what it replaces */
	uint32_t temp;	/* name in stage; 0: none */
	uint32_t temp_ino;
	bool keep_foreign;
};

struct salvage_row {
	uint32_t name; /* in the salvage; 0: unused */
	uint64_t content;
	bool complete;
};

struct store {
	uint8_t role;
	bool adopt;
	uint64_t last_seq;
	uint64_t chain_n;
	uint8_t chain[32];
	uint64_t chains[CHAINS_KEPT]; /* the newest, by number; of each the first bytes */
	uint16_t n_lineage;
	struct epoch_entry lineage[LINEAGE_KEPT];
	struct row rows[N_PATHS];
	uint64_t records;
	struct digest set;
	uint8_t digest[32];
	bool digest_valid;
	struct peer_rows peers[NODES_MAX];
	struct journal_row journal[BATCH_ROWS];
	size_t n_journal;
	struct salvage_row salvage[SALVAGE_ROWS];
	size_t next_salvage;
	uint64_t barrier_seq;
};

/* ---- records -------------------------------------------------------------------------------- */

/* What a record borrows that a row has no bytes of. */
struct record_bytes {
	uint8_t target[8];
};
void row_record(struct record *out, struct record_bytes *bytes, int path, const struct row *row);
/* A row with what the record says; nothing installed. */
void row_of_record(struct row *out, const struct record *record);
bool row_is_live(const struct row *row);
bool row_equal(const struct row *a, const struct row *b); /* as record_equal() */
bool row_same_content(const struct row *a, const struct row *b);
/* Does the object have all that the row says? `mtime`: of directories, too. */
bool row_is_attrs(const struct row *row, const struct disk_attrs *attrs);
const uint8_t *store_digest(struct store *store);
/* SHA-256 over the elements of the range, in the model's hash. @return how many records */
uint64_t store_range_digest(const struct store *store, int lo, int hi, uint8_t out[32]);

/* ---- transactions --------------------------------------------------------------------------- */

enum captured_kind { CAPTURED_VERSION, CAPTURED_SAME, CAPTURED_GONE, CAPTURED_TOMBSTONE };
struct captured {
	enum captured_kind kind;
	int path;
	struct row row; /* VERSION, SAME */
};
/* @return how many records got a seq */
size_t store_capture(struct store *store, const struct captured *items, size_t n, bool foreign);

void store_set_role(struct store *store, uint8_t role);
void store_set_lineage(struct store *store, const struct epoch_entry *entries, uint16_t n);
void store_raise_seq(struct store *store, uint64_t seq);
void store_ack(struct store *store, int peer, const int *paths, const struct acked_row *rows,
	       size_t n);
void store_unack(struct store *store, int peer, uint64_t paths);
/* Was (n, chain) ever a state of this store? Of what is no longer kept it is believed. */
bool store_chain_was_ours(const struct store *store, uint64_t n, const uint8_t chain[32]);
void store_set_peer_chain(struct store *store, int peer, uint64_t n, const uint8_t chain[32]);
void store_prune_tombstones(struct store *store, uint32_t peers);
void store_journal_begin(struct store *store, const struct journal_row *rows, size_t n);

struct installed {
	int path;
	struct row row;
	bool forget;
};
struct touched_stat {
	int path;
	struct disk_stat inst;
};
void store_journal_end(struct store *store, const struct installed *done, size_t n,
		       const struct touched_stat *touched, size_t n_touched);
struct salvage_row *store_salvage_begin(struct store *store, uint32_t name, uint64_t content);

/* ---- what a peer still needs ---------------------------------------------------------------- */

struct pending {
	int path;
	uint64_t seq;
	uint8_t kind;
	uint32_t size;
};
/* As the real one: by (seq, path) behind `after`, each behind its unacknowledged directories. */
size_t store_pending(const struct store *store, int peer, uint64_t after, struct pending *out,
		     size_t max);
bool store_is_acked(const struct store *store, int peer, int path);
size_t store_count_pending(const struct store *store, int peer);

#endif
