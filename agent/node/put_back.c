#include "agent/node/put_back.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/quote.h"
#include "agent/sync/current.h"
#include "agent/sync/fetch.h"
#include "agent/sync/job.h"

#define PAGE_PATHS 256 /* in one batch */
#define AGAIN_MS 60000 /* for what could not be put back, or has joined the hold since */

enum put_back_phase { IDLE, LOADING, FETCHING, COMMITTING, CLEANING };

struct put_back_path {
	struct commit_item item;
	bool fetch;   /* its content is not here */
	bool stands;  /* as indexed: nothing is to be done */
	bool dropped; /* not in this pass */
};

struct put_back {
	struct job job;
	struct node *node;
	enum put_back_phase phase;
	uint64_t due_ms; /* 0: nothing is known to wait */
	/* a pass over all rejected holds */
	struct session *session; /* NULL: lost */
	char peer[WIRE_NAME_MAX + 1];
	uint64_t hold; /* whose page it is */
	char *after;   /* the last path of the page before */
	bool ended;    /* no page is left */
	uint64_t done, failed;
	char trouble[240], next_trouble[240];
	/* a page */
	struct put_back_path paths[PAGE_PATHS];
	size_t n;
	struct fetcher *fetcher;
	size_t fetching;
	int result;
	struct err err;
};

struct put_back *put_back_new(struct node *node)
{
	struct put_back *b = x_calloc(1, sizeof(*b));
	b->node = node;
	b->due_ms = clock_mono_ms();
	return b;
}

void put_back_free(struct put_back *b)
{
	free(b);
}

const char *put_back_trouble(const struct node *node)
{
	return node->put_back->trouble;
}

static void load(struct put_back *b);

static void fail_path(struct put_back *b, struct put_back_path *path, const char *why)
{
	char q[QUOTED_MAX];
	path->dropped = true;
	b->failed++;
	snprintf(b->next_trouble, sizeof(b->next_trouble), "%.110s: %.120s",
		 quote_path(q, path->item.entry.rec.path), why);
}

/* ---- the end of a page, and of a pass -------------------------------------------------------- */

static void report(const struct put_back *b)
{
	char q[QUOTED_MAX];
	if (b->failed > 0 && strcmp(b->trouble, b->next_trouble) != 0)
		log_warn("brake", "action=\"put back\" paths=%" PRIu64 " failed=%" PRIu64 " err=%s",
			 b->done, b->failed, quote_path(q, b->next_trouble));
	else if (b->done > 0)
		log_info("brake", "action=\"put back\" paths=%" PRIu64 " failed=%" PRIu64, b->done,
			 b->failed);
}

/* A session that begins looks again at once. */
static void end_pass(struct put_back *b)
{
	struct node *node = b->node;
	if (!b->session && !b->ended)
		snprintf(b->next_trouble, sizeof(b->next_trouble), "the connection was lost");
	report(b);
	/* Somebody may have written there while it was published, and been captured before. */
	if (b->done > 0 && node->intake && !node->stopping)
		intake_scan(node->intake);
	b->phase = IDLE;
	free(STEAL(b->after));
	memcpy(b->trouble, b->next_trouble, sizeof(b->trouble));
	b->due_ms = store_note_count(node->store, NOTE_BRAKE) > 0 ? clock_mono_ms() + AGAIN_MS : 0;
	requests_tick(node);
	node_closed_one(node);
}

static bool may_go_on(const struct put_back *b)
{
	const struct node *node = b->node;
	return b->session && !node->stopping && node_is_active(node) && node_is_healthy(node) &&
	       !node->paused;
}

static void end_page(struct put_back *b)
{
	for (size_t i = 0; i < b->n; i++)
		commit_item_release(&b->paths[i].item);
	b->n = 0;
	if (b->ended || !may_go_on(b))
		end_pass(b);
	else
		load(b);
}

/* worker: staged, and never given to a commit. */
static void clean_work(struct job *job)
{
	struct put_back *b = container_of(job, struct put_back, job);
	for (size_t i = 0; i < b->n; i++) {
		const char *sub;
		const struct commit_item *item = &b->paths[i].item;
		const struct root *root = tree_resolve(b->node->tree, item->entry.rec.path, &sub);
		if (*item->staged.temp)
			stage_discard_or_later(root, item->staged.temp, NULL);
	}
}

static void clean_done(struct job *job)
{
	end_page(container_of(job, struct put_back, job));
}

/* ---- the batch ------------------------------------------------------------------------------- */

/* What stands there again is held no longer: nobody else may look at it for a while. */
static void release_standing(struct put_back *b)
{
	const char *paths[PAGE_PATHS];
	size_t n = 0;
	for (size_t i = 0; i < b->n; i++) {
		if (b->paths[i].stands)
			paths[n++] = b->paths[i].item.entry.rec.path;
	}
	store_hold_release(b->node->store, paths, n, NULL);
}

static void commit_work(struct job *job)
{
	struct put_back *b = container_of(job, struct put_back, job);
	struct commit_env env = b->node->commit;
	struct commit_item items[PAGE_PATHS];
	size_t whose[PAGE_PATHS], n = 0;
	env.salvage_why = "reject";
	env.holds = NULL; /* it takes nothing away */
	for (size_t i = 0; i < b->n; i++) {
		if (b->paths[i].stands || b->paths[i].dropped)
			continue;
		whose[n] = i;
		items[n++] = b->paths[i].item; /* and back */
	}
	b->result = n > 0 ? commit_run(&env, items, n, &b->err) : 0;
	for (size_t k = 0; k < n; k++) {
		struct put_back_path *path = &b->paths[whose[k]];
		path->item = items[k];
		path->stands = b->result == 0 && items[k].result == COMMIT_DONE;
	}
	release_standing(b);
}

static void commit_done(struct job *job)
{
	struct put_back *b = container_of(job, struct put_back, job);
	for (size_t i = 0; i < b->n; i++) {
		struct put_back_path *path = &b->paths[i];
		b->done += path->stands;
		if (!path->stands && !path->dropped)
			fail_path(b, path, b->result < 0 ? b->err.msg : path->item.text);
	}
	end_page(b);
}

static void commit(struct put_back *b)
{
	b->phase = may_go_on(b) ? COMMITTING : CLEANING;
	if (b->phase == COMMITTING)
		job_start(&b->node->loop, &b->job, commit_work, commit_done);
	else
		job_start(&b->node->loop, &b->job, clean_work, clean_done);
}

/* ---- content --------------------------------------------------------------------------------- */

static void on_fetched(void *owner, void *arg, int result, const struct staged *staged,
		       const char *why)
{
	struct put_back *b = owner;
	struct put_back_path *path = arg;
	b->fetching--;
	if (result == 0)
		path->item.staged = *staged;
	else
		fail_path(b, path, why);
	if (b->fetching == 0 && b->fetcher)
		fetcher_close(STEAL(b->fetcher));
}

static void on_fetcher_closed(void *owner)
{
	commit(owner);
}

static void fetch_missing(struct put_back *b)
{
	const struct stage_env env = {.tree = b->node->tree, .policy = b->node->commit.policy};
	const struct fetch_events events = {
		.owner = b, .fetched = on_fetched, .closed = on_fetcher_closed};
	b->phase = FETCHING;
	for (size_t i = 0; i < b->n; i++)
		b->fetching += b->paths[i].fetch;
	if (b->fetching == 0 || !may_go_on(b)) {
		b->fetching = 0;
		commit(b);
		return;
	}
	b->fetcher = fetcher_new(&b->node->loop, b->session->link, &env,
				 session_compare_id(b->session), &events);
	for (size_t i = 0; i < b->n && b->fetcher; i++) {
		if (b->paths[i].fetch)
			fetcher_get(b->fetcher, &b->paths[i].item.entry.rec, &b->paths[i]);
	}
}

/* ---- what has to be put back ----------------------------------------------------------------- */

/* @return 0 with the first rejected hold of this tree after `id`, -ENOENT without one */
static int next_hold(uint64_t *id, struct store *store)
{
	AUTO_FREE struct hold *holds = NULL;
	size_t n = 0;
	if (store_note_count(store, NOTE_BRAKE) == 0 || store_holds(store, &holds, &n, NULL) < 0)
		return -ENOENT;
	for (size_t i = 0; i < n; i++) {
		if (holds[i].id > *id && holds[i].side == HOLD_OURS &&
		    holds[i].state == HOLD_REJECTED) {
			*id = holds[i].id;
			return 0;
		}
	}
	return -ENOENT;
}

/* The paths of a page. @return 0 with n = 0 when there are no more */
static int read_page(struct put_back *b, struct note *notes, size_t *n)
{
	struct store *store = b->node->store;
	*n = 0;
	while (*n == 0) {
		if (!b->after && next_hold(&b->hold, store) < 0)
			return 0;
		int r = store_hold_paths(store, b->hold, b->after ? b->after : "", notes,
					 PAGE_PATHS, n, &b->err);
		free(STEAL(b->after));
		if (r < 0)
			return r;
		if (*n == PAGE_PATHS)
			b->after = x_strdup(notes[*n - 1].path);
	}
	return 0;
}

/* The bytes may be under another name: it was moved, and something else was left in its place. */
static bool find_here(struct put_back *b, const struct stage_env *env, struct commit_item *item)
{
	AUTO_FREE char *path = NULL;
	const struct record *rec = &item->entry.rec;
	if (rec->size > 0 &&
	    store_acked_content(b->node->store, b->peer, rec->hash, &path, NULL) < 0)
		return false;
	return path && stage_ref(&item->staged, env, rec, path, NULL) == 0;
}

static void prepare_path(struct put_back *b, struct put_back_path *path)
{
	const struct stage_env env = {.tree = b->node->tree, .policy = b->node->commit.policy};
	struct commit_item *item = &path->item;
	struct file_stat now = {0};
	struct err err = {0};
	struct stat st;
	const char *sub;
	const struct root *root = tree_resolve(b->node->tree, item->entry.rec.path, &sub);
	if (root_stat(root, sub, &st) == 0)
		file_stat_from(&now, &st);
	item->op = item->entry.rec.kind == RECORD_FILE ? OP_WHOLE : OP_META;
	item->mend = COMMIT_PUT_BACK;
	path->stands = file_stat_equal(&now, &item->entry.inst);
	if (path->stands || item->entry.rec.kind == RECORD_DIR)
		return;
	if (item->entry.rec.kind == RECORD_FILE)
		path->fetch = !find_here(b, &env, item);
	else if (stage_symlink(&item->staged, &env, &item->entry.rec, &err) < 0)
		fail_path(b, path, err.msg);
}

/* worker */
static void load_work(struct job *job)
{
	struct put_back *b = container_of(job, struct put_back, job);
	struct note notes[PAGE_PATHS];
	size_t n = 0;
	b->result = read_page(b, notes, &n);
	b->ended = b->result < 0 || n == 0;
	for (size_t i = 0; i < n; i++) {
		struct put_back_path *path = &b->paths[b->n];
		*path = (struct put_back_path){0};
		if (store_get(b->node->store, notes[i].path, &path->item.entry, NULL) == 0 &&
		    entry_is_live(&path->item.entry)) {
			prepare_path(b, path);
			b->n++;
		} else { /* decided otherwise since */
			const char *gone = notes[i].path;
			store_hold_release(b->node->store, &gone, 1, NULL);
			commit_item_release(&path->item);
		}
		free(notes[i].path);
	}
}

static void load_done(struct job *job)
{
	struct put_back *b = container_of(job, struct put_back, job);
	if (b->result < 0)
		snprintf(b->next_trouble, sizeof(b->next_trouble), "%.230s", b->err.msg);
	fetch_missing(b);
}

static void load(struct put_back *b)
{
	b->phase = LOADING;
	b->result = 0;
	job_start(&b->node->loop, &b->job, load_work, load_done);
}

/* ---- when ------------------------------------------------------------------------------------ */

static struct session *best_session(const struct node *node)
{
	struct session *s = node->sessions;
	while (s && !(s->live && s->link && s->sender))
		s = s->next;
	return s;
}

bool put_back_is_busy(const struct node *node)
{
	const struct put_back *b = node->put_back;
	return b->phase != IDLE || (b->due_ms != 0 && clock_mono_ms() >= b->due_ms);
}

void put_back_tick(struct node *node)
{
	struct put_back *b = node->put_back;
	uint64_t none = 0;
	if (b->phase != IDLE || b->due_ms == 0 || clock_mono_ms() < b->due_ms || node->rewind)
		return;
	if (next_hold(&none, node->store) < 0) {
		b->due_ms = 0;
		*b->trouble = '\0';
		return;
	}
	b->session = best_session(node);
	if (!may_go_on(b)) {
		snprintf(b->trouble, sizeof(b->trouble), "%s",
			 b->session ? "the node is not ready for it"
				    : "no peer is connected, and it has the files");
		return;
	}
	snprintf(b->peer, sizeof(b->peer), "%s", b->session->peer);
	b->hold = b->done = b->failed = 0;
	b->ended = false;
	*b->next_trouble = '\0';
	node->closing++;
	load(b);
}

void put_back_want(struct node *node)
{
	node->put_back->due_ms = clock_mono_ms();
	put_back_tick(node);
}

int put_back_frame(struct session *s, const struct frame *frame)
{
	struct put_back *b = s->node->put_back;
	return b->fetcher && b->session == s ? fetcher_frame(b->fetcher, frame) : 0;
}

static void let_go(struct put_back *b)
{
	b->session = NULL;
	if (b->fetcher)
		fetcher_close(STEAL(b->fetcher));
}

void put_back_session_lost(struct session *s)
{
	struct put_back *b = s->node->put_back;
	if (b->session == s)
		let_go(b);
}

void put_back_stop(struct node *node)
{
	let_go(node->put_back);
}
