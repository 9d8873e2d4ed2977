/* holds_requests.c - what the brakes hold: how it is shown, and `approve` and `reject`. */
#include "agent/node/node_internal.h"
#include "agent/node/put_back.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/quote.h"

#define REMEDY_MAX 500
#define HELD_SHOWN 100 /* paths of all holds in one answer; status says how many there are */

void holds_configure_from(struct node *node, const struct conf *conf)
{
	const struct holds_limits limits = {
		.max_delete = conf->max_delete == UINT32_MAX ? profile_max_delete(node->profile)
							     : conf->max_delete,
		.max_rewrite = conf->max_rewrite,
		.peer_approvals = conf->peer_approvals};
	holds_configure(node->holds, &limits);
	__atomic_store_n(&node->salvage_max, conf->salvage_bytes, __ATOMIC_RELAXED);
}

/* ---- showing -------------------------------------------------------------------------------- */

static const char *state_name(const struct hold *hold)
{
	static const char *const names[] = {"unknown", "held", "approved", "rejected"};
	return (unsigned)hold->state < ARRAY_LEN(names) ? names[hold->state] : names[0];
}

/* What a person can do now. */
static void say_remedy(const struct node *node, const struct hold *hold, char out[REMEDY_MAX])
{
	bool ours = hold->side == HOLD_OURS;
	const char *trouble = put_back_trouble(node);
	char q[QUOTED_MAX];
	if (hold->state == HOLD_REJECTED && ours && *trouble)
		snprintf(out, REMEDY_MAX,
			 "rejected, and not put back yet (%.300s); it is tried again, and "
			 "artifact-sync approve %" PRIu64 " lets it happen after all",
			 quote_path(q, trouble), hold->id);
	else if (hold->state == HOLD_REJECTED && ours)
		snprintf(out, REMEDY_MAX,
			 "rejected: what the peers have is being put back here; what stood there "
			 "goes to the salvage");
	else if (hold->state == HOLD_REJECTED)
		snprintf(
			out, REMEDY_MAX,
			"rejected: put the files back on the active node; or artifact-sync approve "
			"%" PRIu64,
			hold->id);
	else
		snprintf(out, REMEDY_MAX,
			 "artifact-sync approve %" PRIu64
			 " lets it happen %s, artifact-sync reject "
			 "%" PRIu64 " keeps %s",
			 hold->id, ours ? "on the peers" : "here", hold->id,
			 ours ? "what the peers have, and puts it back here" : "what is here");
}

static json_t *hold_json(const struct node *node, const struct hold *hold)
{
	char when[CLOCK_TEXT_MAX], remedy[REMEDY_MAX];
	say_remedy(node, hold, remedy);
	return json_pack("{s:I, s:s, s:s, s:s, s:I, s:s, s:s, s:s}", "id", (json_int_t)hold->id,
			 "cause", hold->cause == HOLD_LOSS ? "delete" : "rewrite", "of",
			 hold->side == HOLD_OURS ? "this tree" : "a peer", "state",
			 state_name(hold), "paths", (json_int_t)hold->paths, "since",
			 clock_text(when, hold->since_ns), "reason", hold->reason, "remedy",
			 remedy);
}

static size_t load(struct node *node, struct hold **out)
{
	size_t n = 0;
	*out = NULL;
	if (store_note_count(node->store, NOTE_BRAKE) == 0)
		return 0;
	return store_holds(node->store, out, &n, NULL) == 0 ? n : 0;
}

json_t *holds_json(struct node *node)
{
	AUTO_FREE struct hold *holds = NULL;
	size_t n = load(node, &holds);
	json_t *list = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, hold_json(node, &holds[i]));
	return list;
}

void holds_add_problems(struct node *node, json_t *problems)
{
	AUTO_FREE struct hold *holds = NULL;
	size_t n = load(node, &holds);
	for (size_t i = 0; i < n; i++) {
		char remedy[REMEDY_MAX];
		if (holds[i].state == HOLD_APPROVED)
			continue;
		say_remedy(node, &holds[i], remedy);
		json_array_append_new(problems, json_sprintf("brake: hold %" PRIu64 ", %" PRIu64
							     " paths: %s: %s",
							     holds[i].id, holds[i].paths,
							     holds[i].reason, remedy));
	}
}

/* Calls add() for the first paths of what is not approved. */
static void each_held(struct node *node, json_t *list,
		      void (*add)(json_t *list, const struct hold *hold, const struct note *note))
{
	AUTO_FREE struct hold *holds = NULL;
	struct note notes[HELD_SHOWN];
	size_t n = load(node, &holds), left = HELD_SHOWN;
	for (size_t i = 0; i < n && left > 0; i++) {
		size_t n_paths = 0;
		if (holds[i].state == HOLD_APPROVED)
			continue;
		store_hold_paths(node->store, holds[i].id, "", notes, left, &n_paths, NULL);
		for (size_t k = 0; k < n_paths; k++) {
			add(list, &holds[i], &notes[k]);
			free(notes[k].path);
		}
		left -= n_paths;
	}
}

static void add_held(json_t *list, const struct hold *hold, const struct note *note)
{
	char when[CLOCK_TEXT_MAX];
	AUTO_FREE char *path = quote_utf8(note->path);
	json_array_append_new(
		list,
		json_pack("{s:s, s:o, s:s, s:I}", "path", path, "reason",
			  json_sprintf("hold %" PRIu64 ": %s", hold->id, hold->reason), "since",
			  clock_text(when, note->since_ns), "hold", (json_int_t)hold->id));
}

void holds_add_held(struct node *node, json_t *list)
{
	each_held(node, list, add_held);
}

static void add_path(json_t *list, const struct hold *hold, const struct note *note)
{
	AUTO_FREE char *reason = x_asprintf("hold %" PRIu64 ": %s", hold->id, hold->reason);
	left_out_add_one(list, "brake", note->path, reason);
}

void holds_add_paths(struct node *node, json_t *list)
{
	struct note *refused = NULL;
	size_t n = 0;
	each_held(node, list, add_path);
	/* The note of what has arrived meanwhile goes with its acknowledgement, a moment later. */
	for (const struct session *s = node->sessions; s; s = s->next) {
		if (s->live && s->have_theirs && s->theirs.held > 0 && node_is_active(node))
			n = HELD_SHOWN;
	}
	if (n == 0 || store_notes_up_to(node->store, NOTE_REFUSED, n, &refused, &n, NULL) < 0)
		return;
	for (size_t i = 0; i < n; i++)
		left_out_add_one(list, "refused", refused[i].path, refused[i].reason);
	notes_free(refused, n);
}

/* ---- deciding ------------------------------------------------------------------------------- */

/* The hold that is meant, or why not. */
static const struct hold *choose(struct control_call *call, const struct hold *holds, size_t n,
				 const json_t *args)
{
	const json_t *wanted = json_object_get(args, "hold");
	char ids[200] = "";
	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(ids);
		if (json_is_integer(wanted) && (uint64_t)json_integer_value(wanted) == holds[i].id)
			return &holds[i];
		snprintf(ids + len, sizeof(ids) - len, "%s%" PRIu64, i ? ", " : "", holds[i].id);
	}
	if (json_is_integer(wanted))
		control_fail(call, EXIT_NO, "artifact-sync status lists the holds",
			     "there is no hold %" JSON_INTEGER_FORMAT "%s%s",
			     json_integer_value(wanted), n ? "; there are " : "", ids);
	else if (n == 0)
		control_fail(call, EXIT_NO,
			     "run it on the node whose artifact-sync status lists a hold",
			     "nothing is held on this node");
	else if (n > 1)
		control_fail(call, EXIT_USAGE, "name one of them; artifact-sync status shows them",
			     "there are several holds: %s", ids);
	return n == 1 && !wanted ? &holds[0] : NULL;
}

/* What follows a decision on this node; the peers hear of it by the next heartbeat. What this node
 * refuses of a peer's stays as it is. */
static void carry_out(struct node *node, const struct hold *hold, enum hold_state state)
{
	if (hold->side != HOLD_OURS)
		return;
	if (state == HOLD_REJECTED)
		put_back_want(node);
	else if (node->intake)
		intake_scan(node->intake);
}

void holds_request(struct node *node, struct control_call *call, const json_t *args, bool approve)
{
	AUTO_FREE struct hold *holds = NULL;
	struct err err = {0};
	struct hold decided;
	size_t n = load(node, &holds);
	const struct hold *hold = choose(call, holds, n, args);
	enum hold_state state = approve ? HOLD_APPROVED : HOLD_REJECTED;
	if (!hold)
		return;
	int r = holds_decide(node->holds, hold, state, &err);
	if (r == 0)
		r = store_hold_get(node->store, hold->id, &decided, &err);
	if (r < 0) {
		control_fail(call, EXIT_NO, "nothing was changed; look at the agent's log", "%s",
			     err.msg);
		return;
	}
	carry_out(node, &decided, state);
	for (struct session *s = node->sessions; s; s = s->next)
		session_tick(s); /* tells the peer */
	control_done(call, EXIT_DONE, hold_json(node, &decided));
}
