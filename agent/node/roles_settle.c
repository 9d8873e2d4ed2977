/* roles_settle.c - proofs before a role changes hands. The giver: everything that is in the tree is
 * indexed, acknowledged, and proven equal by a barrier; from then on nothing gets a seq. The heir,
 * and a passive before a failover: the tree is what the index says. A superseded node: the index is
 * what the tree is, before it is compared with the survivor.
 *
 * No step waits for a time: each goes on when the watcher, the scan, a worker or the peer says so
 * (roles_advance()). Only a file that somebody still writes to is looked at again. */
#include "agent/node/roles_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/quote.h"
#include "agent/fs/writers.h"

#define OPEN_GRACE_MS 3000 /* what is written to may be closed in a moment */
#define LOOK_AGAIN_MS 20

/* ---- the giver ------------------------------------------------------------------------------ */

static void ask_tree(struct roles *roles)
{
	struct node *node = roles->node;
	struct settle *st = &roles->settle;
	st->began_ms = clock_mono_ms();
	st->fenced_ms = st->open_since_ms = 0;
	st->nonce = node->watcher ? node_fence(node) : 0;
	if (node->intake)
		intake_scan(node->intake);
}

void roles_settle(struct roles *roles)
{
	roles->settle = (struct settle){.phase = SETTLE_FENCE};
	roles_apply_hold(roles);
	ask_tree(roles);
	roles_set_timer(roles, 1);
}

static void unsettled(struct roles *roles, enum exit_code code, const char *why)
{
	roles->settle.phase = SETTLE_NOT;
	roles_reason(roles, code, "%s: %s", roles->node->conf->node, why);
	roles_say(roles, code == EXIT_REFUSED ? HANDOVER_BY_RULE : 0, "%.230s", why);
	roles_push_event(roles, ROLE_EVENT_UNSETTLED);
}

/* Everything that the watcher knew of when it was asked has come. */
static bool is_fenced(struct roles *roles)
{
	struct node *node = roles->node;
	struct settle *st = &roles->settle;
	if (st->nonce != 0 && node->watcher && node->fence_seen < st->nonce)
		return false;
	if (st->fenced_ms == 0)
		st->fenced_ms = clock_mono_ms();
	return true;
}

static bool is_scanned(const struct roles *roles)
{
	struct intake_counts counts;
	intake_counts(roles->node->intake, &counts);
	return counts.scan_begun_ms >= roles->settle.began_ms;
}

/* ---- files that are open for writing ---------------------------------------------------------
 */

struct writer_job {
	struct job job;
	struct roles *roles;
	char *path;
	bool there;
};

static void writer_work(struct job *job)
{
	struct writer_job *w = container_of(job, struct writer_job, job);
	const char *sub;
	const struct root *root = tree_resolve(w->roles->node->tree, w->path, &sub);
	w->there = root_may_have_writer(root, sub);
}

static void writer_done(struct job *job)
{
	struct writer_job *w = container_of(job, struct writer_job, job);
	struct roles *roles = w->roles;
	struct node *node = roles->node;
	node_closed_one(node);
	if (roles->settle.phase == SETTLE_INDEX && !roles->stopping) {
		roles->settle.writer = w->there ? WRITER_THERE : WRITER_UNKNOWN;
		if (!w->there) {
			intake_changed(node->intake, w->path, WATCH_SETTLED);
			intake_flush(node->intake);
		}
		roles_set_timer(roles, 1);
	}
	free(w->path);
	free(w);
}

/* The watcher has seen it opened, and may have missed that it was closed under another name.
 * @return true when it is known that somebody writes to it */
static bool has_writer(struct roles *roles, const char *path)
{
	struct settle *st = &roles->settle;
	uint8_t hash[HASH_LEN];
	if (st->writer == WRITER_ASKED)
		return false;
	hash_bytes(hash, path, strlen(path));
	bool there = st->writer == WRITER_THERE && memcmp(hash, st->writer_of, HASH_LEN) == 0;
	memcpy(st->writer_of, hash, HASH_LEN);
	struct writer_job *w = x_calloc(1, sizeof(*w));
	w->roles = roles;
	w->path = x_strdup(path);
	st->writer = WRITER_ASKED;
	roles->node->closing++;
	job_start(&roles->node->loop, &w->job, writer_work, writer_done);
	return there;
}

/* A file that stays open for writing is named and refused; with accept_loss it goes as it is. */
static bool is_closed(struct roles *roles)
{
	struct settle *st = &roles->settle;
	AUTO_FREE char *path = intake_open_path(roles->node->intake);
	char q[QUOTED_MAX], why[ROLE_TEXT_MAX];
	if (!path) {
		st->open_since_ms = 0;
		return true;
	}
	if (roles->attempt.accept_loss) {
		intake_flush_open(roles->node->intake);
		return true;
	}
	if (st->open_since_ms == 0)
		st->open_since_ms = clock_mono_ms();
	roles_set_timer(roles, LOOK_AGAIN_MS);
	if (!has_writer(roles, path) || clock_mono_ms() - st->open_since_ms < OPEN_GRACE_MS)
		return false;
	snprintf(why, sizeof(why), "%s is still open for writing: close it, or --accept-data-loss",
		 quote_path(q, path));
	unsettled(roles, EXIT_REFUSED, why);
	return false;
}

static bool is_held(struct roles *roles, enum note_kind kind, const char *what)
{
	struct note *notes = NULL;
	size_t n = 0;
	char q[QUOTED_MAX], why[ROLE_TEXT_MAX];
	if (store_note_count(roles->node->store, kind) == 0)
		return false;
	store_notes(roles->node->store, kind, &notes, &n, NULL);
	if (n > 0) {
		for (size_t i = 1; i < n && i < 10; i++)
			roles_reason(roles, EXIT_REFUSED, "%s: %s is %s: %s",
				     roles->node->conf->node, quote_path(q, notes[i].path), what,
				     notes[i].reason);
		snprintf(why, sizeof(why), "%s is %s: %s%s", quote_path(q, notes[0].path), what,
			 notes[0].reason, n > 1 ? " (and others)" : "");
		unsettled(roles, EXIT_REFUSED, why);
	}
	notes_free(notes, n);
	return n > 0;
}

void roles_note_given_up(struct roles *roles, enum note_kind kind)
{
	struct note *notes = NULL;
	size_t n = 0;
	store_notes(roles->node->store, kind, &notes, &n, NULL);
	for (size_t i = 0; i < n && i < 1000; i++)
		json_array_append_new(roles->attempt.lost, control_path(notes[i].path));
	notes_free(notes, n);
}

/* Every node that follows now has everything, and its tree has proven to be ours. */
static bool peers_have_all(struct roles *roles)
{
	struct store_state state;
	store_state(roles->node->store, &state);
	if (!roles_session(roles, roles->machine.offer.node))
		return false; /* its loss is on its way as an event */
	for (struct session *s = roles->node->sessions; s; s = s->next) {
		if (!s->live || !s->link || (!s->sender && !s->reconciling))
			continue;
		if (s->matched_ms == 0 || s->matched_seq != state.last_seq || s->mismatch ||
		    s->reconcile || s->reconciling)
			return false;
	}
	return true;
}

static void settled(struct roles *roles)
{
	struct store_state state;
	struct role_input in = {.event = ROLE_EVENT_SETTLED};
	store_state(roles->node->store, &state);
	roles->settle.phase = SETTLE_NOT;
	in.offer.base_seq = state.last_seq;
	memcpy(in.offer.digest, state.digest, sizeof(in.offer.digest));
	if (roles->attempt.accept_loss) {
		roles_note_given_up(roles, NOTE_HELD);
		roles_note_given_up(roles, NOTE_BRAKE);
	}
	roles_push(roles, &in, "");
}

static bool advance_settle(struct roles *roles)
{
	struct node *node = roles->node;
	struct settle *st = &roles->settle;
	bool accept = roles->attempt.accept_loss;
	switch (st->phase) {
	case SETTLE_FENCE:
		if (!is_fenced(roles))
			return false;
		intake_flush(node->intake);
		st->phase = SETTLE_INDEX;
		return true;
	case SETTLE_INDEX:
		if (!is_closed(roles) || !is_scanned(roles) ||
		    !intake_is_done(node->intake, st->fenced_ms))
			return false;
		if (!accept && (is_held(roles, NOTE_HELD, "held") ||
				is_held(roles, NOTE_BRAKE,
					"held until `artifact-sync approve' or "
					"`reject', as hold") ||
				is_held(roles, NOTE_UNREADABLE, "unreadable")))
			return false;
		roles->frozen = true;
		roles_apply_hold(roles);
		st->phase = SETTLE_STOP;
		return true;
	case SETTLE_STOP:
		if (intake_is_working(node->intake)) {
			roles_set_timer(roles, 1);
			return false;
		}
		st->phase = SETTLE_PEERS;
		for (struct session *s = node->sessions; s; s = s->next) {
			/* What had changed while it was read is indexed by now: it need not wait
			 * for its next attempt, which may be a minute away. */
			if (s->sender)
				sender_retry_now(s->sender);
			session_want_barrier(s);
		}
		return true;
	case SETTLE_PEERS:
		if (is_held(roles, NOTE_REFUSED, "refused"))
			return false;
		if (peers_have_all(roles))
			settled(roles);
		return false;
	default: return false;
	}
}

/* ---- the passive looks at itself ------------------------------------------------------------ */

void roles_look(struct roles *roles, bool for_failover)
{
	roles->settle = (struct settle){.phase = LOOK_SCAN, .for_failover = for_failover};
	drift_guard_resume(roles->node); /* without it whatever is in the tree would pass */
	ask_tree(roles);
	roles_set_timer(roles, 1);
}

void roles_looked(struct roles *roles)
{
	roles->settle.phase = SETTLE_NOT;
	drift_guard_resume(roles->node);
}

static void look_ended(struct roles *roles, bool clean, const char *why)
{
	struct store_state state;
	struct role_input in = {.event = clean ? ROLE_EVENT_CLEAN : ROLE_EVENT_DIRTY,
				.offer.base_seq = roles->machine.offer.base_seq};
	bool for_failover = roles->settle.for_failover;
	roles->settle.phase = SETTLE_NOT;
	if (for_failover) {
		roles_failover_looked(roles, clean, why);
		return;
	}
	store_state(roles->node->store, &state);
	memcpy(in.offer.digest, state.digest, sizeof(in.offer.digest));
	if (!clean) {
		roles_reason(roles, EXIT_REFUSED, "%s: %s", roles->node->conf->node, why);
		roles_say(roles, HANDOVER_BY_RULE, "%.230s", why);
	}
	roles_push(roles, &in, "");
}

/* Whose tree is proven to be ours has what we have: noted before it is asked for anything. */
struct acked_job {
	struct job job;
	struct roles *roles;
	char peer[WIRE_NAME_MAX + 1];
	uint64_t seq;
	int result;
	struct err err;
};

static void acked_work(struct job *job)
{
	struct acked_job *a = container_of(job, struct acked_job, job);
	struct store *store = a->roles->node->store;
	a->result = store_ack_all(store, a->peer, a->seq, &a->err);
	if (a->result == 0)
		a->result = store_unnote(store, NOTE_RECONCILE, a->peer, &a->err);
}

static void acked_done(struct job *job)
{
	struct acked_job *a = container_of(job, struct acked_job, job);
	struct roles *roles = a->roles;
	int result = a->result;
	char why[ROLE_TEXT_MAX];
	snprintf(why, sizeof(why), "%.250s", a->err.msg);
	node_closed_one(roles->node);
	free(a);
	if (roles->settle.phase == LOOK_CLOSE && !roles->stopping)
		look_ended(roles, result == 0, why);
}

static void close_look(struct roles *roles)
{
	struct store_state state;
	store_state(roles->node->store, &state);
	roles->settle.phase = LOOK_CLOSE;
	drift_guard_stop(roles->node);
	if (roles->settle.for_failover) {
		look_ended(roles, true, "");
		return;
	}
	if (roles->attempt.accept_loss)
		roles_note_given_up(roles, NOTE_DRIFT); /* what it replaced is nowhere any more */
	if (memcmp(state.digest, roles->machine.offer.digest, HASH_LEN) != 0 ||
	    state.last_seq > roles->machine.offer.base_seq) {
		look_ended(roles, false, "what is indexed here is not what was offered");
		return;
	}
	struct acked_job *a = x_calloc(1, sizeof(*a));
	a->roles = roles;
	a->seq = roles->machine.offer.base_seq;
	snprintf(a->peer, sizeof(a->peer), "%s", roles->partner);
	roles->node->closing++;
	job_start(&roles->node->loop, &a->job, acked_work, acked_done);
}

static void look_is_dirty(struct roles *roles)
{
	struct note *notes = NULL;
	size_t n = 0;
	char q[QUOTED_MAX], why[ROLE_TEXT_MAX];
	store_notes(roles->node->store, NOTE_DRIFT, &notes, &n, NULL);
	snprintf(why, sizeof(why), "%zu paths were changed here by somebody else, first %s", n,
		 n > 0 ? quote_path(q, notes[0].path) : "?");
	notes_free(notes, n);
	look_ended(roles, false, why);
}

/* Before a failover nobody may be there who could say what the tree should be, or send it. */
static bool is_beyond_mending(const struct roles *roles)
{
	const struct node *node = roles->node;
	return roles->settle.for_failover && (node->distrusted || drift_only_waits(node->drift));
}

static bool advance_look(struct roles *roles)
{
	struct node *node = roles->node;
	struct settle *st = &roles->settle;
	switch (st->phase) {
	case LOOK_SCAN:
		if (!is_fenced(roles) || !is_scanned(roles))
			return false;
		st->phase = LOOK_MEND;
		return true;
	case LOOK_MEND:
		if (node->drift && !drift_is_calm(node->drift) && !is_beyond_mending(roles)) {
			roles_set_timer(roles, LOOK_AGAIN_MS);
			return false;
		}
		if (node->drift && drift_guard_count(node) > 0 && !roles->attempt.accept_loss) {
			look_is_dirty(roles);
			return false;
		}
		close_look(roles);
		return false;
	default: return false;
	}
}

/* ---- a superseded node ---------------------------------------------------------------------- */

/* What is in the tree and not in the index was never replicated: it is entered as such, and
 * displaced to the salvage where the survivor has something else. */
void roles_compare(struct roles *roles)
{
	struct node *node = roles->node;
	roles->settle = (struct settle){.phase = COMPARE_SCAN};
	if (!node->intake)
		return; /* it begins when what a crash left behind is settled */
	roles->frozen = false;
	intake_set_mode(node->intake, INTAKE_FOREIGN);
	roles_apply_hold(roles);
	ask_tree(roles);
	roles_set_timer(roles, 1);
}

static bool advance_compare(struct roles *roles)
{
	struct node *node = roles->node;
	struct settle *st = &roles->settle;
	if (st->phase != COMPARE_SCAN)
		return false;
	if (st->began_ms == 0) {
		roles_compare(roles);
		return false;
	}
	if (!is_fenced(roles))
		return false;
	intake_flush_open(node->intake);
	if (!is_scanned(roles) || !intake_is_done(node->intake, st->fenced_ms)) {
		roles_set_timer(roles, LOOK_AGAIN_MS);
		return false;
	}
	st->phase = COMPARE_REJOIN;
	roles->rejoinable = true;
	log_info(MODULE_ROLE, "the tree has been looked at action=rejoin");
	for (const struct session *s = node->sessions; s && node->peers; s = s->next)
		peers_redial(node->peers, s->peer);
	return false;
}

void roles_settle_advance(struct roles *roles)
{
	if (!roles->node->intake)
		return;
	while (!roles->stopping &&
	       (advance_settle(roles) || advance_look(roles) || advance_compare(roles)))
		;
}
