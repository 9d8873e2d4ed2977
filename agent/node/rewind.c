/* rewind.c - the command, from the request to the answer, and what has to change for it. */
#include "agent/node/rewind_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/quote.h"
#include "agent/node/put_back.h"
#include "protocol/messages.h"

#define REWIND_MAX 100000 /* paths in one batch: some 100 MiB */
#define LISTED_MAX 1000	  /* paths named in the answer */

/* ---- the end -------------------------------------------------------------------------------- */

static json_t *changes_json(const struct rewind *r)
{
	json_t *list = json_array();
	for (size_t i = 0; i < r->n && i < LISTED_MAX; i++) {
		AUTO_FREE char *path = quote_utf8(r->items[i].entry.rec.path);
		json_array_append_new(
			list, json_pack("{s:s, s:s}", "path", path, "what", r->paths[i].what));
	}
	return list;
}

static json_t *failures_json(const struct rewind *r, size_t *n)
{
	json_t *list = json_array();
	*n = 0;
	for (size_t i = 0; r->committed && i < r->n; i++) {
		if (r->items[i].result == COMMIT_DONE || (*n)++ >= LISTED_MAX)
			continue;
		AUTO_FREE char *path = quote_utf8(r->items[i].entry.rec.path);
		AUTO_FREE char *text = quote_utf8(r->items[i].text);
		json_array_append_new(list, json_pack("{s:s, s:s}", "path", path, "reason", text));
	}
	return list;
}

static void answer(struct rewind *r)
{
	struct store_state state;
	char hex[HASH_HEX_MAX], first[CLOCK_TEXT_MAX], last[CLOCK_TEXT_MAX];
	size_t failed;
	json_t *failures = failures_json(r, &failed);
	store_state(r->node->store, &state);
	bool same = memcmp(state.digest, r->barrier.digest, HASH_LEN) == 0;
	json_t *out = json_pack(
		"{s:{s:s, s:s, s:I, s:s}, s:b, s:I, s:o, s:I, s:I, s:b, s:I, s:o}", "barrier",
		"time", clock_text(first, r->barrier.first_ns), "until",
		clock_text(last, r->barrier.last_ns), "seq", (json_int_t)r->barrier.seq, "digest",
		hash_hex(hex, r->barrier.digest), "dry_run", r->dry_run, "changes",
		(json_int_t)r->n, "paths", changes_json(r), "fetched", (json_int_t)r->fetched,
		"fetched_bytes", (json_int_t)r->fetched_bytes, "digest_matches", same, "failed",
		(json_int_t)failed, "failures", failures);
	control_done(STEAL(r->call), failed ? EXIT_NO : EXIT_DONE, out);
}

/* worker: what was staged and not used up by a commit. */
static void clean_work(struct job *job)
{
	struct rewind *r = container_of(job, struct rewind, job);
	for (size_t i = 0; i < r->n; i++) {
		const char *sub;
		const struct commit_item *item = &r->items[i];
		const struct root *root = tree_resolve(r->node->tree, item->entry.rec.path, &sub);
		if (!r->committed && *item->staged.temp)
			stage_discard(root, item->staged.temp, NULL);
	}
}

static void clean_done(struct job *job)
{
	struct rewind *r = container_of(job, struct rewind, job);
	struct node *node = r->node;
	if (r->call)
		control_call_set_data(r->call, NULL);
	if (r->call && r->failed)
		control_fail(STEAL(r->call), r->code,
			     r->committed ? "restart the agent: it finishes what it has begun"
					  : "nothing in the tree was changed",
			     "%s", r->why);
	else if (r->call)
		answer(r);
	for (size_t i = 0; i < r->n; i++)
		commit_item_release(&r->items[i]);
	free(r->items);
	free(r->paths);
	free(r);
	node->rewind = NULL;
	node_closed_one(node);
}

void rewind_finish(struct rewind *r)
{
	r->phase = REWIND_ENDING;
	job_start(&r->node->loop, &r->job, clean_work, clean_done);
}

/* Ends it as soon as nothing of it runs. Of a batch that is being committed nothing can be called
 * back. */
void rewind_give_up(struct rewind *r, enum exit_code code, const char *why)
{
	if (r->failed || r->phase >= REWIND_COMMITTING)
		return;
	r->failed = true;
	r->code = code;
	snprintf(r->why, sizeof(r->why), "%.239s", why);
	if (r->phase == REWIND_LISTING)
		rewind_finish(r);
	else if (r->fetcher)
		fetcher_close(STEAL(r->fetcher));
}

/* ---- what has to change --------------------------------------------------------------------- */

/* The peer never names policy. */
static bool is_wanted(const struct node *node, const struct record *then, const struct record *now)
{
	bool dir = (then->kind == RECORD_ABSENT ? now : then)->kind == RECORD_DIR;
	enum profile_verdict verdict = profile_judge(node->profile, then->path, dir).verdict;
	return verdict == PROFILE_REPLICATE || (dir && verdict == PROFILE_PASSAGE);
}

/* @return what it is called; NULL: nothing is to be done */
static const char *judge(uint8_t *op, const struct node *node, const struct record *then,
			 const struct record *now)
{
	bool with_owner = node->commit.policy.ownership == OWNERSHIP_PRESERVE;
	if (then->kind == RECORD_ABSENT) {
		*op = OP_DELETE;
		return now->kind == RECORD_ABSENT ? NULL : "delete";
	}
	*op = then->kind == RECORD_FILE ? OP_WHOLE : OP_META;
	if (now->kind == RECORD_ABSENT)
		return "create";
	if (record_equal(then, now, with_owner))
		return NULL;
	if (!record_same_content(then, now))
		return "replace";
	*op = OP_META;
	return "metadata";
}

static void add_path(struct rewind *r, const struct record *then, uint8_t op, const char *what)
{
	GROW(r->items, r->cap, r->n + 1);
	GROW(r->paths, r->cap_paths, r->n + 1);
	struct commit_item *item = &r->items[r->n];
	const struct index_entry view = {.rec = *then};
	*item = (struct commit_item){.op = op};
	r->paths[r->n++] = (struct rewind_path){.what = what};
	index_entry_copy(&item->entry, &view);
	/* The index numbers it when the batch ends; seq 0 would mean "leaves no trace". */
	item->entry.rec.epoch = 0;
	item->entry.rec.seq = 1;
}

static void compare_path(struct rewind *r, const struct record *then)
{
	struct index_entry own = {.rec = {.kind = RECORD_ABSENT}};
	uint8_t op;
	store_get(r->node->store, then->path, &own, NULL);
	const char *what = judge(&op, r->node, then, &own.rec);
	if (what && is_wanted(r->node, then, &own.rec))
		add_path(r, then, op, what);
	index_entry_release(&own);
}

static void ask(struct rewind *r, const char *after)
{
	uint8_t body[WIRE_PATH_MAX + 64];
	struct wire_history_ask m = {.id = r->id,
				     .flags = after ? HISTORY_AFTER : 0,
				     .barrier = r->barrier.barrier,
				     .at_ns = r->at_ns,
				     .after = after ? after : ""};
	struct wr w;
	wr_init(&w, body, sizeof(body));
	wire_encode_history_ask(&w, &m);
	link_send(r->session->link, WIRE_HISTORY_ASK, body, wr_len(&w));
}

static void list_ended(struct rewind *r)
{
	if (r->dry_run || r->n == 0) {
		rewind_finish(r);
		return;
	}
	rewind_apply(r);
}

static void take_page(struct rewind *r, const struct wire_history_list *m)
{
	struct rd entries;
	struct record record;
	char last[WIRE_PATH_MAX + 1] = "";
	if (r->barrier.barrier == 0) {
		r->barrier = *m;
		r->barrier.records = NULL;
	}
	rd_init(&entries, m->records, m->records_len);
	store_begin_reads(r->node->store);
	while (wire_next_record(&record, &entries) == 1) {
		compare_path(r, &record);
		snprintf(last, sizeof(last), "%s", record.path);
	}
	store_end_reads(r->node->store);
	if (r->n > REWIND_MAX)
		rewind_give_up(r, EXIT_NO,
			       "more than 100000 paths changed since: `restore' the tree on "
			       "the passive node and copy it");
	else if (m->flags & HISTORY_LAST)
		list_ended(r);
	else
		ask(r, last);
}

static int on_list(struct rewind *r, const struct frame *frame)
{
	struct wire_history_list m;
	struct rd rd;
	rd_init(&rd, frame->body, frame->len);
	if (wire_decode_history_list(&m, &rd) < 0)
		return -EBADMSG;
	if (m.id != r->id || r->phase != REWIND_LISTING)
		return 0; /* of one that was given up */
	if (m.flags & HISTORY_NONE)
		rewind_give_up(r, EXIT_NO,
			       r->barrier.barrier ? "the passive node pruned that state meanwhile"
						  : "the passive node keeps nothing from then");
	else if (r->barrier.barrier != 0 && m.barrier != r->barrier.barrier)
		return -EBADMSG;
	else
		take_page(r, &m);
	return 0;
}

int rewind_frame(struct session *s, const struct frame *frame)
{
	struct rewind *r = s->node->rewind;
	if (!r || r->session != s)
		return 0;
	if (frame->type == WIRE_HISTORY_LIST)
		return on_list(r, frame);
	int taken = r->fetcher ? fetcher_frame(r->fetcher, frame) : 0;
	return taken < 0 ? taken : 0;
}

/* ---- commands ------------------------------------------------------------------------------- */

static struct session *best_session(struct node *node)
{
	for (struct session *s = node->sessions; s; s = s->next) {
		if (s->live && s->link && s->sender)
			return s;
	}
	return NULL;
}

static bool refuse(struct node *node, struct control_call *call, const struct session *s)
{
	if (!node_is_active(node))
		control_fail(call, EXIT_REFUSED, "run it on the active node; `restore' works here",
			     "the tree of a passive node is written by nobody but the active one");
	else if (node->rewind)
		control_fail(call, EXIT_NO, NULL, "another rewind is under way");
	else if (put_back_is_busy(node))
		control_fail(call, EXIT_NO, "artifact-sync wait, then again",
			     "the files of a rejected hold are being put back");
	else if (!s)
		control_fail(call, EXIT_UNREACHABLE, "artifact-sync status shows why",
			     "no peer is connected, and it has the earlier content");
	else if (s->reconciling || s->reconcile || s->mismatch || s->matched_ms == 0 ||
		 !node_is_healthy(node))
		control_fail(call, EXIT_REFUSED, "artifact-sync wait, then again",
			     "the trees are not proven equal: what is here now might be nowhere "
			     "else");
	else
		return false;
	return true;
}

void rewind_request(struct node *node, struct control_call *call, const json_t *args)
{
	const json_t *at = json_object_get(args, "at_ns");
	struct session *s = best_session(node);
	if (!json_is_integer(at)) {
		control_fail(call, EXIT_USAGE, NULL, "rewind needs a time");
		return;
	}
	if (refuse(node, call, s))
		return;
	struct rewind *r = x_calloc(1, sizeof(*r));
	r->node = node;
	r->session = s;
	r->call = call;
	r->at_ns = json_integer_value(at);
	r->dry_run = json_is_true(json_object_get(args, "dry_run"));
	r->id = session_compare_id(s);
	snprintf(r->peer, sizeof(r->peer), "%s", s->peer);
	node->rewind = r;
	node->closing++;
	control_call_set_data(call, &r->call);
	ask(r, NULL);
}

void rewind_session_lost(struct session *s)
{
	struct rewind *r = s->node->rewind;
	if (!r || r->session != s)
		return;
	r->session = NULL;
	rewind_give_up(r, EXIT_UNREACHABLE, "the connection was lost");
}

void rewind_tick(struct node *node)
{
	static const char *const phases[] = {"comparing", "staging", "fetching", "publishing",
					     "ending"};
	struct rewind *r = node->rewind;
	if (!r)
		return;
	if (!r->call)
		rewind_give_up(r, EXIT_NO, "the command is gone");
	else
		control_progress(r->call, json_pack("{s:s, s:I, s:I}", "phase", phases[r->phase],
						    "files", (json_int_t)r->fetched, "bytes",
						    (json_int_t)r->fetched_bytes));
}

void rewind_stop(struct node *node)
{
	struct rewind *r = node->rewind;
	if (!r)
		return;
	if (r->call) {
		control_call_set_data(r->call, NULL);
		control_fail(STEAL(r->call), EXIT_NOT_RUNNING, "see what is there when it runs",
			     "the agent is stopping");
	}
	rewind_give_up(r, EXIT_NO, "the agent is stopping");
}
