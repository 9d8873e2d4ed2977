/* drift_guard.c - the passive is read-only: what is watched and guarded, and from when on.
 *
 * A node guards what it has received, and nothing before: not while the first sync runs or an
 * adopted tree is compared, since what the index does not know yet may be what the active is about
 * to send; and not while its index cannot be trusted (a state put back from an older copy, a digest
 * that differs), since it would put old versions back. After a start the handshake says whether it
 * can; a node that nobody speaks to trusts what it has after ALONE_MS. */
#include "agent/node/node_internal.h"

#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "protocol/messages.h"

#define ALONE_MS 10000

static bool reports_only(const struct node *node)
{
	return strcmp(node_conf(node)->drift, "report") == 0;
}

bool drift_guard_applies(const struct node *node)
{
	struct store_state state;
	store_state(node->store, &state);
	return state.role == WIRE_ROLE_PASSIVE && !state.adopt && state.barrier_clock_ns != 0;
}

/* ---- what the drift module says ------------------------------------------------------------- */

static struct session *find_active(const struct node *node)
{
	struct session *s = node->sessions;
	while (s && !(s->live && s->link && s->receiver))
		s = s->next;
	return s;
}

static bool on_reachable(void *owner)
{
	return find_active(owner) != NULL;
}

static bool on_resend(void *owner, const char *path)
{
	uint8_t body[WIRE_PATH_MAX + 64];
	const struct wire_resend m = {.path = path};
	struct session *s = find_active(owner);
	if (!s)
		return false;
	struct wr w;
	wr_init(&w, body, sizeof(body));
	wire_encode_resend(&w, &m);
	link_send(s->link, WIRE_RESEND, body, wr_len(&w));
	return true;
}

static void on_look(void *owner, const char *path)
{
	struct node *node = owner;
	if (node->intake && *path)
		intake_subtree(node->intake, path);
	else if (node->intake)
		intake_scan(node->intake);
}

static void on_counted(void *owner)
{
	requests_tick(owner);
}

static void on_drifted(void *owner, const char *path)
{
	struct node *node = owner;
	node->drifted++;
	roles_drifted(node->roles, path);
}

static void on_closed(void *owner)
{
	node_closed_one(owner);
}

/* ---- beginning ------------------------------------------------------------------------------ */

void drift_guard_start(struct node *node)
{
	const struct drift_setup setup = {
		.loop = &node->loop,
		.env = node->commit,
		.report_only = reports_only(node),
		.events = {.owner = node,
			   .resend = on_resend,
			   .reachable = on_reachable,
			   .look = on_look,
			   .drifted = on_drifted,
			   .counted = on_counted,
			   .closed = on_closed},
	};
	if (!node->drift && !node->stopping)
		node->drift = drift_new(&setup);
}

void drift_guard_suspect(struct node *node, const char *path, bool hurry)
{
	if (node->drift)
		drift_suspect(node->drift, path, hurry);
}

/* By other rules than the active's, what the index does not have may be what it will never have. */
static bool profile_differs(const struct node *node)
{
	for (const struct session *s = node->sessions; s; s = s->next) {
		if (s->live && !session_is_idle(s) && s->profile_differs)
			return true;
	}
	return false;
}

static void go_on(struct node *node)
{
	node->guard_spares = profile_differs(node);
	drift_spare_added(node->drift, node->guard_spares);
	drift_hold(node->drift, node->distrusted);
}

void drift_guard_session(struct node *node, bool trusted)
{
	node->distrusted |= !trusted;
	node->met = true;
	if (!node->drift)
		return;
	go_on(node);
	drift_connected(node->drift);
	if (node->guarded_alone && node->intake)
		intake_scan(node->intake); /* for what was spared */
	node->guarded_alone = false;
}

/* Its watcher begins with a scan. */
static void begin(struct node *node)
{
	log_info("drift", "the tree is guarded from now on");
	drift_guard_start(node);
	intake_set_mode(node->intake, INTAKE_GUARD);
	bool watched = node->watcher != NULL; /* it was the active */
	if (!watched)
		node_start_watcher(node);
	if (watched || !node->watcher)
		intake_scan(node->intake);
}

void drift_guard_barrier(struct node *node, bool matched)
{
	node->distrusted = !matched;
	if (!node->intake || node->stopping || !drift_guard_applies(node))
		return;
	if (matched && !node->drift)
		begin(node);
	if (node->drift)
		go_on(node);
}

/* ---- going on ------------------------------------------------------------------------------- */

void drift_guard_arrived(struct node *node)
{
	if (node->drift)
		drift_arrived(node->drift);
}

void drift_guard_configure(struct node *node)
{
	if (node->drift)
		drift_configure(node->drift, reports_only(node));
}

static bool is_alone(const struct node *node)
{
	for (const struct session *s = node->sessions; s; s = s->next) {
		if (s->live && s->receiver)
			return false;
	}
	return true;
}

/* Once per run: after a session is lost the guard stays as it was. */
void drift_guard_tick(struct node *node)
{
	if (!node->drift || node->met || node->guarded_alone || !is_alone(node) ||
	    clock_mono_ms() - node->started_ms < ALONE_MS)
		return;
	log_info("drift", "nobody speaks to this node: what it holds is guarded all the same");
	node->guarded_alone = true;
	node->guard_spares = true;
	drift_spare_added(node->drift, true);
	drift_hold(node->drift, node->distrusted);
}

/* As it was when it ended: nobody need speak to this node for that. */
void drift_guard_resume(struct node *node)
{
	if (node->drift || node->stopping || !node->intake || !drift_guard_applies(node))
		return;
	drift_guard_start(node);
	drift_spare_added(node->drift, node->guard_spares);
	drift_hold(node->drift, node->distrusted || !(node->met || node->guarded_alone));
	if (find_active(node))
		drift_connected(node->drift);
	intake_scan(node->intake);
}

uint64_t drift_guard_count(const struct node *node)
{
	return node->drift ? drift_count(node->drift) : 0;
}

void drift_guard_stop(struct node *node)
{
	if (!node->drift)
		return;
	node->closing++;
	drift_close(STEAL(node->drift));
}
