/* session_world.h - what the random sessions are played with: a tree that changes and its outbound,
 * a FIFO link each way, and a passive with its inbound. test_session.c has the schedules. */
#ifndef TEST_PROTOCOL_SESSION_WORLD_H
#define TEST_PROTOCOL_SESSION_WORLD_H

#include "testing.h"

#include "protocol/inbound.h"
#include "protocol/outbound.h"
#include "protocol/relpath.h"
#include "protocol/wire.h"

#define N_PATHS 20
/* A path stands before what is beneath it. */
extern const char *const session_paths[N_PATHS];

enum kind { GONE, FILE_SMALL, FILE_LARGE, DIRECTORY };

struct version {
	uint64_t seq;
	enum kind kind;
};

/* Consistency sets, 0 = none: across directories, with a directory, and small enough for a batch.
 */
#define N_SETS 3
extern const uint32_t session_set_of[N_PATHS];
#define N_HISTORY 4096

enum frame_kind { RECORD, DATA, ABORT, SET_ABORT, BARRIER, ACK, NEED, REFUSED, BARRIER_DONE };

struct message {
	enum frame_kind kind;
	uint32_t ticket;
	size_t path;
	struct version version;
	uint32_t set, set_n;
	bool last;
	uint64_t id;
	uint32_t denials;
	uint8_t need;
};

#define LINK_MAX 4096
struct fifo {
	struct message messages[LINK_MAX];
	size_t first, n;
};

struct stream {
	uint32_t ticket; /* 0 = unused */
	uint32_t set;
	unsigned left;
};

#define N_STREAMS 2
#define N_RECORDS 8
#define MAX_BARRIERS 4096

struct slot {
	uint32_t ticket; /* 0 = unused */
	size_t path;
	struct version version;
	bool arriving, staged;
	uint32_t set;
};

struct world {
	uint64_t seed;
	uint64_t last_seq;
	bool calm; /* no changes and no denials any more */
	/* the active */
	struct version tree[N_PATHS];
	uint64_t offered[N_PATHS], acked[N_PATHS];
	unsigned times_acked[N_PATHS]; /* this very version */
	struct outbound *ob;
	struct stream streams[N_STREAMS];
	uint64_t last_barrier;
	size_t barriers_out;
	struct version snapshots[MAX_BARRIERS][N_PATHS];
	/* every state that the active ever had, for the sets */
	struct version (*history)[N_PATHS];
	size_t n_history;
	/* the link */
	struct fifo there, back;
	/* the passive */
	struct inbound *ib;
	struct version copy[N_PATHS];
	struct slot slots[N_RECORDS + N_STREAMS];
	uint32_t batch[N_RECORDS];
	size_t n_batch;
	/* what happened, to know that the schedule was worth something */
	size_t clean, dropped, acks, needs, refusals, aborts, set_aborts, sets, left_out;
};

/* Both sides. */
uint32_t session_chance(struct world *w, uint32_t n);
void session_push(struct fifo *fifo, struct message message);
struct message session_pop(struct fifo *fifo);
bool session_is_beneath(size_t path, size_t dir);
size_t session_parent(size_t path);

/* The active: each does one thing, or nothing when there is nothing to do. */
void active_change(struct world *w, size_t path, enum kind kind);
void active_change_something(struct world *w);
void active_remember(struct world *w);
void active_offer_pending(struct world *w);
void active_begin_one(struct world *w);
void active_go_on_with_a_stream(struct world *w);
void active_send_barrier(struct world *w);
void active_on_answer(struct world *w);

/* The passive. */
void passive_on_frame(struct world *w);
void passive_stage_something(struct world *w);
void passive_begin_commit(struct world *w);
void passive_end_commit(struct world *w);
void passive_judge_barrier(struct world *w);

#endif
