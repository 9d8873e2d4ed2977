/* session.c - one peer: its connection from beginning to end, frames, and the clockwork. */
#include "agent/node/node_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/node/put_back.h"
#include "agent/node/rewind.h"
#include "agent/sync/refusals.h"
#include "protocol/lineage.h"
#include "protocol/messages.h"

#define COMPARE_IDS 0x01000000u /* room for the asks of one comparison */

struct session *session_new(struct node *node, const char *peer)
{
	struct session *s = x_calloc(1, sizeof(*s));
	s->node = node;
	snprintf(s->peer, sizeof(s->peer), "%s", peer);
	s->lag_s = -1;
	s->rtt_ms = -1;
	s->behind_since_ms = clock_mono_ms();
	s->next = node->sessions;
	node->sessions = s;
	return s;
}

struct session *session_find(struct node *node, const char *peer)
{
	struct session *s = node->sessions;
	while (s && strcmp(s->peer, peer) != 0)
		s = s->next;
	return s;
}

static struct session *session_of(struct node *node, const struct link *link)
{
	struct session *s = node->sessions;
	while (s && s->link != link && s->next_link != link)
		s = s->next;
	return s;
}

uint32_t session_compare_id(struct session *s)
{
	return s->next_compare_id += COMPARE_IDS;
}

void session_close_link(struct session *s, uint16_t reason, const char *text)
{
	snprintf(s->trouble, sizeof(s->trouble), "%.250s", text);
	log_warn(MODULE_SESSION, "peer=%s action=close reason=%s err=\"%s\"", s->peer,
		 wire_reason_name(reason), text);
	link_close(s->link, reason, text);
}

/* A barrier says that the index is the tree; before the first scan has ended that is not known. */
void session_want_barrier(struct session *s)
{
	struct intake_counts counts;
	intake_counts(s->node->intake, &counts);
	if (s->sender && counts.scanned_ms != 0)
		sender_want_barrier(s->sender);
}

/* ---- frames --------------------------------------------------------------------------------- */

/* Of whoever asked; of one that has been given up it is nobody's. */
static int content_frame(struct session *s, const struct frame *frame)
{
	int taken = put_back_frame(s, frame);
	return taken != 0 ? (taken < 0 ? taken : 0) : rewind_frame(s, frame);
}

static int on_live_frame(struct session *s, const struct frame *frame)
{
	switch (frame->type) {
	case WIRE_HEARTBEAT: return heartbeat_frame(s, frame);
	case WIRE_READINESS: return readiness_frame(s, frame);
	case WIRE_RANGE_ASK: return range_server_frame(s->ranges, frame);
	case WIRE_RANGE_SPLIT:
	case WIRE_RANGE_LIST:
		if (!(s->reconcile && compare_frame(s->reconcile, frame)))
			verify_frame(s, frame);
		return 0;
	case WIRE_ANNOUNCE: return exposure_frame(s, frame);
	case WIRE_CANARY:
	case WIRE_CANARY_DONE: return canary_frame(s, frame);
	case WIRE_FINGERPRINTS: return fingerprints_frame(s, frame);
	case WIRE_DEEP_ASK: return deep_answer_frame(s, frame);
	case WIRE_DEEP_REPLY: verify_frame(s, frame); return 0;
	case WIRE_HISTORY_ASK:
	case WIRE_CONTENT_ASK: return s->past ? history_server_frame(s->past, frame) : -EPROTO;
	case WIRE_HISTORY_LIST: return rewind_frame(s, frame);
	case WIRE_CONTENT: return content_frame(s, frame);
	case WIRE_HANDOVER: return roles_frame(s, frame);
	case WIRE_OBSTACLES: return roles_obstacles_frame(s, frame);
	default: break;
	}
	if (s->receiver)
		receiver_frame(s->receiver, frame);
	else if (s->sender)
		sender_frame(s->sender, frame);
	else
		return -EPROTO;
	return 0;
}

int session_on_frame(struct node *node, struct link *link, const struct frame *frame)
{
	struct session *s = session_of(node, link);
	if (!s || s->link != link)
		return 0;
	if (frame->type == WIRE_HELLO)
		return hello_frame(s, frame);
	if (!s->live)
		return 0; /* already being closed */
	int r = on_live_frame(s, frame);
	if (r < 0) {
		char text[80];
		snprintf(text, sizeof(text), "%s: malformed or not expected now",
			 wire_rule(frame->type)->name);
		session_close_link(s, BYE_MALFORMED, text);
	}
	return r;
}

void session_on_writable(struct node *node, struct link *link)
{
	struct session *s = session_of(node, link);
	if (s && s->sender && s->link == link)
		sender_writable(s->sender);
}

/* ---- beginning and end of a connection ------------------------------------------------------ */

static void start_link(struct session *s)
{
	s->link = STEAL(s->next_link);
	link_resume(s->link);
	hello_send(s);
}

void session_on_open(struct node *node, struct link *link, const char *peer)
{
	struct session *s = session_find(node, peer);
	if (!s || node->stopping) {
		link_close(link, BYE_SHUTDOWN, "shutting down");
		return;
	}
	const char *refused = roles_refuses_sessions(node->roles);
	if (refused) {
		link_close(link, BYE_ROLE, refused);
		return;
	}
	s->next_link = link;
	if (s->closing > 0 || roles_holds_sessions(node->roles))
		link_pause(link); /* the modules of the last connection are still finishing */
	else
		start_link(s);
}

void session_resume(struct session *s)
{
	if (s->next_link && s->closing == 0 && !s->node->stopping &&
	    !roles_holds_sessions(s->node->roles))
		start_link(s);
}

/* A module of the last connection has ended; after the last of them the next connection may begin.
 */
void session_module_closed(void *owner)
{
	struct session *s = owner;
	if (--s->closing > 0)
		return;
	session_resume(s);
	node_closed_one(s->node);
}

static void ranges_closed(void *arg)
{
	session_module_closed(arg);
}

static void close_modules(struct session *s)
{
	/* Each reports in session_module_closed(), perhaps within the call: counted first. */
	struct sender *sender = STEAL(s->sender);
	struct receiver *receiver = STEAL(s->receiver);
	struct range_server *ranges = STEAL(s->ranges);
	struct history_server *past = STEAL(s->past);
	s->closing = (sender != NULL) + (receiver != NULL) + (ranges != NULL) + (past != NULL) +
		     (s->reconcile != NULL) + (s->deep != NULL);
	if (s->closing == 0)
		return;
	s->node->closing++;
	if (s->reconcile)
		compare_close(s->reconcile);
	if (s->deep)
		deep_close(s->deep);
	if (sender)
		sender_close(sender);
	if (receiver)
		receiver_close(receiver);
	if (past)
		history_server_close(past, session_module_closed, s);
	if (ranges)
		range_server_close(ranges, ranges_closed, s);
}

void session_on_closed(struct node *node, struct link *link, uint16_t reason, const char *why)
{
	struct session *s = session_of(node, link);
	if (!s)
		return;
	if (s->next_link == link) {
		s->next_link = NULL;
		return;
	}
	snprintf(s->trouble, sizeof(s->trouble), "%.250s", why);
	log_info(MODULE_SESSION, "peer=%s disconnected reason=%s why=\"%s\"", s->peer,
		 reason ? wire_reason_name(reason) : "none", why);
	node->link_bytes_in += link_bytes_in(link);
	node->link_bytes_out += link_bytes_out(link);
	s->link = NULL;
	if (s->live)
		roles_session_lost(s, reason);
	s->live = false;
	s->reconciling = false;
	s->rtt_ms = -1;
	if (s->behind_since_ms == 0)
		s->behind_since_ms = clock_mono_ms();
	verify_session_lost(s);
	rewind_session_lost(s);
	put_back_session_lost(s);
	close_modules(s);
	requests_tick(node);
}

/* ---- clockwork ------------------------------------------------------------------------------ */

void session_indexed(struct session *s)
{
	if (s->behind_since_ms == 0)
		s->behind_since_ms = clock_mono_ms();
	if (!s->sender)
		return;
	sender_kick(s->sender, false);
	exposure_indexed(s);
	session_want_barrier(s);
}

static void measure_rate(struct session *s)
{
	uint64_t now = clock_mono_ms();
	uint64_t bytes = s->rate_bytes;
	if (s->sender) {
		struct sender_counts counts;
		sender_counts(s->sender, &counts);
		bytes = counts.content_bytes - s->rate_bytes;
		s->rate_bytes = counts.content_bytes;
	} else {
		s->rate_bytes = 0;
	}
	double seconds = s->rate_ms ? (double)(now - s->rate_ms) / 1000.0 : 1.0;
	double rate = seconds > 0 ? (double)bytes / seconds : 0;
	s->rate = s->rate > 0 ? 0.7 * s->rate + 0.3 * rate : rate;
	s->rate_ms = now;
}

void session_tick(struct session *s)
{
	exposure_tick(s);
	if (!s->live || !s->link)
		return;
	heartbeat_send(s);
	if (node_is_active(s->node))
		store_pending_summary(s->node->store, s->peer, &s->pending, NULL);
	session_want_barrier(s);
	canary_tick(s);
	measure_rate(s);
}

bool session_is_idle(const struct session *s)
{
	return s->live && s->outcome == HANDSHAKE_IDLE;
}

bool session_is_in_sync(const struct session *s)
{
	struct store_state state;
	if (!s->live || s->reconciling || s->reconcile || s->mismatch || s->matched_ms == 0 ||
	    s->profile_differs)
		return false;
	if (drift_guard_count(s->node) > 0 || (s->have_theirs && s->theirs.drift > 0))
		return false;
	store_state(s->node->store, &state);
	if (s->sender)
		return s->behind_since_ms == 0 && s->matched_seq == state.last_seq;
	return s->receiver && receiver_unanswered(s->receiver) == 0 &&
	       refusals_count(receiver_refusals(s->receiver)) == 0 &&
	       s->matched_seq >= s->theirs.last_seq && s->have_theirs &&
	       memcmp(state.digest, state.barrier_digest, HASH_LEN) == 0;
}

void session_free_all(struct node *node)
{
	for (struct session *s = node->sessions, *next; s; s = next) {
		next = s->next;
		exposure_session_free(s);
		readiness_session_free(s);
		free(s->said_lineage);
		free(s);
	}
	node->sessions = NULL;
}
