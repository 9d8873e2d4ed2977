/* requests.c - what commands ask of the agent. The short ones are answered at once; `wait` and
 * `verify` become a request that goes from phase to phase until it is answered or its time is up.
 */
#include "agent/node/node_internal.h"
#include "agent/node/put_back.h"
#include "agent/node/rewind.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/quote.h"

#define WAIT_DEFAULT_S 60
#define PROGRESS_MS 500

/* ---- answers -------------------------------------------------------------------------------- */

void request_free(struct request *q)
{
	struct request **at = &q->node->requests;
	while (*at != q)
		at = &(*at)->next;
	*at = q->next;
	json_decref(q->differences);
	free(q);
}

void request_fail(struct request *q, enum exit_code code, const char *remedy, const char *text)
{
	if (q->call)
		control_fail(STEAL(q->call), code, remedy, "%s", text);
	verify_close(q); /* frees it when nothing of it runs any more */
}

struct proof {
	uint64_t seq; /* 0: there is none */
	uint8_t digest[HASH_LEN];
};

/* On the active: the one that speaks of the least, since what it says goes for all. */
static struct proof proof_of_peers(const struct node *node)
{
	struct proof proof = {0};
	for (const struct session *s = node->sessions; s; s = s->next) {
		if (s->matched_ms == 0)
			return (struct proof){0};
		if (proof.seq != 0 && s->matched_seq >= proof.seq)
			continue;
		proof.seq = s->matched_seq;
		memcpy(proof.digest, s->matched_digest, HASH_LEN);
	}
	return proof;
}

/* On a passive: the last barrier that matched; it outlives the connection. */
static struct proof proof_here(const struct node *node)
{
	struct proof proof = {0};
	struct store_state state;
	store_state(node->store, &state);
	proof.seq = state.barrier_seq;
	memcpy(proof.digest, state.barrier_digest, HASH_LEN);
	return proof;
}

static void finish_wait(struct request *q)
{
	char hex[HASH_HEX_MAX];
	bool active = node_is_active(q->node);
	const struct proof proof = active ? proof_of_peers(q->node) : proof_here(q->node);
	json_t *held = left_out_json(q->node);
	bool clean = json_array_size(held) == 0;
	json_t *result =
		json_pack("{s:I, s:o, s:b, s:o}", "seq", (json_int_t)proof.seq, "digest",
			  proof.seq ? json_string(hash_hex(hex, proof.digest)) : json_null(),
			  "active", active, "held", held);
	/* Held paths keep their last good version on the other side: not everything is there. */
	if (q->call)
		control_done(STEAL(q->call), clean ? EXIT_DONE : EXIT_NO, result);
	else
		json_decref(result);
	request_free(q);
}

/* ---- phases --------------------------------------------------------------------------------- */

static bool peers_have_it(const struct request *q)
{
	const struct node *node = q->node;
	/* A number that was proven stays so. Without one: what the active had when asked. */
	if (!node_is_active(node))
		return q->wanted ? proof_here(node).seq >= q->wanted
				 : node->barrier_count > q->barriers;
	for (const struct session *s = node->sessions; s; s = s->next) {
		if (!s->live || s->mismatch || s->matched_seq < q->target ||
		    s->matched_ms < q->peers_ms)
			return false;
	}
	return true;
}

static const char *phase_name(const struct request *q)
{
	static const char *const names[] = {"watching", "capturing", "replicating", "comparing",
					    "reading"};
	return names[q->phase];
}

static void report_progress(struct request *q)
{
	uint64_t now = clock_mono_ms(), changes = 0, bytes = 0;
	double rate = 0;
	if (now - q->reported_ms < PROGRESS_MS || !q->call)
		return;
	q->reported_ms = now;
	for (const struct session *s = q->node->sessions; s; s = s->next) {
		changes += s->pending.changes;
		bytes += s->pending.bytes;
		rate += s->rate;
	}
	json_t *progress = json_pack("{s:s, s:I, s:I, s:f, s:o, s:I, s:I}", "phase", phase_name(q),
				     "pending_changes", (json_int_t)changes, "pending_bytes",
				     (json_int_t)bytes, "rate_bytes_per_s", rate, "eta_s",
				     rate > 1 ? json_real((double)bytes / rate) : json_null(),
				     "files", (json_int_t)(q->files + q->files_there), "bytes",
				     (json_int_t)(q->bytes + q->bytes_there));
	control_progress(q->call, progress);
}

/* The first peer that the active waits for, or NULL. */
static const struct session *first_behind(const struct request *q)
{
	const struct session *s = q->node->sessions;
	while (s && s->live && s->matched_seq >= q->target && s->matched_ms >= q->peers_ms)
		s = s->next;
	return s;
}

static void explain_peer(const struct request *q, const struct session *s, char *text, size_t size)
{
	if (!s->live)
		snprintf(text, size, "timed out: %s is not connected (%.150s)", s->peer,
			 *s->trouble ? s->trouble : peers_last_error(q->node->peers, s->peer));
	else if (s->matched_seq >= q->target)
		snprintf(text, size,
			 "timed out: %s had everything up to %" PRIu64
			 ", and has not answered since",
			 s->peer, s->matched_seq);
	else
		snprintf(text, size, "timed out: %s has everything up to %" PRIu64 " of %" PRIu64,
			 s->peer, s->pending.acked_seq, q->target);
}

/* What is known when the time is up. */
static void time_out(struct request *q)
{
	char text[300];
	bool active = node_is_active(q->node);
	const struct session *s = active && q->phase == REQUEST_PEERS ? first_behind(q) : NULL;
	if (q->phase <= REQUEST_CAPTURE)
		snprintf(text, sizeof(text), "timed out while the tree was being read");
	else if (s)
		explain_peer(q, s, text, sizeof(text));
	else if (!active && q->phase == REQUEST_PEERS && q->wanted)
		snprintf(text, sizeof(text),
			 "timed out: this node has everything up to %" PRIu64 " of %" PRIu64,
			 proof_here(q->node).seq, q->wanted);
	else
		snprintf(text, sizeof(text), "timed out while %s", phase_name(q));
	const char *paused = status_paused_on(q->node);
	if (paused && q->phase == REQUEST_PEERS) {
		size_t len = strlen(text);
		snprintf(text + len, sizeof(text) - len, "; replication is paused on %s", paused);
	}
	request_fail(q, EXIT_TIMED_OUT,
		     paused ? "artifact-sync resume, there, lets it go on"
			    : "artifact-sync status --watch shows what is under way",
		     text);
}

static void enter_peers(struct request *q)
{
	struct store_state state;
	store_state(q->node->store, &state);
	q->phase = REQUEST_PEERS;
	q->peers_ms = clock_mono_ms();
	if (q->target == 0)
		q->target = state.last_seq;
	for (struct session *s = q->node->sessions; s; s = s->next) {
		session_want_barrier(s);
	}
}

/* By what it said after it began to refuse what it lacks: an older number may be of a hold that is
 * over. */
static bool is_held_there(struct session *s)
{
	return s->live && s->have_theirs && s->theirs.held > 0 && s->sender &&
	       sender_waits_to_retry(s->sender, s->beat_seen_us / 1000) &&
	       store_pending_summary(s->node->store, s->peer, &s->pending, NULL) == 0 &&
	       s->pending.changes > 0;
}

/* Is all that a peer lacks held there, or what we lack held here? Then it ends only when a person
 * has decided, and waiting is of no use. */
static bool rest_is_held(const struct request *q)
{
	const struct node *node = q->node;
	if (!node_is_active(node))
		return holds_held(node->holds) > 0;
	for (struct session *s = node->sessions; s; s = s->next) {
		bool has_it =
			s->live && s->matched_seq >= q->target && s->matched_ms >= q->peers_ms;
		if (!has_it && !is_held_there(s))
			return false;
	}
	return true;
}

/* What was put back, and what waited with it, is to be captured first. */
static void begin_again(struct request *q)
{
	q->begins_again = false;
	q->phase = REQUEST_FENCE;
	q->nonce = q->node->watcher ? node_fence(q->node) : 0;
	q->target = q->wanted;
}

/* @return true when the request went on or ended */
static bool advance(struct request *q)
{
	struct node *node = q->node;
	if (clock_mono_ms() >= q->deadline_ms && q->call) {
		time_out(q);
		return true;
	}
	switch (q->phase) {
	case REQUEST_FENCE:
		if (q->nonce != 0 && node->fence_seen < q->nonce && node->watcher)
			return false;
		q->phase = REQUEST_CAPTURE;
		/* Where not every change is reported, the tree itself is asked. */
		if (!node->watcher || !node->fence_complete || left_out_by_scan(node))
			intake_scan(node->intake);
		q->fenced_ms = clock_mono_ms();
		intake_flush(node->intake);
		return true;
	case REQUEST_CAPTURE: {
		struct intake_counts counts;
		intake_counts(node->intake, &counts);
		if (counts.scanned_ms == 0 || !intake_is_done(node->intake, q->fenced_ms))
			return false;
		enter_peers(q);
		return true;
	}
	case REQUEST_PEERS:
		if (node_is_active(node) && !q->is_verify && put_back_is_busy(node)) {
			q->begins_again = true;
			return false;
		}
		if (q->begins_again) {
			begin_again(q);
			return true;
		}
		if (!peers_have_it(q) && (q->is_verify || !rest_is_held(q)))
			return false;
		if (q->is_verify)
			verify_begin(q);
		else
			finish_wait(q);
		return true;
	case REQUEST_RANGES:
	case REQUEST_DEEP: return false;
	}
	return false;
}

void requests_tick(struct node *node)
{
	roles_advance(node->roles);
	for (struct request *q = node->requests, *next; q; q = next) {
		next = q->next;
		report_progress(q);
		/* A request that ends takes only itself from the list. */
		while (advance(q)) {
			struct request *still = node->requests;
			while (still && still != q)
				still = still->next;
			if (!still || q->phase >= REQUEST_RANGES || !q->call)
				break;
		}
	}
}

void requests_fenced(struct node *node, uint64_t nonce)
{
	(void)nonce;
	requests_tick(node);
}

static struct request *begin_request(struct node *node, struct control_call *call,
				     const json_t *args)
{
	struct request *q = x_calloc(1, sizeof(*q));
	json_t *timeout = json_object_get(args, "timeout_s");
	double seconds = json_is_number(timeout) ? json_number_value(timeout) : WAIT_DEFAULT_S;
	if (!(seconds >= 0) || seconds > CONTROL_DEADLINE_MAX_S)
		seconds = CONTROL_DEADLINE_MAX_S;
	q->node = node;
	q->call = call;
	q->deadline_ms = clock_mono_ms() + (uint64_t)(seconds * 1000);
	q->barriers = node->barrier_count;
	q->next = node->requests;
	node->requests = q;
	if (!node_is_active(node))
		q->phase = REQUEST_PEERS;
	else if (node->watcher)
		q->nonce = node_fence(node); /* of one that begins, answered when it watches */
	return q;
}

static bool refuse_without_peer(struct node *node, struct control_call *call)
{
	if (!node->intake) {
		control_fail(call, EXIT_NO, "artifact-sync status shows why",
			     "the agent is not ready yet");
		return true;
	}
	if (node->sessions)
		return false;
	control_fail(call, EXIT_USAGE,
		     "artifact-sync pair --node NAME --address HOST:PORT --fingerprint ...",
		     "no peer is configured");
	return true;
}

static void on_wait(struct node *node, struct control_call *call, const json_t *args)
{
	if (refuse_without_peer(node, call))
		return;
	struct request *q = begin_request(node, call, args);
	json_t *seq = json_object_get(args, "seq");
	if (json_is_integer(seq))
		q->target = q->wanted = (uint64_t)json_integer_value(seq);
	requests_tick(node);
}

static void on_verify(struct node *node, struct control_call *call, const json_t *args)
{
	if (refuse_without_peer(node, call))
		return;
	struct session *s = node->sessions;
	while (s && (!s->live || session_is_idle(s)))
		s = s->next;
	if (!s) {
		control_fail(call, EXIT_UNREACHABLE, "artifact-sync status shows why",
			     "no peer is connected that sends or receives");
		return;
	}
	struct request *q = begin_request(node, call, args);
	q->is_verify = true;
	q->deep = json_is_true(json_object_get(args, "deep"));
	q->differences = json_array();
	requests_tick(node);
}

static void on_ready(struct node *node, struct control_call *call)
{
	json_t *answer = readiness_json(node);
	bool ready = json_is_true(json_object_get(answer, "ready"));
	control_done(call, ready ? EXIT_DONE : EXIT_NO, answer);
}

static void on_pause(struct node *node, struct control_call *call, bool pause)
{
	node->paused = pause;
	log_info("node", pause ? "paused" : "resumed");
	for (struct session *s = node->sessions; s; s = s->next) {
		if (s->sender)
			sender_pause(s->sender, pause || (s->theirs.flags & BEAT_PAUSED));
		session_tick(s); /* tells the peer */
	}
	control_done(call, EXIT_DONE,
		     json_pack("{s:b, s:b}", "paused", pause, "active", node_is_active(node)));
}

void requests_on_request(void *owner, struct control_call *call, const char *verb,
			 const json_t *args)
{
	struct node *node = owner;
	if (strcmp(verb, "status") == 0)
		control_done(call, status_is_good(node) ? EXIT_DONE : EXIT_NO, status_json(node));
	else if (strcmp(verb, "role") == 0)
		roles_role_request(node->roles, call);
	else if (strcmp(verb, "ready") == 0)
		on_ready(node, call);
	else if (strcmp(verb, "exposure") == 0)
		control_done(call, EXIT_DONE, exposure_json(node));
	else if (strcmp(verb, "wait") == 0)
		on_wait(node, call, args);
	else if (strcmp(verb, "verify") == 0)
		on_verify(node, call, args);
	else if (strcmp(verb, "pause") == 0 || strcmp(verb, "resume") == 0)
		on_pause(node, call, *verb == 'p');
	else if (strcmp(verb, "approve") == 0 || strcmp(verb, "reject") == 0)
		holds_request(node, call, args, *verb == 'a');
	else if (strcmp(verb, "salvage") == 0)
		salvage_request(node, call, args);
	else if (strcmp(verb, "history") == 0)
		history_request(node, call, args);
	else if (strcmp(verb, "restore") == 0)
		restore_request(node, call, args);
	else if (strcmp(verb, "drill") == 0)
		drill_request(node, call, args);
	else if (strcmp(verb, "rewind") == 0)
		rewind_request(node, call, args);
	else if (!roles_request(node->roles, call, verb, args))
		control_fail(call, EXIT_USAGE,
			     "the command and the agent may be of different versions",
			     "the agent does not know this request");
}

void requests_on_cancelled(void *owner, struct control_call *call)
{
	struct node *node = owner;
	for (struct request *q = node->requests; q; q = q->next) {
		if (q->call == call) {
			q->call = NULL;
			verify_close(q);
			return;
		}
	}
	/* Work on a worker cannot be called back: whoever would answer the call forgets it. */
	struct control_call **holder = control_call_data(call);
	if (holder)
		*holder = NULL;
}

void requests_stop(struct node *node)
{
	for (struct request *q = node->requests, *next; q; q = next) {
		next = q->next;
		request_fail(q, EXIT_NOT_RUNNING, "ask again when it runs",
			     "the agent is stopping");
	}
}
