/* rewind_apply.c - what has to change is staged, fetched where it is not here, and committed as one
 * batch. */
#include "agent/node/rewind_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "agent/base/log.h"
#include "agent/base/quote.h"

/* ---- the batch ------------------------------------------------------------------------------ */

static void commit_work(struct job *job)
{
	struct rewind *r = container_of(job, struct rewind, job);
	struct commit_env env = r->node->commit;
	env.salvage_why = "rewind";
	env.peer = r->peer;
	env.holds = NULL; /* a person asked for it, which the peers are told */
	for (size_t i = 0; i < r->n; i++)
		r->items[i].approved = true;
	r->result = commit_run(&env, r->items, r->n, &r->err);
}

static void commit_done(struct job *job)
{
	struct rewind *r = container_of(job, struct rewind, job);
	struct node *node = r->node;
	r->committed = true;
	if (r->result < 0) {
		r->failed = true;
		r->code = EXIT_NO;
		snprintf(r->why, sizeof(r->why), "%.200s", r->err.msg);
	} else {
		/* Somebody may have written there meanwhile, and been captured before. */
		if (node->intake && !node->stopping)
			intake_scan(node->intake);
		log_info("node", "rewound to seq=%" PRIu64 " changes=%zu", r->barrier.seq, r->n);
		for (struct session *s = node->sessions; s; s = s->next)
			session_indexed(s);
	}
	rewind_finish(r);
}

static void commit(struct rewind *r)
{
	r->phase = REWIND_COMMITTING;
	job_start(&r->node->loop, &r->job, commit_work, commit_done);
}

/* ---- content -------------------------------------------------------------------------------- */

static void on_fetched(void *owner, void *arg, int result, const struct staged *staged,
		       const char *why)
{
	struct rewind *r = owner;
	struct commit_item *item = arg;
	char q[QUOTED_MAX], text[240];
	r->fetching--;
	if (result == 0) {
		item->staged = *staged;
		r->fetched++;
		r->fetched_bytes += item->entry.rec.size;
	} else if (!r->failed) {
		snprintf(text, sizeof(text), "%.120s: %.100s", quote_path(q, item->entry.rec.path),
			 why);
		rewind_give_up(r, EXIT_NO, text);
	}
	if (r->fetching == 0 && r->fetcher)
		fetcher_close(STEAL(r->fetcher));
}

static void on_fetcher_closed(void *owner)
{
	struct rewind *r = owner;
	if (r->failed)
		rewind_finish(r);
	else
		commit(r);
}

static void fetch_missing(struct rewind *r)
{
	const struct stage_env env = {.tree = r->node->tree, .policy = r->node->commit.policy};
	const struct fetch_events events = {
		.owner = r, .fetched = on_fetched, .closed = on_fetcher_closed};
	r->phase = REWIND_FETCHING;
	for (size_t i = 0; i < r->n; i++)
		r->fetching += r->paths[i].fetch;
	if (r->fetching == 0) {
		commit(r);
		return;
	}
	r->fetcher = fetcher_new(&r->node->loop, r->session->link, &env,
				 session_compare_id(r->session), &events);
	for (size_t i = 0; i < r->n; i++) {
		if (r->paths[i].fetch)
			fetcher_get(r->fetcher, &r->items[i].entry.rec, &r->items[i]);
	}
}

/* What is on the peer under another name came from here: it was moved since. */
static int stage_file(const struct rewind *r, const struct stage_env *env, struct commit_item *item)
{
	AUTO_FREE char *path = NULL;
	if (store_acked_content(r->node->store, r->peer, item->entry.rec.hash, &path, NULL) < 0)
		return -ENOENT;
	return stage_ref(&item->staged, env, &item->entry.rec, path, NULL);
}

static void stage_work(struct job *job)
{
	struct rewind *r = container_of(job, struct rewind, job);
	const struct stage_env env = {.tree = r->node->tree, .policy = r->node->commit.policy};
	for (size_t i = 0; i < r->n && r->result == 0; i++) {
		struct commit_item *item = &r->items[i];
		if (item->op == OP_WHOLE)
			r->paths[i].fetch = stage_file(r, &env, item) < 0;
		else if (item->op == OP_META && item->entry.rec.kind == RECORD_SYMLINK)
			r->result = stage_symlink(&item->staged, &env, &item->entry.rec, &r->err);
	}
}

static void stage_done(struct job *job)
{
	struct rewind *r = container_of(job, struct rewind, job);
	if (r->result < 0 && !r->failed) {
		r->failed = true;
		r->code = EXIT_NO;
		snprintf(r->why, sizeof(r->why), "%.200s", r->err.msg);
	}
	if (r->failed)
		rewind_finish(r);
	else
		fetch_missing(r);
}

void rewind_apply(struct rewind *r)
{
	r->phase = REWIND_STAGING;
	job_start(&r->node->loop, &r->job, stage_work, stage_done);
}
