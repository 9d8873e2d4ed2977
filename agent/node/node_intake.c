/* node_intake.c - the watcher and the intake of the tree: started, and what they say handed on; the
 * fences between them, and the clock of barriers that follows from those. */
#include "agent/node/node_internal.h"

#include <inttypes.h>
#include <stdlib.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/quote.h"

#define FENCES 64

/* ---- fences and the clock of barriers ------------------------------------------------------- */

uint64_t node_fence(struct node *node)
{
	uint64_t nonce = ++node->fence_nonce;
	node->fence_asked_ms[nonce % FENCES] = clock_mono_ms();
	node->fence_asked_real_ns[nonce % FENCES] = clock_real_ns();
	if (node->watcher)
		watcher_fence(node->watcher, nonce);
	return nonce;
}

static void on_fenced(void *owner, uint64_t nonce, bool complete)
{
	struct node *node = owner;
	if (nonce <= node->fence_seen || nonce > node->fence_nonce)
		return;
	node->fence_seen = nonce;
	node->fence_complete = complete;
	node->fenced_real_ns = node->fence_asked_real_ns[nonce % FENCES];
	if (complete) {
		intake_vouched(node->intake, node->fenced_real_ns);
		store_set_vouched(node->store, node->fenced_real_ns);
	}
	intake_fenced(node->intake);
	requests_fenced(node, nonce);
}

/* Everything that happened in the tree before this moment is in the index: the newest answered
 * fence (or, where events cannot be had, the last whole scan), unless something older is still
 * under way. */
int64_t node_barrier_clock(struct node *node)
{
	struct intake_counts counts;
	intake_counts(node->intake, &counts);
	bool watched = node->watcher && node->fence_complete;
	for (size_t i = 0; i < node->tree->n; i++)
		watched &= !node->tree->roots[i].remote;
	int64_t clock = watched ? node->fenced_real_ns : counts.scanned_real_ns;
	uint64_t oldest = intake_oldest(node->intake);
	if (oldest != UINT64_MAX) {
		uint64_t now = clock_mono_ms();
		int64_t at = clock_real_ns() - (int64_t)(now > oldest ? now - oldest : 0) * 1000000;
		clock = at < clock ? at : clock;
	}
	return clock;
}

/* ---- events of the watcher and the intake --------------------------------------------------- */

static void on_changed(void *owner, const char *path, enum watch_hint hint)
{
	intake_changed(((struct node *)owner)->intake, path, hint);
}

static void on_subtree(void *owner, const char *path, const char *why)
{
	char q[QUOTED_MAX];
	log_debug("watch", "subtree=%s why=\"%s\"", quote_path(q, path), why);
	intake_subtree(((struct node *)owner)->intake, path);
}

static void on_watch_ready(void *owner)
{
	struct node *node = owner;
	node->watcher_ready = true;
	node_fence(node);
}

static void on_root_suspect(void *owner, const char *at)
{
	char q[QUOTED_MAX];
	log_warn("watch", "root=%s may be gone action=check", quote_path(q, at));
	roots_check(owner);
}

static void on_module_closed(void *owner)
{
	node_closed_one(owner);
}

void node_start_watcher(struct node *node)
{
	struct err err = {0};
	struct watcher_events events = {.owner = node,
					.changed = on_changed,
					.subtree = on_subtree,
					.ready = on_watch_ready,
					.fenced = on_fenced,
					.root_suspect = on_root_suspect,
					.closed = on_module_closed};
	if (watcher_start(&node->watcher, &node->loop, node->tree, &events, &err) < 0) {
		log_error("watch", "err=\"%s\" action=scan-only", err.msg);
		node->watcher = NULL;
	}
}

static void on_indexed(void *owner, size_t changed)
{
	struct node *node = owner;
	(void)changed;
	for (struct session *s = node->sessions; s; s = s->next)
		session_indexed(s);
	requests_tick(node);
}

static void on_scanned(void *owner, const struct scan_counts *counts)
{
	struct node *node = owner;
	if (counts->unreadable > 0)
		log_error("scan",
			  "unreadable_directories=%" PRIu64 " first=%s action=keep-what-is-beneath",
			  counts->unreadable, counts->first_unreadable);
	if (counts->foreign_mounts > 0)
		log_warn("scan",
			 "mounts=%" PRIu64
			 " first=%s action=not-entered remedy=\"name it in `follow`\"",
			 counts->foreign_mounts, counts->first_mount);
	node->scanned_ms = clock_mono_ms();
	node_plan_scan(node);
	/* A passive that was never part of the group knows now whether it holds anything. */
	if (!node->peers)
		node_start_peers(node);
	if (node->stopping) /* its address is taken: the intake is closing, too */
		return;
	for (struct session *s = node->sessions; s; s = s->next)
		session_scanned(s);
	requests_tick(node);
}

static void on_fence_wanted(void *owner)
{
	struct node *node = owner;
	if (node->watcher && node->watcher_ready)
		node_fence(node);
	else
		intake_fenced(node->intake);
}

static void on_suspect(void *owner, const char *path, bool hurry)
{
	drift_guard_suspect(owner, path, hurry);
}

static void on_compared(void *owner, const char *path, const uint8_t hash[HASH_LEN])
{
	fingerprints_set_ours(owner, path, hash);
}

void node_start_intake(struct node *node)
{
	const struct conf *conf = node_conf(node);
	struct store_state state;
	struct epoch_entry *lineage = NULL;
	size_t n_lineage = 0;
	store_state(node->store, &state);
	store_lineage(node->store, &lineage, &n_lineage, NULL);
	free(lineage);
	struct intake_setup setup = {
		.loop = &node->loop,
		.env = node->capture,
		.settle_ms = conf->settle_ms,
		.settle_max_ms = conf->settle_max_ms,
		.set_settle_ms = conf->set_settle_ms,
		.mode = node_is_active(node)	    ? INTAKE_INDEX
			: n_lineage == 0	    ? INTAKE_FOREIGN
			: drift_guard_applies(node) ? INTAKE_GUARD
						    : INTAKE_COMPARE,
		.vouched_ns = store_last_vouched_ns(node->store),
		.holds = node->holds,
		.events = {.owner = node,
			   .indexed = on_indexed,
			   .scanned = on_scanned,
			   .fence_wanted = on_fence_wanted,
			   .compared = on_compared,
			   .suspect = on_suspect,
			   .closed = on_module_closed},
	};
	holds_take_side(node->holds, setup.mode == INTAKE_INDEX ? HOLD_OURS : HOLD_PEERS, NULL);
	node->intake = intake_new(&setup);
	roles_intake_started(node->roles);
	if (setup.mode == INTAKE_GUARD)
		drift_guard_start(node);
	if (setup.mode == INTAKE_INDEX || setup.mode == INTAKE_GUARD)
		node_start_watcher(node);
	/* The watcher asks for a scan when it watches: one before would see less and cost the same.
	 */
	if (!node->watcher)
		intake_scan(node->intake);
	/* Whoever was part of the group speaks at once; a new passive when it knows what it holds.
	 */
	if (setup.mode != INTAKE_FOREIGN)
		node_start_peers(node);
}
