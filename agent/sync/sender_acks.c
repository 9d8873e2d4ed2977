/* sender_acks.c - what an acknowledgement leaves behind: the row that says what the peer has, the
 * peer's chain (so that a rolled-back state is noticed), and the signature of the version, so that
 * its next change is a delta without a round trip and without a read on the other side. */
#include "agent/sync/sender_internal.h"

#include <string.h>

#include "agent/base/log.h"
#include "agent/base/trouble.h"

static_assert(STORE_SIGNED_MIN <= DELTA_MIN_SIZE, "signatures in use must not be pruned");

struct ack_job {
	struct job job;
	struct sender *sd;
	struct ack_item *items;
	size_t n;
	struct refused_item *refused;
	size_t n_refused;
	uint64_t chain_n;
	uint8_t chain[HASH_LEN];
	int result;
	struct err err;
};

void sender_ack(struct sender *sd, struct parcel *p)
{
	GROW(sd->acks, sd->cap_acks, sd->n_acks + 1);
	struct ack_item *item = &sd->acks[sd->n_acks++];
	*item = (struct ack_item){
		.seq = p->seq, .kind = p->entry.rec.kind, .size = p->entry.rec.size};
	memcpy(item->hash, p->entry.rec.hash, HASH_LEN);
	item->path = STEAL(p->path);
}

void sender_note_refusal(struct sender *sd, const char *path, const char *reason)
{
	GROW(sd->refused, sd->cap_refused, sd->n_refused + 1);
	sd->refused[sd->n_refused++] = (struct refused_item){x_strdup(path), x_strdup(reason)};
}

/* worker: before the acknowledgements, which withdraw what was noted of a path earlier. */
static int note_refused(const struct ack_job *ack, struct err *err)
{
	AUTO_FREE struct note *notes = x_calloc(ack->n_refused, sizeof(*notes));
	for (size_t i = 0; i < ack->n_refused; i++)
		notes[i] = (struct note){.path = ack->refused[i].path,
					 .reason = ack->refused[i].reason};
	return store_put_notes(ack->sd->setup.store, NOTE_REFUSED, notes, ack->n_refused, err);
}

static void ack_work(struct job *job)
{
	struct ack_job *ack = container_of(job, struct ack_job, job);
	struct store *store = ack->sd->setup.store;
	if (ack->n_refused > 0)
		ack->result = note_refused(ack, &ack->err);
	if (ack->n == 0 || ack->result < 0)
		return;
	AUTO_FREE struct acked *rows = x_calloc(ack->n, sizeof(*rows));
	for (size_t i = 0; i < ack->n; i++) {
		const struct ack_item *item = &ack->items[i];
		rows[i] = (struct acked){.path = item->path,
					 .seq = item->seq,
					 .kind = item->kind,
					 .size = item->size};
		if (item->kind == RECORD_FILE)
			memcpy(rows[i].hash, item->hash, HASH_LEN);
	}
	const struct ack_set set = {rows, ack->n, ack->chain_n, ack->chain};
	ack->result = store_ack_chained(store, ack->sd->peer, &set, &ack->err);
}

static void remember_unsigned(struct sender *sd, struct ack_item *item)
{
	if (item->kind != RECORD_FILE || item->size < DELTA_MIN_SIZE) {
		free(item->path);
		return;
	}
	GROW(sd->unsigned_, sd->cap_unsigned, sd->n_unsigned + 1);
	sd->unsigned_[sd->n_unsigned++] = *item;
}

static void ack_done(struct job *job)
{
	struct ack_job *ack = container_of(job, struct ack_job, job);
	struct sender *sd = ack->sd;
	sd->storing_acks = false;
	trouble_result("noting acknowledgements", ack->result, &ack->err);
	if (ack->result < 0) {
		/* The peer has them all the same: they will be offered and acknowledged again. */
		log_error("sender", "peer=%s action=retry err=\"%s\"", sd->peer, ack->err.msg);
		sender_retry_later(sd);
	}
	for (size_t i = 0; i < ack->n; i++)
		remember_unsigned(sd, &ack->items[i]);
	for (size_t i = 0; i < ack->n_refused; i++) {
		free(ack->refused[i].path);
		free(ack->refused[i].reason);
	}
	free(ack->refused);
	if (!sd->closing && ack->result == 0 && ack->n > 0)
		sd->setup.events.acked(sd->setup.events.owner, ack->n);
	free(ack->items);
	free(ack);
	if (!sd->closing) {
		sender_store_acks(sd);
		sender_sign_next(sd);
		sender_pump(sd);
	}
	sender_job_ended(sd);
}

bool sender_has_acks_to_store(const struct sender *sd)
{
	return sd->storing_acks || sd->n_acks > 0 || sd->n_refused > 0;
}

void sender_store_acks(struct sender *sd)
{
	if (sd->storing_acks || !sender_has_acks_to_store(sd))
		return;
	struct ack_job *ack = x_calloc(1, sizeof(*ack));
	ack->sd = sd;
	ack->items = STEAL(sd->acks);
	ack->n = sd->n_acks;
	ack->refused = STEAL(sd->refused);
	ack->n_refused = sd->n_refused;
	sd->n_refused = sd->cap_refused = 0;
	ack->chain_n = sd->chain_n;
	memcpy(ack->chain, sd->chain, sizeof(ack->chain));
	sd->n_acks = sd->cap_acks = 0;
	sd->storing_acks = true;
	sd->jobs++;
	job_start(sd->setup.loop, &ack->job, ack_work, ack_done);
}

struct sign_job {
	struct job job;
	struct sender *sd;
	struct ack_item item;
};

/* worker: only while the file still is that version; otherwise the peer will be asked when it
 * matters. */
static void sign_work(struct job *job)
{
	struct sign_job *sign = container_of(job, struct sign_job, job);
	struct store *store = sign->sd->setup.store;
	struct index_entry have = {0};
	struct source *source = NULL;
	uint8_t *signature = NULL;
	size_t len = 0;
	if (store_get(store, sign->item.path, &have, NULL) == 0 && have.rec.kind == RECORD_FILE &&
	    memcmp(have.rec.hash, sign->item.hash, HASH_LEN) == 0 &&
	    store_signature(store, have.rec.hash, &signature, &len, NULL) < 0 &&
	    source_open(&source, sign->sd->setup.tree, &have, NULL) == 0 &&
	    source_signature(&signature, &len, source, NULL) == 0 &&
	    source_finish(source, NULL) == 0)
		store_set_signature(store, have.rec.hash, signature, len, NULL);
	free(signature);
	source_free(source);
	index_entry_release(&have);
}

static void sign_done(struct job *job)
{
	struct sign_job *sign = container_of(job, struct sign_job, job);
	struct sender *sd = sign->sd;
	sd->signing = false;
	free(sign->item.path);
	free(sign);
	if (!sd->closing)
		sender_sign_next(sd);
	sender_job_ended(sd);
}

/* One at a time, behind everything else. */
void sender_sign_next(struct sender *sd)
{
	if (sd->signing || sd->n_unsigned == 0)
		return;
	struct sign_job *sign = x_calloc(1, sizeof(*sign));
	sign->sd = sd;
	sign->item = sd->unsigned_[--sd->n_unsigned];
	sd->signing = true;
	sd->jobs++;
	job_start(sd->setup.loop, &sign->job, sign_work, sign_done);
}
