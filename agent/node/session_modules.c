/* session_modules.c - who sends, who receives, and when everything is compared: started, and what
 * they say. */
#include "agent/node/node_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/node/put_back.h"
#include "protocol/messages.h"

static void start_reconcile(struct session *s);

static void on_violated(void *owner, uint16_t reason, const char *text)
{
	struct session *s = owner;
	if (s->link)
		session_close_link(s, reason, text);
}

static void on_acked(void *owner, size_t records)
{
	struct session *s = owner;
	(void)records;
	s->noted_chain_n =
		UINT64_MAX; /* acknowledgements carry the peer's, and the sender notes it */
	session_want_barrier(s);
	requests_tick(s->node);
}

static int64_t on_barrier_clock(void *owner)
{
	return node_barrier_clock(((struct session *)owner)->node);
}

/* A refusal may be of a version that has been acknowledged since, or of a path that nobody
 * replicates any longer: when every peer has everything there is none. */
static void forget_refusals(struct node *node)
{
	struct store_state state;
	store_state(node->store, &state);
	for (const struct session *s = node->sessions; s; s = s->next) {
		if (s->live && s->sender && (s->mismatch || s->matched_seq != state.last_seq))
			return;
	}
	store_forget_notes(node->store, NOTE_REFUSED, NULL);
}

static void on_barrier_done(void *owner, const struct sent_barrier *barrier, uint8_t outcome)
{
	struct session *s = owner;
	uint64_t seq = barrier->seq;
	struct store_state state;
	store_state(s->node->store, &state);
	if (outcome == BARRIER_MATCHED) {
		uint64_t now = clock_mono_ms();
		hello_matched(s, s->their_chain_n, s->their_chain);
		s->matched_seq = seq;
		s->matched_ms = now;
		memcpy(s->matched_digest, barrier->digest, sizeof(s->matched_digest));
		node_barrier_sent(s->node);
		s->recovery_ns = barrier->clock_ns;
		s->mismatch = false;
		forget_refusals(s->node);
		roles_matched(s, seq);
		if (seq == state.last_seq && s->behind_since_ms != 0) {
			s->lag_s = (double)(now - s->behind_since_ms) / 1000.0;
			s->behind_since_ms = 0;
			s->caught_up_ms = now;
		}
	} else if (outcome == BARRIER_MISMATCH) {
		s->mismatch = true;
		s->mismatches++;
		/* By other rules the trees cannot be equal, and no comparison makes them so. */
		if (s->profile_differs)
			return;
		log_error(MODULE_SESSION, "peer=%s seq=%" PRIu64 " digests differ action=reconcile",
			  s->peer, seq);
		if (!s->reconcile)
			start_reconcile(s);
	}
	requests_tick(s->node);
}

static void on_source_changed(void *owner, const char *path)
{
	struct session *s = owner;
	if (s->node->intake)
		intake_changed(s->node->intake, path, WATCH_SETTLED);
}

void session_start_sender(struct session *s)
{
	const struct conf *conf = node_conf(s->node);
	struct sender_setup setup = {
		.loop = &s->node->loop,
		.link = s->link,
		.tree = s->node->tree,
		.store = s->node->store,
		.recent = s->node->recent,
		.peer = s->peer,
		.profile = s->node->profile,
		.window_bytes = conf->window_bytes,
		.pace = &s->node->pace,
		.events = {.owner = s,
			   .acked = on_acked,
			   .barrier_clock = on_barrier_clock,
			   .barrier_done = on_barrier_done,
			   .source_changed = on_source_changed,
			   .violated = on_violated,
			   .closed = session_module_closed},
	};
	s->sender = sender_new(&setup);
	sender_pause(s->sender, s->node->paused);
	sender_kick(s->sender, true);
	session_want_barrier(s);
	put_back_want(s->node);
}

/* ---- comparing ------------------------------------------------------------------------------ */

static void on_reconciled(void *owner, int result, const char *why)
{
	struct session *s = owner;
	s->reconcile = NULL;
	s->reconciling = false;
	if (s->sender)
		sender_hold_sets(s->sender, false);
	if (s->closing > 0) {
		session_module_closed(s);
		return;
	}
	if (result < 0) {
		if (s->link)
			session_close_link(s, BYE_MALFORMED, why);
		return;
	}
	s->reconciliations++;
	log_info(MODULE_SESSION, "peer=%s reconciled, differences are on their way", s->peer);
	if (!s->sender)
		session_start_sender(s);
	else
		sender_kick(s->sender, true);
	session_want_barrier(s);
}

static void on_difference(void *owner, const char *path, const char *what)
{
	(void)owner;
	(void)path;
	(void)what;
	BUG_ON(true); /* a reconciliation lists nothing */
}

static void start_reconcile(struct session *s)
{
	struct compare_events events = {
		.owner = s, .difference = on_difference, .done = on_reconciled};
	s->reconcile =
		compare_start(&s->node->loop, s->link, s->node->store, s->peer, COMPARE_RECONCILE,
			      s->node->profile, session_compare_id(s), &events);
	/* What is found to differ is noted range by range; a set is to be sent when all of it is.
	 */
	if (s->sender)
		sender_hold_sets(s->sender, true);
}

/* What the index does not know yet would look like something that only the peer has. */
void session_scanned(struct session *s)
{
	struct intake_counts counts;
	intake_counts(s->node->intake, &counts);
	if (counts.scanned_ms != 0 && s->reconciling && !s->reconcile) {
		log_info(MODULE_SESSION, "peer=%s comparing everything before anything is sent",
			 s->peer);
		start_reconcile(s);
	}
	session_want_barrier(s);
}

/* ---- the receiver --------------------------------------------------------------------------- */

/* What comes to the salvage from now on is no leftover of before. */
static void end_adoption(struct session *s)
{
	struct node *node = s->node;
	struct err err = {0};
	if (store_clear_adopt(node->store, &err) < 0)
		log_error(MODULE_SESSION,
			  "action=\"adoption ends with the next barrier\" err=\"%s\"", err.msg);
	else
		node->commit.salvage_why = "drift";
	if (s->receiver)
		receiver_set_salvage_why(s->receiver, node->commit.salvage_why);
}

/* How old the moment it speaks of was when it was sent, by the sender's clock alone: a watcher that
 * lags, or an old file still being written, makes a barrier speak of the past. */
static uint64_t age_when_sent(const struct wire_barrier *barrier)
{
	int64_t age = barrier->sent_ns - barrier->clock_ns;
	return age > 0 ? (uint64_t)age : 0;
}

static void on_barrier(void *owner, const struct wire_barrier *barrier, uint8_t outcome)
{
	struct session *s = owner;
	struct node *node = s->node;
	struct store_state state;
	if (outcome == BARRIER_MISMATCH && !s->mismatch && !s->profile_differs)
		log_error(MODULE_SESSION,
			  "peer=%s barrier_seq=%" PRIu64
			  " what=\"the digests differ\" action=\"the active compares\"",
			  s->peer, barrier->seq);
	s->mismatch = outcome == BARRIER_MISMATCH;
	s->mismatches += s->mismatch;
	if (outcome == BARRIER_MATCHED) {
		hello_matched(s, barrier->chain_n, barrier->chain);
		s->matched_seq = barrier->seq;
		s->matched_ms = clock_mono_ms();
		memcpy(s->matched_digest, barrier->digest, sizeof(s->matched_digest));
		node->recovery_ns = barrier->clock_ns;
		node->recovery_boot_ns = clock_boot_ns() - age_when_sent(barrier);
		node->barrier_count++;
		/* The trees are equal: whatever was held is not wanted any longer. */
		store_holds_clear(node->store, HOLD_PEERS, NULL);
		store_state(node->store, &state);
		/* Equal to the active in every record: the first sync is over, adoption is
		 * consumed. */
		if (state.adopt)
			end_adoption(s);
		roles_matched(s, barrier->seq);
	}
	if (outcome != BARRIER_DROPPED)
		drift_guard_barrier(node, outcome == BARRIER_MATCHED);
	requests_tick(node);
}

static void on_committed(void *owner, uint64_t records, uint64_t bytes)
{
	struct session *s = owner;
	(void)records;
	s->rate_bytes += bytes;
	drift_guard_arrived(s->node);
}

void session_start_receiver(struct session *s)
{
	struct receiver_setup setup = {
		.loop = &s->node->loop,
		.link = s->link,
		.env = s->node->commit,
		.events = {.owner = s,
			   .barrier = on_barrier,
			   .committed = on_committed,
			   .violated = on_violated,
			   .closed = session_module_closed},
	};
	s->receiver = receiver_new(&setup);
}
