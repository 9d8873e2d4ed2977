/* sender_internal.h - shared by sender.c (order, barriers), sender_pages.c (what is pending),
 * sender_prepare.c (small records), sender_stream.c (large ones), sender_answers.c and
 * sender_acks.c (what is durable about acknowledgements). Nobody else includes it. Thread: the
 * loop, except where marked. */
#ifndef SYNC_SENDER_INTERNAL_H
#define SYNC_SENDER_INTERNAL_H

#include "agent/base/buf.h"
#include "agent/base/hash_table.h"
#include "agent/sync/compress.h"
#include "agent/sync/delta.h"
#include "agent/sync/job.h"
#include "agent/sync/pace.h"
#include "agent/sync/sender.h"
#include "agent/sync/source.h"
#include "protocol/outbound.h"

#define GROUP_RECORDS 64		   /* small records one worker prepares at a time */
#define PAGE_RECORDS 1024		   /* records read from the index at a time */
#define STREAMS_MAX 4			   /* large files under way at once */
#define RESENDS_MAX (4 * WIRE_RESENDS_MAX) /* asked for while the ones before are forgotten */
#define STREAM_STEP (4 * WIRE_CHUNK_MAX)   /* bytes of content read per step */

enum parcel_result {
	PARCEL_READY,
	PARCEL_STALE,	/* the index has a newer version: that one will come by itself */
	PARCEL_CHANGED, /* the disk has a newer version: capture must look */
	PARCEL_FAILED,	/* it cannot be read now */
	PARCEL_WASTE,	/* the delta is not worth it: send whole */
};

enum stream_state { STREAM_OPENING, STREAM_ASKING, STREAM_SENDING, STREAM_SENT };

/* One record from outbound_begin() to its answer. */
struct parcel {
	UT_hash_handle hh; /* by ticket, once sent */
	struct sender *sd;
	uint32_t ticket; /* on the wire; 0 until sent */
	uint32_t begun;	 /* outbound's */
	uint64_t seq;
	uint32_t set; /* outbound's, and on the wire; 0: by itself */
	uint32_t set_n;
	uint8_t need;
	char *path;
	struct index_entry entry;
	uint8_t op;
	char *hint;
	uint8_t basis[HASH_LEN];
	uint64_t basis_size;
	struct buf body; /* small content, as it will cross the wire */
	uint32_t raw_len;
	bool compressed;
	enum parcel_result result;
	char why[160];
	/* large ones */
	bool streamed;
	bool working;
	bool dead; /* answered while a worker had it: freed when it is back */
	enum stream_state state;
	struct source *source;
	bool ask_signature; /* the cache has none */
	struct compress_history compressing;
	uint8_t *signature;
	size_t signature_len;
	struct buf asked; /* the peer's signature as it arrives */
	struct delta_job *delta;
	struct buf pieces; /* DATA bodies ready to send, each behind a u32 length */
	bool last;	   /* the pieces end the stream */
	struct job job;
	struct parcel *next_stream;
};

struct ack_item {
	char *path;
	uint64_t seq;
	enum record_kind kind;
	uint8_t hash[HASH_LEN];
	uint64_t size;
};

/* What the peer would not take, on its way to the store. */
struct refused_item {
	char *path, *reason;
};

struct sender {
	struct sender_setup setup;
	char peer[WIRE_NAME_MAX + 1];
	struct outbound *outbound;
	struct parcel *sent;	/* uthash by ticket: awaiting the answer */
	struct parcel *streams; /* list: being opened or sent */
	size_t n_streams;
	uint32_t last_ticket;
	uint8_t *frame; /* WIRE_FRAME_MAX bytes in which a RECORD is encoded */
	bool closing, violated, paused;
	int jobs;
	/* paging through the index */
	bool more, refilling, restart;
	bool sets_held;
	bool wanted_failed; /* reading a wanted set: again when retry_ms is over */
	bool page_blocked;  /* no room for what comes next until something is answered */
	bool in_pass;	    /* the pages began at the first seq */
	uint64_t cursor;    /* the next page begins behind this seq */
	uint64_t covered;   /* everything up to this seq has been offered */
	bool preparing;
	/* barriers */
	bool want_barrier;
	uint64_t wanted_ms; /* since when */
	uint64_t barrier_id;
	struct sent_barrier barriers[8];
	size_t n_barriers;
	/* acknowledgements on their way to the store */
	struct ack_item *acks;
	size_t n_acks, cap_acks;
	struct refused_item *refused;
	size_t n_refused, cap_refused;
	bool storing_acks;
	uint64_t chain_n;
	uint8_t chain[HASH_LEN];
	/* signatures of acknowledged versions, to be cached */
	struct ack_item *unsigned_;
	size_t n_unsigned, cap_unsigned;
	bool signing;
	/* what the peer lost: acknowledgements to be forgotten */
	char *resends[RESENDS_MAX];
	size_t n_resends;
	bool resending;
	/* pacing */
	uv_timer_t timer;
	bool timer_open;
	uint64_t refused_ms; /* first refusal since it last took something; 0: none */
	uint64_t retry_ms;   /* when to offer again what was refused or abandoned; 0 = nothing */
	uint32_t retry_wait_ms;
	char logged_why[WIRE_TEXT_MAX + 1]; /* of the last refusal in the log, its last words */
	uint64_t logged_ms, unlogged;
	struct sender_counts counts;
};

/* sender_sets.c: what is pending of one consistency set, as of one moment. */
struct set_page {
	char *key;
	size_t row; /* of the page, at which it is offered; its other rows are passed over */
	struct pending *items;
	size_t n_above, n;
	bool too_large;
	struct set_page *next;
};
/* worker: reads the sets that have rows in the page, until `room` records are read.
 * @param n  made less where the rest of the page found no room */
int set_pages_read(struct set_page **out, struct sender *sd, const struct pending *page, size_t *n,
		   size_t room, struct err *err);
/* worker: one set, in front of the list. */
int set_page_read(struct set_page **out, struct sender *sd, const char *key, size_t row,
		  struct err *err);
/* The set that row i belongs to, NULL: none. */
struct set_page *set_page_of(struct sender *sd, struct set_page *pages, const char *path);
/* @return 0, -EAGAIN without room */
int set_page_offer(struct sender *sd, const struct set_page *page);
void set_pages_free(struct set_page *pages);
/* A ticket of the set ended without ACK, and so all did: what of it is on its way is given up. */
void sender_break_set(struct sender *sd, uint32_t set);
/* A worker brought it back after its set had been given up. */
bool parcel_is_orphan(const struct parcel *p);

/* sender_pages.c */
int sender_offer(struct sender *sd, const struct pending *p);
unsigned sender_offer_flags(const struct pending *p);
void sender_refill(struct sender *sd);
void sender_refill_wanted(struct sender *sd);

struct parcel *parcel_new(struct sender *sd, const struct outbound_item *item);
void parcel_free(struct parcel *p);

/* worker: looks up the record, decides the encoding, and for a small one reads the content. */
void parcel_plan(struct parcel *p);
void parcel_load(struct parcel *p);

/* Sends RECORD for a prepared parcel; it now awaits its answer under its ticket. */
void sender_send_record(struct parcel *p);
/* What to do with a parcel that could not be prepared or was cut short; frees it. */
void sender_give_up(struct parcel *p);

/* Is its stream still open? */
bool parcel_is_streaming(const struct parcel *p);
/* It was answered: frees it, ending an open stream with DATA_ABORT, when no worker has it. */
void parcel_end(struct parcel *p);

void sender_prepare_group(struct sender *sd);
void sender_start_stream(struct parcel *p);
void sender_step_streams(struct sender *sd);
int sender_on_signature(struct sender *sd, const struct wire_signature *m);

/* The peer breaks the rules: said once. */
void sender_violated(struct sender *sd, uint16_t reason, const char *text);
void sender_on_barrier_done(struct sender *sd, const struct frame *frame);

void sender_ack(struct sender *sd, struct parcel *p);
/* @param reason  copied */
void sender_note_refusal(struct sender *sd, const char *path, const char *reason);
void sender_store_acks(struct sender *sd);		/* and refusals */
bool sender_has_acks_to_store(const struct sender *sd); /* also while they are being stored */
void sender_sign_next(struct sender *sd);

/* @return 0, or -EMSGSIZE when the peer asks for too many at once */
int sender_on_resend(struct sender *sd, const struct wire_resend *m);
void sender_resend_next(struct sender *sd);

bool sender_may_send(struct sender *sd);
void sender_spend(struct sender *sd, size_t bytes);
void sender_pump(struct sender *sd);
void sender_retry_later(struct sender *sd);
void sender_job_ended(struct sender *sd); /* a job came back: close on, or pump */

#endif
