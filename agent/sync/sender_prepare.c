/* sender_prepare.c - small records, on a worker and in groups: look up, decide, read, compress. One
 * group at a time: the next is prepared while the one before drains through the link. */
#include "agent/sync/sender_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/sync/compress.h"
#include "agent/sync/plan.h"
#include "agent/sync/recent.h"

#define REF_MIN_SIZE 256 /* bytes; below, a reference costs as much as the content */

/* A path under which the peer has these bytes already; heap, or NULL. */
static char *find_hint(const struct parcel *p)
{
	char *hint = NULL;
	const struct record *record = &p->entry.rec;
	if (record->kind != RECORD_FILE || record->size < REF_MIN_SIZE || p->need != 0)
		return NULL;
	if (store_acked_content(p->sd->setup.store, p->sd->peer, record->hash, &hint, NULL) < 0)
		return NULL;
	return hint;
}

/* worker */
void parcel_plan(struct parcel *p)
{
	struct err err = {0};
	struct store *store = p->sd->setup.store;
	int r = store_get(store, p->path, &p->entry, &err);
	if (r == -ENOENT || (r == 0 && p->entry.rec.seq != p->seq)) {
		p->result = PARCEL_STALE;
		return;
	}
	if (r < 0) {
		p->result = PARCEL_FAILED;
		snprintf(p->why, sizeof(p->why), "%.150s", err.msg);
		return;
	}
	struct acked acked;
	bool has = store_acked(store, p->sd->peer, p->path, &acked, NULL) == 0;
	p->hint = find_hint(p);
	if (has && acked.kind == RECORD_FILE && p->streamed &&
	    store_signature(store, acked.hash, &p->signature, &p->signature_len, NULL) < 0)
		p->signature = NULL;
	struct plan_facts facts = {.record = &p->entry.rec,
				   .acked = has ? &acked : NULL,
				   .bytes_elsewhere = p->hint != NULL,
				   .have_signature = p->signature != NULL,
				   .need = p->need,
				   .fits_inline = !p->streamed,
				   .delta_given_up = p->need == NEED_CONTENT};
	struct plan plan = plan_choose(&facts);
	p->op = plan.op;
	p->ask_signature = plan.ask_signature;
	if (p->op == OP_DELTA) {
		memcpy(p->basis, acked.hash, HASH_LEN);
		p->basis_size = acked.size;
	}
	p->result = PARCEL_READY;
}

/* A source that cannot be opened as indexed has changed; one that cannot be opened at all is tried
 * again. */
static void source_failed(struct parcel *p, int error, const struct err *err)
{
	p->result = error == -EAGAIN || error == -ENOENT ? PARCEL_CHANGED : PARCEL_FAILED;
	snprintf(p->why, sizeof(p->why), "%.150s", err->msg);
}

/* worker */
void parcel_load(struct parcel *p)
{
	struct err err = {0};
	struct buf raw = {0};
	if (p->result != PARCEL_READY || p->op != OP_WHOLE)
		return;
	struct recent *recent = p->sd->setup.recent;
	int r = recent && recent_take(recent, p->entry.rec.hash, &raw)
			? 0
			: source_small(&raw, p->sd->setup.tree, &p->entry, WIRE_CHUNK_MAX, &err);
	if (r < 0) {
		source_failed(p, r, &err);
		buf_release(&raw);
		return;
	}
	p->raw_len = (uint32_t)raw.len;
	uint8_t packed[WIRE_CHUNK_MAX];
	size_t n = compress_pays(p->path) && compress_looks_worth(raw.data, raw.len)
			   ? compress_chunk(packed, sizeof(packed), raw.data, raw.len, NULL)
			   : 0;
	if (n > 0) {
		p->compressed = true;
		raw.len = 0;
		buf_append(&raw, packed, n);
	}
	p->body = raw;
}

struct group_job {
	struct job job;
	struct sender *sd;
	size_t n;
	struct parcel *parcels[GROUP_RECORDS];
};

static void group_work(struct job *job)
{
	struct group_job *group = container_of(job, struct group_job, job);
	struct store *store = group->sd->setup.store;
	store_begin_reads(store);
	for (size_t i = 0; i < group->n; i++)
		parcel_plan(group->parcels[i]);
	store_end_reads(store);
	for (size_t i = 0; i < group->n; i++)
		parcel_load(group->parcels[i]);
}

static void group_done(struct job *job)
{
	struct group_job *group = container_of(job, struct group_job, job);
	struct sender *sd = group->sd;
	sd->preparing = false;
	for (size_t i = 0; i < group->n; i++) {
		struct parcel *p = group->parcels[i];
		if (sd->closing || parcel_is_orphan(p))
			parcel_free(p);
		else if (p->result == PARCEL_READY)
			sender_send_record(p);
		else
			sender_give_up(p);
	}
	free(group);
	sender_job_ended(sd);
}

void sender_prepare_group(struct sender *sd)
{
	const struct outbound_item *item;
	struct group_job *group = NULL;
	if (sd->preparing || !sender_may_send(sd))
		return;
	while ((!group || group->n < GROUP_RECORDS) && (item = outbound_begin(sd->outbound))) {
		struct parcel *p = parcel_new(sd, item);
		if (p->streamed) {
			sender_start_stream(p);
			continue;
		}
		if (!group)
			group = x_calloc(1, sizeof(*group));
		group->parcels[group->n++] = p;
	}
	if (!group)
		return;
	group->sd = sd;
	sd->preparing = true;
	sd->jobs++;
	job_start(sd->setup.loop, &group->job, group_work, group_done);
}
