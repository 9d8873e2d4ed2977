/* session.c - one peer: handshake, who sends and who receives, heartbeats, and the orderly end. */
#include "agent/node/node_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/quote.h"
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

static void close_link(struct session *s, uint16_t reason, const char *text)
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

static void on_violated(void *owner, uint16_t reason, const char *text)
{
	struct session *s = owner;
	if (s->link)
		close_link(s, reason, text);
}

/* ---- HELLO ---------------------------------------------------------------------------------- */

/* Does the tree hold more than directories, which replication may take over without a loss? */
static bool holds_content(struct store *store)
{
	AUTO(store_cursor) *cursor = NULL;
	const struct index_entry *entry;
	if (store_cursor_open(&cursor, store, "", "", NULL) < 0)
		return true;
	int r;
	while ((r = store_cursor_next(cursor, &entry, NULL)) > 0) {
		if (entry->rec.kind == RECORD_FILE || entry->rec.kind == RECORD_SYMLINK)
			return true;
	}
	return r < 0;
}

/* A passive that was never part of the group and holds files says so: nobody has replicated them.
 */
static uint8_t hello_flags(struct store *store, const struct store_state *state, size_t n_lineage)
{
	uint8_t flags = 0;
	if (n_lineage == 0 && holds_content(store))
		flags |= HELLO_POPULATED;
	if (state->adopt)
		flags |= n_lineage == 0 ? HELLO_ADOPT : HELLO_RECONCILING;
	return flags;
}

static int fill_hello(struct session *s, struct wire_hello *out, struct epoch_entry **lineage)
{
	struct node *node = s->node;
	struct store_state state;
	struct err err = {0};
	size_t n = 0;
	int r = store_lineage(node->store, lineage, &n, &err);
	if (r < 0) {
		log_error(MODULE_SESSION, "peer=%s err=\"%s\"", s->peer, err.msg);
		return r;
	}
	store_state(node->store, &state);
	*out = (struct wire_hello){.version = WIRE_VERSION, .role = state.role};
	snprintf(out->group, sizeof(out->group), "%s", node->conf->group);
	snprintf(out->node, sizeof(out->node), "%s", node->conf->node);
	snprintf(out->to, sizeof(out->to), "%s", s->peer);
	out->flags = hello_flags(node->store, &state, n);
	memcpy(out->profile, node->profile_hash, sizeof(out->profile));
	out->chain_n = state.chain_n;
	memcpy(out->chain, state.chain, sizeof(out->chain));
	store_peer_chain(node->store, s->peer, &out->seen_chain_n, out->seen_chain, NULL);
	out->last_seq = state.last_seq;
	out->records = state.records;
	memcpy(out->digest, state.digest, sizeof(out->digest));
	out->n_lineage = (uint16_t)n;
	out->lineage = *lineage;
	return 0;
}

static void send_hello(struct session *s)
{
	struct wire_hello hello;
	AUTO_FREE struct epoch_entry *lineage = NULL;
	AUTO_FREE uint8_t *body = x_calloc(1, WIRE_FRAME_MAX);
	if (fill_hello(s, &hello, &lineage) < 0) {
		close_link(s, BYE_INTERNAL, "the state could not be read");
		return;
	}
	struct wr w;
	wr_init(&w, body, WIRE_FRAME_MAX);
	wire_encode_hello(&w, &hello);
	BUG_ON(w.error);
	link_send(s->link, WIRE_HELLO, body, wr_len(&w));
}

/* ---- what the modules say ------------------------------------------------------------------- */

static void module_closed(void *owner);

static void on_acked(void *owner, size_t records)
{
	struct session *s = owner;
	(void)records;
	session_want_barrier(s);
	requests_tick(s->node);
}

static int64_t on_barrier_clock(void *owner)
{
	return node_barrier_clock(((struct session *)owner)->node);
}

static void start_reconcile(struct session *s);

static void on_barrier_done(void *owner, uint64_t seq, int64_t clock_ns, uint8_t outcome)
{
	struct session *s = owner;
	struct store_state state;
	store_state(s->node->store, &state);
	if (outcome == BARRIER_MATCHED) {
		uint64_t now = clock_mono_ms();
		s->matched_seq = seq;
		s->matched_ms = now;
		node_barrier_sent(s->node);
		s->recovery_ns = clock_ns;
		s->mismatch = false;
		if (seq == state.last_seq && s->behind_since_ms != 0) {
			s->lag_s = (double)(now - s->behind_since_ms) / 1000.0;
			s->behind_since_ms = 0;
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

static void start_sender(struct session *s)
{
	const struct conf *conf = node_conf(s->node);
	struct sender_setup setup = {
		.loop = &s->node->loop,
		.link = s->link,
		.tree = s->node->tree,
		.store = s->node->store,
		.peer = s->peer,
		.window_bytes = conf->window_bytes,
		.rate_bytes_per_s = conf->rate_bytes_per_s,
		.events = {.owner = s,
			   .acked = on_acked,
			   .barrier_clock = on_barrier_clock,
			   .barrier_done = on_barrier_done,
			   .source_changed = on_source_changed,
			   .violated = on_violated,
			   .closed = module_closed},
	};
	s->sender = sender_new(&setup);
	sender_pause(s->sender, s->node->paused);
	sender_kick(s->sender, true);
	session_want_barrier(s);
}

static void on_reconciled(void *owner, int result, const char *why)
{
	struct session *s = owner;
	s->reconcile = NULL;
	s->reconciling = false;
	if (s->closing > 0) {
		module_closed(s);
		return;
	}
	if (result < 0) {
		if (s->link)
			close_link(s, BYE_MALFORMED, why);
		return;
	}
	s->reconciliations++;
	log_info(MODULE_SESSION, "peer=%s reconciled, differences are on their way", s->peer);
	if (!s->sender)
		start_sender(s);
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
}

static void on_barrier(void *owner, const struct wire_barrier *barrier, uint8_t outcome)
{
	struct session *s = owner;
	struct node *node = s->node;
	struct store_state state;
	s->mismatch = outcome == BARRIER_MISMATCH;
	s->mismatches += s->mismatch;
	if (outcome == BARRIER_MATCHED) {
		s->matched_seq = barrier->seq;
		s->matched_ms = clock_mono_ms();
		node->recovery_ns = barrier->clock_ns;
		node->recovery_boot_ns = clock_boot_ns();
		node->barrier_count++;
		store_state(node->store, &state);
		/* Equal to the active in every record: the first sync is over, adoption is
		 * consumed. */
		if (state.adopt)
			store_clear_adopt(node->store, NULL);
	}
	requests_tick(node);
}

static void on_committed(void *owner, uint64_t records, uint64_t bytes)
{
	struct session *s = owner;
	(void)records;
	s->rate_bytes += bytes;
}

static void start_receiver(struct session *s)
{
	struct receiver_setup setup = {
		.loop = &s->node->loop,
		.link = s->link,
		.env = s->node->commit,
		.events = {.owner = s,
			   .barrier = on_barrier,
			   .committed = on_committed,
			   .violated = on_violated,
			   .closed = module_closed},
	};
	s->receiver = receiver_new(&setup);
}

/* ---- going live ----------------------------------------------------------------------------- */

static int take_lineage(struct session *s, const struct wire_hello *theirs)
{
	struct err err = {0};
	if (store_set_lineage(s->node->store, theirs->lineage, theirs->n_lineage, &err) == 0)
		return 0;
	close_link(s, BYE_INTERNAL, err.msg);
	return -EIO;
}

static void begin_sending(struct session *s, const struct wire_hello *theirs)
{
	struct err err = {0};
	struct store *store = s->node->store;
	int r = 0;
	if (s->outcome == HANDSHAKE_SEND_ALL)
		r = store_unack_all(store, s->peer, &err);
	/* A seq the peer has seen must not be given to another change. */
	if (r == 0)
		r = store_raise_seq(store, theirs->last_seq, &err);
	if (r < 0) {
		close_link(s, BYE_INTERNAL, err.msg);
		return;
	}
	/* Nothing to compare with: a new node holds its own directory at most. */
	if (s->outcome == HANDSHAKE_SEND ||
	    (s->outcome == HANDSHAKE_SEND_ALL && theirs->records <= 1)) {
		start_sender(s);
		return;
	}
	s->reconciling = true;
	session_scanned(s);
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

static bool may_send(enum handshake outcome)
{
	return outcome == HANDSHAKE_SEND || outcome == HANDSHAKE_SEND_ALL ||
	       outcome == HANDSHAKE_RECONCILE_SEND;
}

static bool may_receive(enum handshake outcome)
{
	return outcome == HANDSHAKE_RECEIVE || outcome == HANDSHAKE_RECEIVE_ALL ||
	       outcome == HANDSHAKE_RECONCILE_RECEIVE;
}

static void go_live(struct session *s, const struct wire_hello *theirs)
{
	struct node *node = s->node;
	s->live = true;
	s->trouble[0] = '\0';
	s->have_theirs = false;
	s->beat = s->beat_seen = 0;
	s->ranges = range_server_new(&node->loop, s->link, node->store);
	s->profile_differs = memcmp(theirs->profile, node->profile_hash, 32) != 0;
	if (s->profile_differs)
		log_warn(MODULE_SESSION,
			 "peer=%s profile or ownership differ: content flows, but the "
			 "trees cannot be called equal; make `profile`, `rules` and `ownership` "
			 "the same",
			 s->peer);
	if (may_send(s->outcome)) {
		link_go_live(s->link, FROM_PASSIVE);
		begin_sending(s, theirs);
	} else {
		link_go_live(s->link, FROM_ACTIVE);
		if (take_lineage(s, theirs) == 0)
			start_receiver(s);
	}
	/* What we saw of the peer's state now, it must not fall behind later. While positions are
	 * not to be trusted it is not remembered, so that a restart compares again. */
	if (s->outcome == HANDSHAKE_SEND || s->outcome == HANDSHAKE_RECEIVE)
		store_set_peer_chain(node->store, s->peer, theirs->chain_n, theirs->chain, NULL);
	fingerprints_send(s);
	session_tick(s);
}

static int on_hello(struct session *s, const struct frame *frame)
{
	AUTO_FREE struct epoch_entry *lineage = x_calloc(WIRE_LINEAGE_MAX, sizeof(*lineage));
	AUTO_FREE struct epoch_entry *our_lineage = NULL;
	struct wire_hello theirs, ours;
	enum wire_reason why = 0;
	char text[WIRE_TEXT_MAX + 1];
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_hello(&theirs, lineage, &r) < 0) {
		snprintf(text, sizeof(text), "HELLO: field \"%s\" is malformed",
			 r.field ? r.field : "?");
		close_link(s, BYE_MALFORMED, text);
		return -EBADMSG;
	}
	if (fill_hello(s, &ours, &our_lineage) < 0) {
		close_link(s, BYE_INTERNAL, "the state could not be read");
		return -EIO;
	}
	s->outcome = handshake_judge(&ours, &theirs, &why, text);
	s->peer_role = theirs.role;
	log_info(MODULE_SESSION, "peer=%s address=%s outcome=%s%s%s", s->peer,
		 link_address(s->link), handshake_name(s->outcome), *text ? " " : "", text);
	if (!may_send(s->outcome) && !may_receive(s->outcome)) {
		close_link(s, s->outcome == HANDSHAKE_REFUSE ? why : BYE_LINEAGE, text);
		return -EPROTO;
	}
	go_live(s, &theirs);
	return 0;
}

/* ---- heartbeats ----------------------------------------------------------------------------- */

static uint32_t scan_age_s(const struct node *node)
{
	struct intake_counts counts;
	if (!node->intake)
		return UINT32_MAX;
	intake_counts(node->intake, &counts);
	return counts.scanned_ms == 0 ? UINT32_MAX
				      : (uint32_t)((clock_mono_ms() - counts.scanned_ms) / 1000);
}

static void send_heartbeat(struct session *s)
{
	uint8_t body[256];
	struct node *node = s->node;
	struct store_state state;
	uint64_t now_us = clock_mono_ns() / 1000;
	store_state(node->store, &state);
	struct wire_heartbeat beat = {
		.nonce = ++s->beat,
		.echo = s->beat_seen,
		.echo_delay_us = s->beat_seen ? (uint32_t)(now_us - s->beat_seen_us) : 0,
		.scan_age_s = scan_age_s(node),
		.scan_interval_s = node_scan_interval_s(node),
		.last_seq = state.last_seq,
		.clock_ns = clock_real_ns(),
		.recovery_ns = node->recovery_ns,
		.held = (uint32_t)store_note_count(node->store, NOTE_HELD),
		.salvage = (uint32_t)store_salvage_count(node->store),
	};
	beat.flags = (node_is_healthy(node) ? BEAT_HEALTHY : 0) | (node->paused ? BEAT_PAUSED : 0);
	struct wr w;
	wr_init(&w, body, sizeof(body));
	wire_encode_heartbeat(&w, &beat);
	s->beat_sent_us[s->beat % BEATS_REMEMBERED] = now_us;
	link_send(s->link, WIRE_HEARTBEAT, body, wr_len(&w));
}

static int on_heartbeat(struct session *s, const struct frame *frame)
{
	struct wire_heartbeat m;
	struct rd r;
	uint64_t now_us = clock_mono_ns() / 1000;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_heartbeat(&m, &r) < 0)
		return -EBADMSG;
	/* Not only the newest: on a long line another has gone out before the echo comes. */
	uint64_t sent_us = s->beat_sent_us[m.echo % BEATS_REMEMBERED];
	bool known = m.echo != 0 && m.echo <= s->beat && s->beat - m.echo < BEATS_REMEMBERED;
	if (known && now_us - sent_us >= m.echo_delay_us)
		s->rtt_ms = (double)(now_us - sent_us - m.echo_delay_us) / 1000.0;
	s->beat_seen = m.nonce;
	s->beat_seen_us = now_us;
	s->theirs = m;
	s->have_theirs = true;
	if (node_is_active(s->node) && m.recovery_ns > s->recovery_ns)
		s->recovery_ns = m.recovery_ns;
	if (s->sender)
		sender_pause(s->sender, s->node->paused || (m.flags & BEAT_PAUSED));
	return 0;
}

/* ---- deep verification asked by the peer ---------------------------------------------------- */

static void send_deep(struct session *s, uint8_t flags, uint64_t files, uint64_t bytes,
		      const char *path, const char *text)
{
	uint8_t body[WIRE_PATH_MAX + 512], entry[WIRE_PATH_MAX + 256];
	struct wire_deep_reply m = {
		.id = s->deep_id, .flags = flags, .files = files, .bytes = bytes};
	struct wr w;
	if (path) {
		wr_init(&w, entry, sizeof(entry));
		wire_encode_one_difference(&w, path, text);
		m.n = 1;
		m.entries = entry;
		m.entries_len = (uint32_t)wr_len(&w);
	}
	wr_init(&w, body, sizeof(body));
	wire_encode_deep_reply(&w, &m);
	if (s->link)
		link_send(s->link, WIRE_DEEP_REPLY, body, wr_len(&w));
}

static void on_deep_difference(void *owner, const char *path, const char *why)
{
	send_deep(owner, 0, 0, 0, path, why);
}

static void on_deep_progress(void *owner, uint64_t files, uint64_t bytes)
{
	send_deep(owner, 0, files, bytes, NULL, NULL);
}

static void on_deep_done(void *owner, int result, const char *why)
{
	struct session *s = owner;
	(void)why;
	s->deep = NULL;
	if (s->closing > 0)
		module_closed(s);
	else
		send_deep(s, DEEP_LAST | (result < 0 ? DEEP_FAILED : 0), 0, 0, NULL, NULL);
}

static int on_deep_ask(struct session *s, const struct frame *frame)
{
	struct wire_deep_ask m;
	struct rd r;
	struct deep_events events = {.owner = s,
				     .difference = on_deep_difference,
				     .progress = on_deep_progress,
				     .done = on_deep_done};
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_deep_ask(&m, &r) < 0 || s->deep)
		return -EBADMSG;
	s->deep_id = m.id;
	s->deep = deep_start(&s->node->loop, &s->node->capture, &events);
	return 0;
}

/* ---- frames --------------------------------------------------------------------------------- */

static int on_live_frame(struct session *s, const struct frame *frame)
{
	switch (frame->type) {
	case WIRE_HEARTBEAT: return on_heartbeat(s, frame);
	case WIRE_RANGE_ASK: return range_server_frame(s->ranges, frame);
	case WIRE_RANGE_SPLIT:
	case WIRE_RANGE_LIST:
		if (!(s->reconcile && compare_frame(s->reconcile, frame)))
			verify_frame(s, frame);
		return 0;
	case WIRE_FINGERPRINTS: return fingerprints_frame(s, frame);
	case WIRE_DEEP_ASK: return on_deep_ask(s, frame);
	case WIRE_DEEP_REPLY: verify_frame(s, frame); return 0;
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
		return on_hello(s, frame);
	if (!s->live)
		return 0; /* already being closed */
	int r = on_live_frame(s, frame);
	if (r < 0) {
		char text[80];
		snprintf(text, sizeof(text), "%s: malformed or not expected now",
			 wire_rule(frame->type)->name);
		close_link(s, BYE_MALFORMED, text);
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
	send_hello(s);
}

void session_on_open(struct node *node, struct link *link, const char *peer)
{
	struct session *s = session_find(node, peer);
	if (!s || node->stopping) {
		link_close(link, BYE_SHUTDOWN, "shutting down");
		return;
	}
	s->next_link = link;
	if (s->closing > 0)
		link_pause(link); /* the modules of the last connection are still finishing */
	else
		start_link(s);
}

/* A module of the last connection has ended; after the last of them the next connection may begin.
 */
static void module_closed(void *owner)
{
	struct session *s = owner;
	if (--s->closing > 0)
		return;
	if (s->next_link && !s->node->stopping)
		start_link(s);
	node_closed_one(s->node);
}

static void ranges_closed(void *arg)
{
	module_closed(arg);
}

static void close_modules(struct session *s)
{
	/* Each reports in module_closed(), perhaps within the call: counted first. */
	struct sender *sender = STEAL(s->sender);
	struct receiver *receiver = STEAL(s->receiver);
	struct range_server *ranges = STEAL(s->ranges);
	s->closing = (sender != NULL) + (receiver != NULL) + (ranges != NULL) +
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
	s->link = NULL;
	s->live = false;
	s->reconciling = false;
	s->rtt_ms = -1;
	if (s->behind_since_ms == 0)
		s->behind_since_ms = clock_mono_ms();
	verify_session_lost(s);
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
	if (!s->live || !s->link)
		return;
	send_heartbeat(s);
	if (node_is_active(s->node))
		store_pending_summary(s->node->store, s->peer, &s->pending, NULL);
	session_want_barrier(s);
	measure_rate(s);
}

bool session_is_in_sync(const struct session *s)
{
	struct store_state state;
	if (!s->live || s->reconciling || s->reconcile || s->mismatch || s->matched_ms == 0 ||
	    s->profile_differs)
		return false;
	store_state(s->node->store, &state);
	if (s->sender)
		return s->behind_since_ms == 0 && s->matched_seq == state.last_seq;
	return s->receiver && receiver_unanswered(s->receiver) == 0 &&
	       s->matched_seq >= s->theirs.last_seq && s->have_theirs &&
	       memcmp(state.digest, state.barrier_digest, HASH_LEN) == 0;
}

void session_free_all(struct node *node)
{
	for (struct session *s = node->sessions, *next; s; s = next) {
		next = s->next;
		free(s);
	}
	node->sessions = NULL;
}
