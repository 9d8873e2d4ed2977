/* roles_check.c - what stands in the way of a planned reverse, each with its name, on the side that
 * can see it. */
#include "agent/node/put_back.h"
#include "agent/node/roles_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/quote.h"

#define NAMED_MAX 10  /* paths named of each kind */
#define EPOCHS_KEPT 4 /* of a lineage: for a failover, and the end of a split */

void roles_add(json_t *list, const char *fmt, ...)
{
	char text[ROLE_TEXT_MAX];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	json_array_append_new(list, control_text(text));
}

void roles_join(char *out, size_t size, const json_t *list)
{
	size_t i, n = 0;
	const json_t *one;
	*out = '\0';
	json_array_foreach((json_t *)list, i, one)
	{
		n += (size_t)snprintf(out + n, size - n, "%s%s", i ? "; " : "",
				      json_string_value(one));
		if (n >= size - 1)
			return;
	}
}

static void add_notes(json_t *list, struct roles *roles, enum note_kind kind, const char *what)
{
	struct note *notes = NULL;
	size_t n = 0;
	char q[QUOTED_MAX];
	if (store_note_count(roles->node->store, kind) == 0)
		return;
	store_notes(roles->node->store, kind, &notes, &n, NULL);
	for (size_t i = 0; i < n && i < NAMED_MAX; i++)
		roles_add(list, "%s: %s: %s", what, quote_path(q, notes[i].path), notes[i].reason);
	if (n > NAMED_MAX)
		roles_add(list, "%s: and %zu more paths", what, n - NAMED_MAX);
	notes_free(notes, n);
}

static void add_own(json_t *list, struct roles *roles)
{
	struct node *node = roles->node;
	const char *self = node->conf->node;
	if (!node_is_healthy(node))
		roles_add(list, "unhealthy: a directory of the tree on %s is not there", self);
	if (node->paused)
		roles_add(list, "paused: %s; `artifact-sync resume' there", self);
	if (!node->intake)
		roles_add(list, "not ready: %s still settles what a crash left behind", self);
	if (node->rewind)
		roles_add(list, "rewind: one is under way on %s", self);
	if (put_back_is_busy(node))
		roles_add(list, "put-back: what was rejected on %s is still being put back", self);
	/* An after-hook that is owed is no obstacle: where a server does not start, handing over is
	 * what mends it, and the hooks of that change take its place. */
	if (roles->machine.due == ROLE_ACTION_ON_FENCED)
		roles_add(list, "hook: on_fenced on %s has not ended well%s%s", self,
			  roles->hook_failed ? ": " : "",
			  roles->hook_failed ? roles->hook_text : "");
}

void roles_add_own_obstacles(struct roles *roles, json_t *list)
{
	if (roles_is_busy(roles) && roles->machine.role != WIRE_ROLE_FENCED)
		roles_add(list, "busy: a change of roles is under way on %s (%s); wait for its end",
			  roles->node->conf->node, role_phase_name(roles->machine.phase));
	add_own(list, roles);
}

size_t roles_epochs(const struct roles *roles)
{
	AUTO_FREE struct epoch_entry *lineage = NULL;
	size_t n = 0;
	return store_lineage(roles->node->store, &lineage, &n, NULL) == 0 ? n : 0;
}

/* Found out at the point of no return it would cost the heir its agent, and the group its active.
 */
void roles_add_epochs(const struct roles *roles, json_t *list, size_t reserve)
{
	size_t n = roles_epochs(roles);
	if (n + reserve >= WIRE_LINEAGE_MAX)
		roles_add(list, "lineage: %zu of %d epochs are used%s: `init' the group anew", n,
			  WIRE_LINEAGE_MAX,
			  reserve > 0 ? ", and the last are kept for a failover" : "");
}

void roles_session_obstacles(json_t *list, const struct session *s)
{
	if (s->profile_differs)
		roles_add(list,
			  "profile-differs: %s replicates by other rules or ownership; make "
			  "`profile', `rules' and `ownership' the same on both",
			  s->peer);
	if (s->live && s->have_theirs && !(s->theirs.flags & BEAT_HEALTHY))
		roles_add(list, "unhealthy: a directory of the tree on %s is not there", s->peer);
	if (s->live && s->have_theirs && (s->theirs.flags & BEAT_PAUSED))
		roles_add(list, "paused: %s; `artifact-sync resume' there", s->peer);
}

json_t *roles_obstacles(struct roles *roles, const struct session *heir, bool accept_loss)
{
	json_t *list = json_array();
	add_own(list, roles);
	roles_add_epochs(roles, list, EPOCHS_KEPT);
	if (!accept_loss)
		add_notes(list, roles, NOTE_HELD, "held");
	if (!accept_loss && holds_held(roles->node->holds) > 0)
		roles_add(list,
			  "held: %" PRIu64 " paths on %s wait for `artifact-sync approve' or "
			  "`reject'",
			  holds_held(roles->node->holds), roles->node->conf->node);
	if (!accept_loss)
		add_notes(list, roles, NOTE_UNREADABLE, "unreadable");
	add_notes(list, roles, NOTE_REFUSED, "refused");
	for (const struct session *s = roles->node->sessions; s; s = s->next)
		roles_session_obstacles(list, s);
	if (heir && heir->live && heir->have_theirs && heir->theirs.drift > 0 && !accept_loss)
		roles_add(list,
			  "drift: %" PRIu32 " replicated paths were changed on %s by somebody else",
			  heir->theirs.drift, heir->peer);
	return list;
}

json_t *roles_heir_obstacles(struct roles *roles, const struct session *giver)
{
	struct store_state state;
	json_t *list = json_array();
	store_state(roles->node->store, &state);
	add_own(list, roles);
	roles_add_epochs(roles, list, EPOCHS_KEPT);
	if (giver->profile_differs)
		roles_session_obstacles(list, giver);
	if (state.adopt || state.barrier_clock_ns == 0)
		roles_add(list,
			  "first-sync: %s has never been equal to %s yet: `artifact-sync wait'",
			  roles->node->conf->node, giver->peer);
	return list;
}
