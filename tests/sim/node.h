/* node.h - a node: the pure machines of protocol/, a store, a disk, and between them the glue that
 * in the agent is made of files, threads and SQLite, in the same order of durable steps. Each step
 * of a worker is an event of its own, so that a crash, a cut or a change in the tree may come
 * before and after every one of them. */
#ifndef SIM_NODE_H
#define SIM_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "content.h"
#include "disk.h"
#include "network.h"
#include "protocol/inbound.h"
#include "protocol/lineage.h"
#include "protocol/outbound.h"
#include "store.h"

#define UNDER_WAY_MAX 24 /* records without their answer */
#define PARCELS_MAX 32	 /* and those that a worker has still to give back */
#define GROUP_MAX 4	 /* prepared at a time */
#define PAGE_ROWS 6
#define STREAMS_MAX 3
#define SLOTS_MAX 64
#define CHUNK 90 /* bytes of content in one DATA frame */
#define ASKS_MAX 4
#define RANGES_MAX 3 /* parts of a split */
#define LIST_MAX 3   /* a range no larger is listed */

struct world;
struct session;
struct wr;
typedef void session_run(struct session *s, uint32_t arg);

/* ---- the sender's end: agent/sync/sender*.c -------------------------------------------------- */

enum parcel_result { PARCEL_READY, PARCEL_STALE, PARCEL_CHANGED, PARCEL_WASTE };
enum stream_state { STREAM_OPENING, STREAM_ASKING, STREAM_SENDING, STREAM_SENT };

struct parcel {
	bool used;
	uint32_t begun;	 /* outbound's ticket */
	uint32_t ticket; /* on the wire; 0 until sent */
	int path;
	uint64_t seq;
	uint8_t need, op;
	struct row row;
	int hint;
	uint64_t basis;
	bool ask_signature;
	enum parcel_result result;
	bool streamed, in_streams, working, dead, last;
	enum stream_state state;
	uint32_t at;	 /* bytes of the stream that were sent */
	uint32_t source; /* the inode that is read */
};

struct ack_item {
	int path;
	struct acked_row row;
};

struct barrier_sent {
	uint64_t id, seq;
	struct row rows[N_PATHS]; /* what the index was, for the check */
};

struct sender {
	struct outbound *outbound; /* NULL: this session does not send */
	struct parcel parcels[PARCELS_MAX];
	uint8_t group[GROUP_MAX];
	size_t n_group;
	uint32_t last_ticket;
	bool more, refilling, restart, preparing, storing_acks, want_barrier;
	uint64_t cursor, covered, page_covered;
	struct pending page[PAGE_ROWS];
	size_t n_page;
	struct ack_item acks[2 * PARCELS_MAX], storing[2 * PARCELS_MAX];
	size_t n_acks, n_storing;
	uint64_t chain_n, storing_chain_n;
	uint8_t chain[32], storing_chain[32];
	uint64_t retry_at; /* 0: nothing is to be offered again */
	uint64_t retry_wait;
	uint32_t retry_timer; /* which one is the newest */
	uint64_t barrier_id;
	bool gave_up; /* a record, in this session: what depends on it goes all the same */
	struct barrier_sent barriers[8];
	size_t n_barriers;
};

/* ---- the receiver's end: agent/sync/receiver*.c -----------------------------------------------
 */

enum slot_result { SLOT_PENDING, SLOT_STAGED, SLOT_ALREADY, SLOT_NEED, SLOT_REFUSED, SLOT_ABORTED };

struct slot {
	bool used;
	uint32_t ticket;
	uint8_t op;
	int path, hint;
	struct row row;
	uint64_t basis;
	bool streamed, working, fresh, answered;
	bool last, aborted; /* has arrived */
	bool whole;	    /* the worker took the end, too */
	uint8_t bytes[2 * CONTENT_MAX];
	uint32_t n_bytes;
	uint32_t temp, temp_ino;
	uint64_t staged_at; /* step */
	enum slot_result result;
	uint8_t reason;
};

struct receiver {
	struct inbound *inbound; /* NULL: this session does not receive */
	struct slot slots[SLOTS_MAX];
	uint8_t todo[SLOTS_MAX]; /* small records waiting for a worker, in order */
	size_t n_todo;
	bool staging, storing_barrier, committing;
	uint8_t group[GROUP_MAX];
	size_t n_group;
	struct wire_barrier barriers[WIRE_BARRIERS_MAX];
	size_t n_barriers;
	struct wire_barrier storing;
	uint32_t acks[SLOTS_MAX];
	size_t n_acks;
	uint64_t known_seq;
	bool denied; /* something, in this session: order may suffer */
};

/* ---- comparing: agent/sync/compare.c, range_server.c ------------------------------------------
 */

struct range {
	int lo, hi; /* lo <= path < hi */
	uint64_t records;
	uint8_t digest[32];
};

struct ask {
	bool used, working;
	uint32_t id;
	struct range range;
	bool equal;
	struct range parts[RANGES_MAX + 1];
	size_t n_parts;
	struct row listed[N_PATHS]; /* theirs */
	/* what the worker found */
	uint64_t rows, tombstones, unacks;
	struct row theirs[N_PATHS];
	struct range todo[RANGES_MAX + 1];
	size_t n_todo;
};

/* A RANGE_ASK of the other side, until it is answered. */
struct answer {
	bool used;
	uint32_t id;
	struct range asked;
};

struct compare {
	bool running;
	uint32_t next_id;
	struct ask asks[ASKS_MAX];
	struct range todo[4 * N_PATHS];
	size_t n_todo;
};

/* ---- a batch: agent/sync/commit*.c -------------------------------------------------------------
 */

enum batch_phase {
	BATCH_IDLE,
	BATCH_SALVAGE, /* only after a start: what was on its way to the salvage */
	BATCH_PLAN,
	BATCH_SYNC_STAGED,
	BATCH_JOURNAL,
	BATCH_PERFORM,
	BATCH_DIRS,
	BATCH_SYNC_TOUCHED,
	BATCH_RECORD,
	BATCH_RETIRE,
	BATCH_CLEAN, /* only after a start: what is left in stage */
	BATCH_END,
};

enum op_state { OP_WAITING, OP_PERFORMED, OP_FAILED };
/* When an operation's turn comes. */
enum op_phase { PHASE_CLEAR, PHASE_DIRS, PHASE_FILES, PHASE_META, PHASE_REMOVE };

struct op {
	struct journal_row row;
	struct slot *slot; /* NULL in roll-forward */
	enum op_phase phase;
	enum op_state state;
	uint8_t need, refused; /* of a failed one */
	bool planned;	       /* is in the journal */
	bool retire, kept, displaces_dir, make_dir_next;
	bool must_sync;		 /* what was staged is not known to be durable */
	struct disk_stat staged; /* of what comes; of a directory or META: with its metadata */
	int salvaging;		 /* the next step of moving what was displaced; 0: nothing */
	struct salvage_row *salvage;
};

struct batch {
	enum batch_phase phase;
	bool recovering;
	struct session *session; /* NULL while recovering */
	struct op ops[BATCH_ROWS];
	size_t n, at;
	uint64_t touched; /* directories */
	uint64_t no_longer_kept;
	struct touched_stat known[N_PATHS];
	size_t n_known;
	bool sync_each;
	uint64_t syncing; /* step at which the sync that runs began; 0: none does */
};

/* ---- a session: agent/node/session.c, hello.c --------------------------------------------------
 */

struct session {
	struct world *w;
	struct node *node;
	int peer;
	struct side *link, *waiting;
	bool live, reconciling;
	enum handshake outcome;
	struct wire_hello said; /* the HELLO that was sent: the other side judges with it */
	struct epoch_entry said_lineage[LINEAGE_KEPT];
	uint64_t their_chain_n; /* as their HELLO said */
	uint8_t their_chain[32];
	uint64_t noted_chain_n; /* what is remembered of the peer's, of this session */
	uint64_t noted_at;
	bool rolled_back; /* the peer has met a state that this node does not know: compare first */
	int jobs;	  /* workers that have something of this session */
	bool closing;
	bool dialling;
	uint32_t backoff;
	uint64_t beat, beat_seen;
	bool ticking;
	struct sender sender;
	struct receiver receiver;
	struct compare compare;
	struct answer answers[2 * ASKS_MAX];
	uint64_t matched_seq;
	bool matched;
	/* for the checks: the peer's tree may rightly differ from what is noted of it */
	bool excused;
};

struct node {
	struct world *w;
	int number;
	const char *name;
	struct store store;
	struct disk disk;
	bool up, listening;
	uint32_t incarnation;
	uint64_t synced_at; /* step at which the last sync of everything that ended had begun */
	struct session sessions[NODES_MAX];
	struct batch batch;
	/* intake */
	uint64_t dirty, gone; /* paths to look at; paths that were not there */
	uint64_t scan_found;
	bool capture_due, capturing, scanning, scanned;
	struct captured captured[N_PATHS];
	size_t n_captured;
	/* an older copy of state and tree, for a rollback */
	struct store old_store;
	struct disk old_disk;
	bool has_old;
	/* for the checks */
	struct journal_row journal_at_crash[BATCH_ROWS];
	size_t n_journal_at_crash;
	bool was_populated;
	bool restored;			 /* from a copy that may hold local files of long ago */
	uint64_t asked_content[N_PATHS]; /* by SIGNATURE_ASK; a path is under way once */
	uint64_t local[N_PATHS];	 /* contents that were there before the first sync */
};

/* node.c */
void node_create(struct world *w, int number, bool active, bool populated);
void node_release(struct node *node);
void node_start(struct world *w, struct node *node, int peer, uint32_t arg);
void node_crash(struct world *w, struct node *node);
void node_recovered(struct world *w, struct node *node);
void node_listen(struct world *w, struct node *node); /* speaks to others from now on */
void node_keep_copy(struct node *node);
void node_roll_back(struct world *w, struct node *node);
bool node_is_active(const struct node *node);

/* intake.c: from the tree to the index */
void intake_start(struct world *w, struct node *node);
void intake_changed(struct world *w, struct node *node, uint64_t paths);
void intake_scan(struct world *w, struct node *node);
bool intake_is_idle(const struct node *node); /* the index is the tree */

/* session.c */
void session_on_proven(struct world *w, struct side *side);
void session_on_bytes(struct world *w, struct side *side);
void session_on_closed(struct world *w, struct side *side);
void session_on_writable(struct world *w, struct node *node, int peer, uint32_t arg);
void session_dial_later(struct session *s);
void session_violated(struct session *s, const char *what);
void session_want_barrier(struct session *s);
void session_matched(struct session *s, uint64_t chain_n, const uint8_t chain[32]);
void session_scanned(struct session *s);
void session_indexed(struct session *s);
void session_start_sender(struct session *s);
void session_start_receiver(struct session *s);
void session_on_mismatch(struct session *s);
void session_reconciled(struct session *s);
/* A worker that has something of the session: `run` is its next step. A session that was closed
 * waits for it. */
void session_job(struct session *s, uint64_t usual, const char *name, session_run *run,
		 uint32_t arg);
void session_tick(struct world *w, struct node *node, int peer, uint32_t arg);
void session_job_ended(struct session *s);
void session_run_job(struct session *s, session_run *run, uint32_t arg);
void session_send(struct session *s, uint8_t type, const struct wr *body);

/* hello.c */
void hello_send(struct session *s);
void hello_frame(struct session *s, const struct frame *frame);

/* sender.c, sender_stream.c, sender_acks.c */
void sender_start(struct session *s);
void sender_release(struct session *s);
void sender_kick(struct session *s, bool from_start);
void sender_want_barrier(struct session *s);
void sender_pump(struct session *s);
void sender_frame(struct session *s, const struct frame *frame);
void sender_store_acks(struct session *s);
void sender_send_record(struct session *s, struct parcel *p);
void sender_give_up(struct session *s, struct parcel *p);
void sender_plan(struct session *s, struct parcel *p);
void sender_start_stream(struct session *s, struct parcel *p);
void sender_step_streams(struct session *s);
bool parcel_is_streaming(const struct parcel *p);
void parcel_end(struct session *s, struct parcel *p);
void sender_on_signature(struct session *s, const struct frame *frame);

/* receiver.c, receiver_stage.c */
void receiver_start(struct session *s);
void receiver_release(struct session *s);
void receiver_frame(struct session *s, const struct frame *frame);
void receiver_committed(struct session *s);
void receiver_stage_todo(struct session *s);
void receiver_stage_stream(struct session *s, struct slot *slot);
void receiver_slot_finished(struct session *s, struct slot *slot);
void receiver_advance(struct session *s);
void receiver_serve_signature(struct session *s, const struct wire_signature_ask *ask);
void receiver_answer_batch(struct session *s);

/* batch.c: order; batch_plan.c, batch_perform.c, batch_end.c */
void batch_start(struct session *s, struct slot **slots, size_t n);
void batch_recover(struct world *w, struct node *node);
void batch_plan(struct node *node);
/* One step of the phase. @return true while there is more to do in it */
bool batch_perform(struct node *node);
bool batch_finish_dirs(struct node *node);
bool batch_sync_touched(struct node *node);
bool batch_sync_all(struct node *node); /* in two steps; covers what was there at the first */
void batch_record(struct node *node);
bool batch_retire(struct node *node);

/* compare.c, range.c */
void compare_start(struct session *s);
void compare_stop(struct session *s);
void compare_frame(struct session *s, const struct frame *frame);
void range_answer(struct session *s, const struct frame *frame);

#endif
