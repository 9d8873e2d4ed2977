/* receiver_internal.h - shared by receiver_frames.c (what comes), receiver_stage.c (slots on their
 * way to a staged object), receiver_commit.c and receiver_barrier.c (what is done with those), and
 * receiver.c (answers). Nobody else includes it. Thread: the loop, except where marked. */
#ifndef SYNC_RECEIVER_INTERNAL_H
#define SYNC_RECEIVER_INTERNAL_H

#include "agent/base/hash_table.h"
#include "agent/sync/job.h"
#include "agent/sync/receiver.h"
#include "agent/sync/refusals.h"
#include "protocol/inbound.h"

#define STAGE_JOBS_MAX \
	2 /* workers that stage small records at once, where there are cores for them */
#define STAGE_JOB_RECORDS 128  /* records in one of their jobs: a millisecond or two of work */
#define BATCH_MAX WIRE_SET_MAX /* records in one commit: a whole set fits */
#define DURABLE_BATCH_MIN 256  /* so many make a batch without those that are yet to be synced */
#define BARRIERS_MAX WIRE_BARRIERS_MAX

/* A piece of a stream, as it arrived. */
struct chunk {
	struct chunk *next;
	uint8_t flags; /* DATA_* */
	uint32_t raw_len;
	uint32_t len;
	uint8_t bytes[];
};
/* What it takes of RECEIVER_QUEUE_HIGH: pieces without a byte must not come without end either. */
#define CHUNK_COST(chunk) (sizeof(struct chunk) + (chunk)->len)

enum slot_result { SLOT_PENDING, SLOT_STAGED, SLOT_ALREADY, SLOT_NEED, SLOT_REFUSED, SLOT_ABORTED };

/* One RECORD from its arrival to its answer. */
struct slot {
	UT_hash_handle hh; /* by ticket */
	uint32_t ticket;
	struct receiver *rx;
	struct commit_item item;
	char *hint;		 /* OP_REF */
	uint8_t basis[HASH_LEN]; /* OP_DELTA */
	uint8_t *bytes;		 /* inline content */
	uint32_t bytes_len, raw_len;
	bool compressed;
	/* streams */
	bool streamed;
	bool working; /* a job has it */
	struct stage_stream *stream;
	struct chunk *first, **last; /* arrived and not yet taken by a job */
	struct chunk *taken;	     /* the job's */
	struct job job;
	/* the outcome; written by the worker */
	enum slot_result result;
	bool set_aborted; /* forgotten by SET_ABORT while a worker or the queue had it */
	uint8_t reason;
	int error; /* of SLOT_REFUSED: errno, or 0 */
	char text[160];
	struct slot *next_todo;
};

struct receiver {
	struct receiver_setup setup;
	struct inbound *inbound;
	struct slot *slots;		/* uthash */
	struct slot *todo, **todo_last; /* small records waiting for a worker */
	int stage_jobs, stream_jobs;
	int stage_jobs_max;
	bool committing;
	bool fresh; /* something may have become ready for a batch */
	bool storing_barrier;
	bool closing;
	bool violated;
	bool paused;
	uint64_t queued;      /* bytes of content received and not yet staged */
	struct slot *aborted; /* of sets given up: waiting to be discarded, through next_todo */
	int other_jobs;	      /* barrier, signature, clean-up */
	struct refusals *refusals;
	uint32_t *acks;
	size_t n_acks, cap_acks;
	struct wire_barrier barriers[BARRIERS_MAX];
	size_t n_barriers;
	uint64_t barrier_stored_ms;
	uint64_t known_seq; /* when the session began: what is above was not installed before */
};

void slot_free(struct slot *slot);

/* Behind what waits for a worker already. */
void receiver_add_todo(struct receiver *rx, struct slot *slot);

/* Starts whatever can be started: small records in groups, this slot's stream. */
void receiver_stage_todo(struct receiver *rx);
void receiver_stage_stream(struct slot *slot);

/* Called by receiver_stage.c when a slot has its result. */
void receiver_slot_finished(struct slot *slot);
/* Called when a group of results is in: answers go out, the next commit may start. */
void receiver_advance(struct receiver *rx);
void receiver_unqueue(struct receiver *rx, uint64_t bytes);

/* receiver.c: acknowledgements are collected, everything else goes out at once. */
void receiver_answer_ack(struct receiver *rx, uint32_t ticket);
void receiver_answer_need(struct receiver *rx, uint32_t ticket, uint8_t reason);
void receiver_answer_refused(struct receiver *rx, uint32_t ticket, const char *path, uint8_t reason,
			     int error, const char *text);
void receiver_flush_acks(struct receiver *rx);
void receiver_drop_slot(struct receiver *rx, struct slot *slot, bool acknowledged);

/* receiver_commit.c: when something is ready. Not while another commit is under way. */
void receiver_start_commit(struct receiver *rx);

/* receiver_barrier.c
 * @param clean  see inbound_reached_barrier() */
void receiver_judge_barrier(struct receiver *rx, uint64_t id, bool clean);

/* receiver_sets.c */
void receiver_on_set_abort(struct receiver *rx, const struct wire_set_abort *m);
/* A slot that SET_ABORT had ended comes back from a worker, or its stream has ended. */
void receiver_discard_slot(struct slot *slot);

/* SIGNATURE_ASK: computes and sends it. */
void receiver_serve_signature(struct receiver *rx, const struct wire_signature_ask *ask);

#endif
