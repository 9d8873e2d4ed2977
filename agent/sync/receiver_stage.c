/* receiver_stage.c - from a RECORD and its bytes to a staged object, on workers. Small records go
 * in groups, since a thread switch costs as much as writing 2 KiB; a stream has one job at a time,
 * so its pieces stay in order while others go on beside it. */
#include "agent/sync/receiver_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/sync/compress.h"
#include "agent/sync/delta.h"
#include "protocol/messages.h"

static void slot_need(struct slot *slot, uint8_t reason)
{
	slot->result = SLOT_NEED;
	slot->reason = reason;
}

static void slot_refuse(struct slot *slot, uint8_t reason, const char *text)
{
	slot->result = SLOT_REFUSED;
	slot->reason = reason;
	snprintf(slot->text, sizeof(slot->text), "%.150s", text);
}

/* What a failed staging means for the active: send other bytes, or hear what is wrong here. */
static void slot_failed(struct slot *slot, int error, const struct err *err)
{
	if (error == -ENOENT)
		slot_need(slot, NEED_CONTENT);
	else if (error == -EBADMSG || error == -EFBIG)
		slot_need(slot, NEED_VERIFY);
	else
		slot_refuse(slot, REFUSED_FAILED, err->msg);
	if (slot->result == SLOT_REFUSED)
		slot->error = -error;
}

/* It may be sent again just because somebody changed it here. */
static bool is_in_place(const struct slot *slot, const struct index_entry *have)
{
	struct stat st;
	struct file_stat now;
	const char *sub;
	const struct root *root = tree_resolve(slot->rx->setup.env.tree, have->rec.path, &sub);
	if (have->rec.kind == RECORD_ABSENT)
		return true;
	if (root_stat(root, sub, &st) < 0)
		return false;
	file_stat_from(&now, &st);
	return file_stat_equal(&now, &have->inst);
}

/* After a cut the active sends again what it has no acknowledgement for; what is installed already
 * is not installed twice, or a hot deployer would see a change that is none. */
static bool slot_is_installed(const struct slot *slot)
{
	struct index_entry have = {0};
	const struct record *want = &slot->item.entry.rec;
	if (want->seq > slot->rx->known_seq ||
	    store_get(slot->rx->setup.env.store, want->path, &have, NULL) < 0)
		return false;
	bool same = have.rec.seq == want->seq && have.rec.epoch == want->epoch &&
		    !(have.flags & ENTRY_FOREIGN) && record_equal(&have.rec, want, true) &&
		    is_in_place(slot, &have);
	index_entry_release(&have);
	return same;
}

/* worker */
static int stage_inline(struct slot *slot, const struct stage_env *env, struct err *err)
{
	const struct record *record = &slot->item.entry.rec;
	if (!slot->compressed)
		return stage_bytes(&slot->item.staged, env, record, slot->bytes, slot->bytes_len,
				   err);
	AUTO_FREE uint8_t *raw = x_calloc(1, slot->raw_len);
	int r = decompress_chunk(raw, slot->raw_len, slot->bytes, slot->bytes_len);
	if (r < 0)
		return err_set(err, -EBADMSG, "content does not decompress");
	return stage_bytes(&slot->item.staged, env, record, raw, slot->raw_len, err);
}

/* worker */
static void stage_small(struct slot *slot)
{
	struct err err = {0};
	const struct commit_env *commit = &slot->rx->setup.env;
	struct stage_env env = {.tree = commit->tree, .policy = commit->policy};
	const struct record *record = &slot->item.entry.rec;
	int r = 0;
	if (slot->result != SLOT_PENDING)
		return; /* a stream that waited for its turn */
	if (slot_is_installed(slot)) {
		slot->result = SLOT_ALREADY;
		return;
	}
	if (slot->item.op == OP_WHOLE)
		r = stage_inline(slot, &env, &err);
	else if (slot->item.op == OP_REF)
		r = stage_ref(&slot->item.staged, &env, record, slot->hint, &err);
	else if (slot->item.op == OP_META && record->kind == RECORD_SYMLINK)
		r = stage_symlink(&slot->item.staged, &env, record, &err);
	if (r < 0)
		slot_failed(slot, r, &err);
	else
		slot->result = SLOT_STAGED;
}

struct small_job {
	struct job job;
	struct receiver *rx;
	size_t n;
	struct slot *slots[STAGE_JOB_RECORDS];
};

static void small_work(struct job *job)
{
	struct small_job *small = container_of(job, struct small_job, job);
	for (size_t i = 0; i < small->n; i++)
		stage_small(small->slots[i]);
}

static void small_done(struct job *job)
{
	struct small_job *small = container_of(job, struct small_job, job);
	struct receiver *rx = small->rx;
	rx->stage_jobs--;
	for (size_t i = 0; i < small->n; i++) {
		struct slot *slot = small->slots[i];
		slot->working = false;
		receiver_unqueue(rx, slot->bytes_len);
		free(STEAL(slot->bytes));
		receiver_slot_finished(slot);
	}
	free(small);
	receiver_stage_todo(rx);
	receiver_advance(rx);
}

void receiver_add_todo(struct receiver *rx, struct slot *slot)
{
	slot->next_todo = NULL;
	*rx->todo_last = slot;
	rx->todo_last = &slot->next_todo;
}

static struct slot *take_todo(struct receiver *rx)
{
	struct slot *slot = rx->todo;
	rx->todo = slot->next_todo;
	if (!rx->todo)
		rx->todo_last = &rx->todo;
	return slot;
}

static bool is_deletion(const struct slot *slot)
{
	return slot->item.op == OP_DELETE || slot->item.op == OP_ABSENT;
}

/* A deletion needs no work. It waits for the references that arrived before it, which may be to the
 * very bytes that it takes away, and nothing that arrived after it overtakes it, which may want its
 * name. */
static void pass_deletions(struct receiver *rx)
{
	while (rx->todo && is_deletion(rx->todo) && rx->stage_jobs == 0) {
		struct slot *slot = take_todo(rx);
		slot->result = SLOT_STAGED;
		receiver_slot_finished(slot);
	}
}

void receiver_stage_todo(struct receiver *rx)
{
	if (rx->closing)
		return;
	pass_deletions(rx);
	while (rx->todo && rx->stage_jobs < rx->stage_jobs_max && !is_deletion(rx->todo)) {
		struct small_job *small = x_calloc(1, sizeof(*small));
		small->rx = rx;
		while (rx->todo && small->n < STAGE_JOB_RECORDS && !is_deletion(rx->todo)) {
			struct slot *slot = take_todo(rx);
			slot->working = true;
			small->slots[small->n++] = slot;
		}
		rx->stage_jobs++;
		job_start(rx->setup.loop, &small->job, small_work, small_done);
	}
}

/* worker */
static int stream_open(struct slot *slot, struct err *err)
{
	const struct commit_env *commit = &slot->rx->setup.env;
	struct stage_env env = {.tree = commit->tree, .policy = commit->policy};
	return stage_stream_open(&slot->stream, &env, &slot->item.entry.rec,
				 slot->item.op == OP_DELTA ? slot->basis : NULL, err);
}

/* worker */
static int stream_chunk(struct slot *slot, const struct chunk *chunk, struct err *err)
{
	if (!(chunk->flags & DATA_COMPRESSED))
		return stage_stream_write(slot->stream, chunk->bytes, chunk->len, err);
	AUTO_FREE uint8_t *raw = x_calloc(1, chunk->raw_len);
	if (decompress_chunk(raw, chunk->raw_len, chunk->bytes, chunk->len) < 0)
		return err_set(err, -EBADMSG, "content does not decompress");
	return stage_stream_write(slot->stream, raw, chunk->raw_len, err);
}

/* worker: takes the pieces in order. After a failure the rest is read and dropped; the answer is
 * given at the end of the stream, so that the peer never has to guess which frames still belong to
 * it. */
static void stream_work(struct job *job)
{
	struct slot *slot = container_of(job, struct slot, job);
	struct err err = {0};
	int r = 0;
	if (slot->result == SLOT_PENDING && !slot->stream) {
		if (slot_is_installed(slot))
			slot->result = SLOT_ALREADY;
		else
			r = stream_open(slot, &err);
	}
	for (struct chunk *chunk = slot->taken; chunk; chunk = chunk->next) {
		if (chunk->flags & DATA_ABORT)
			slot->result = SLOT_ABORTED;
		if (r == 0 && slot->result == SLOT_PENDING)
			r = stream_chunk(slot, chunk, &err);
		if (r == 0 && slot->result == SLOT_PENDING && (chunk->flags & DATA_LAST)) {
			r = stage_stream_finish(&slot->item.staged, slot->stream, &err);
			if (r == 0)
				slot->result = SLOT_STAGED;
		}
		if (r < 0 && slot->result == SLOT_PENDING)
			slot_failed(slot, r, &err);
	}
	if (slot->result != SLOT_PENDING) {
		stage_stream_free(slot->stream);
		slot->stream = NULL;
	}
}

/* It must not overtake a deletion that arrived before it and still waits: the file may have the
 * name of a directory, and what the index has beneath it would look foreign. */
static void finish_stream(struct slot *slot)
{
	struct receiver *rx = slot->rx;
	if (slot->result != SLOT_STAGED || !rx->todo || rx->closing) {
		receiver_slot_finished(slot);
		return;
	}
	receiver_add_todo(rx, slot);
	receiver_stage_todo(rx);
}

static void stream_done(struct job *job)
{
	struct slot *slot = container_of(job, struct slot, job);
	struct receiver *rx = slot->rx;
	bool ended = false;
	rx->stream_jobs--;
	slot->working = false;
	for (struct chunk *chunk = slot->taken, *next; chunk; chunk = next) {
		next = chunk->next;
		ended |= (chunk->flags & (DATA_LAST | DATA_ABORT)) != 0;
		receiver_unqueue(rx, CHUNK_COST(chunk));
		free(chunk);
	}
	slot->taken = NULL;
	if (ended)
		finish_stream(slot);
	else if (slot->first)
		receiver_stage_stream(slot);
	receiver_advance(rx);
}

void receiver_stage_stream(struct slot *slot)
{
	if (slot->working || !slot->first || slot->rx->closing)
		return;
	slot->taken = slot->first;
	slot->first = NULL;
	slot->last = &slot->first;
	slot->working = true;
	slot->rx->stream_jobs++;
	job_start(slot->rx->setup.loop, &slot->job, stream_work, stream_done);
}

/* ---- signatures ----------------------------------------------------------------------------- */

struct signature_job {
	struct job job;
	struct receiver *rx;
	uint32_t id;
	char *path;
	uint8_t hash[HASH_LEN];
	uint8_t *signature;
	size_t len;
};

/* worker: only of the very version that was asked for, as the index knows it to be installed. */
static void signature_work(struct job *job)
{
	struct signature_job *ask = container_of(job, struct signature_job, job);
	const struct commit_env *env = &ask->rx->setup.env;
	struct index_entry have = {0};
	if (store_get(env->store, ask->path, &have, NULL) < 0)
		return;
	const char *sub;
	struct root *root = tree_resolve(env->tree, ask->path, &sub);
	bool wanted =
		have.rec.kind == RECORD_FILE && memcmp(have.rec.hash, ask->hash, HASH_LEN) == 0;
	AUTO_CLOSE int fd =
		wanted ? root_open(root, sub, O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0) : -1;
	if (fd >= 0 && delta_signature(&ask->signature, &ask->len, fd, have.rec.size, NULL) < 0)
		ask->signature = NULL;
	index_entry_release(&have);
}

static void send_signature(struct receiver *rx, const struct signature_job *ask)
{
	uint8_t body[WIRE_CHUNK_MAX + 64];
	size_t at = 0;
	do {
		size_t part = ask->len - at < WIRE_CHUNK_MAX ? ask->len - at : WIRE_CHUNK_MAX;
		struct wire_signature m = {.id = ask->id, .bytes_len = (uint32_t)part};
		m.bytes = ask->signature ? ask->signature + at : NULL;
		m.flags = ask->signature ? 0 : SIGNATURE_NONE;
		at += part;
		if (at == ask->len)
			m.flags |= SIGNATURE_LAST;
		struct wr w;
		wr_init(&w, body, sizeof(body));
		wire_encode_signature(&w, &m);
		link_send(rx->setup.link, WIRE_SIGNATURE, body, wr_len(&w));
	} while (at < ask->len);
}

static void signature_done(struct job *job)
{
	struct signature_job *ask = container_of(job, struct signature_job, job);
	struct receiver *rx = ask->rx;
	rx->other_jobs--;
	if (!rx->closing)
		send_signature(rx, ask);
	free(ask->path);
	free(ask->signature);
	free(ask);
	receiver_advance(rx);
}

void receiver_serve_signature(struct receiver *rx, const struct wire_signature_ask *ask)
{
	struct signature_job *job = x_calloc(1, sizeof(*job));
	job->rx = rx;
	job->id = ask->id;
	job->path = x_strdup(ask->path);
	memcpy(job->hash, ask->hash, HASH_LEN);
	rx->other_jobs++;
	job_start(rx->setup.loop, &job->job, signature_work, signature_done);
}
