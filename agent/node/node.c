/* node.c - start, clockwork, stop. The order of starting is the order of safety: state, roots, what
 * a crash left behind, what is in the tree, and only then a word to anybody else. */
#include "agent/node/node_internal.h"
#include "agent/node/put_back.h"
#include "agent/node/rewind.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/quote.h"
#include "agent/ops/notify.h"
#include "agent/sync/delta.h"
#include "agent/sync/job.h"

#define TICK_MS 1000
#define REMOTE_SCAN_S 15 /* a remote file system tells nothing of what other clients do */
#define FENCES 64
#define STARVED_MS 2000	     /* a barrier waits no longer than this for changes to pause */
#define STARVED_MAX_MS 12000 /* and nothing is held back for longer than ten seconds */
#define PRUNE_MS 600000
#define PRUNE_STEPS 1000 /* of history at a time: stopping waits for no more than these */

bool node_is_active(const struct node *node)
{
	struct store_state state;
	store_state(node->store, &state);
	return state.role == WIRE_ROLE_ACTIVE || state.role == WIRE_ROLE_DRAINING;
}

bool node_is_healthy(const struct node *node)
{
	return tree_is_healthy(node->tree);
}

const struct conf *node_conf(const struct node *node)
{
	return node->reloaded ? node->reloaded : node->conf;
}

uint32_t node_scan_interval_s(const struct node *node)
{
	uint32_t interval = node_conf(node)->scan_interval_s;
	for (size_t i = 0; i < node->tree->n; i++) {
		if (node->tree->roots[i].remote && interval > REMOTE_SCAN_S)
			interval = REMOTE_SCAN_S;
	}
	return interval;
}

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

static void start_peers(struct node *node);

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
	node->scan_due_ms = clock_mono_ms() + 1000ull * node_scan_interval_s(node);
	/* A passive that was never part of the group knows now whether it holds anything. */
	if (!node->peers)
		start_peers(node);
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
		start_peers(node);
}

/* ---- peers ---------------------------------------------------------------------------------- */

static void on_open(void *owner, struct link *link, const char *peer)
{
	session_on_open(owner, link, peer);
}

static int on_frame(void *owner, struct link *link, const struct frame *frame)
{
	return session_on_frame(owner, link, frame);
}

static void on_writable(void *owner, struct link *link)
{
	session_on_writable(owner, link);
}

static void on_closed(void *owner, struct link *link, uint16_t reason, const char *why)
{
	session_on_closed(owner, link, reason, why);
}

int node_load_identity(struct tls_identity **out, const struct conf *conf, struct err *err)
{
	AUTO_FREE struct tls_peer *peers = x_calloc(conf->n_peers, sizeof(*peers));
	for (size_t i = 0; i < conf->n_peers; i++) {
		const struct conf_peer *peer = &conf->peers[i];
		peers[i] =
			(struct tls_peer){.node = peer->node,
					  .fingerprints = (const char *const *)peer->fingerprints,
					  .n_fingerprints = peer->n_fingerprints,
					  .ca = peer->ca,
					  .name = peer->name};
	}
	return tls_identity_new(out, conf->tls_certificate, conf->tls_key, peers, conf->n_peers,
				err);
}

static struct peer_address *peer_addresses(const struct conf *conf)
{
	struct peer_address *out = x_calloc(conf->n_peers, sizeof(*out));
	for (size_t i = 0; i < conf->n_peers; i++)
		out[i] = (struct peer_address){.node = conf->peers[i].node,
					       .address = conf->peers[i].address};
	return out;
}

static void start_peers(struct node *node)
{
	const struct conf *conf = node_conf(node);
	struct err err = {0};
	struct link_events events = {.owner = node,
				     .open = on_open,
				     .frame = on_frame,
				     .writable = on_writable,
				     .closed = on_closed};
	AUTO_FREE struct peer_address *addresses = peer_addresses(conf);
	if (peers_start(&node->peers, &node->loop, conf->node, conf->listen, node->identity,
			addresses, conf->n_peers, &events, &err) < 0) {
		log_error("node",
			  "err=\"%s\" remedy=\"another program may use the address: see `listen`\"",
			  err.msg);
		node->peers = NULL;
		node_stop(node);
	}
}

/* ---- clockwork ------------------------------------------------------------------------------ */

/* Changes that never stop would keep the sender from ever being through with what is indexed, and
 * the recovery point from ever moving. Then nothing is indexed for a moment, until a barrier has
 * gone out. Not while this node hands over: its changes have come to an end, and are to be indexed.
 */
void node_hold_intake(struct node *node)
{
	bool hands_over = roles_role(node->roles) == WIRE_ROLE_DRAINING;
	intake_hold(node->intake, (node->holding && !hands_over) || !node_is_healthy(node) ||
					  roles_holds_intake(node->roles));
}

static void make_room_for_barrier(struct node *node)
{
	uint64_t longest = 0;
	for (struct session *s = node->sessions; s; s = s->next) {
		uint64_t starved = s->sender ? sender_barrier_starved_ms(s->sender) : 0;
		longest = starved > longest ? starved : longest;
	}
	bool hold = longest > STARVED_MS && longest < STARVED_MAX_MS;
	if (hold != node->holding) {
		node->holding = hold;
		node_hold_intake(node);
	}
}

void node_barrier_sent(struct node *node)
{
	if (node->holding)
		make_room_for_barrier(node);
}

/* What every peer has forgotten needs no tombstone, and what nobody refers to no signature. */
struct prune_job {
	struct job job;
	struct node *node;
	const char *peers[CONF_PEERS_MAX];
	size_t n;
	uint64_t max_age_s;
};

/* In steps, so that no commit waits long for its turn. */
static int prune_history(struct node *node, struct err *err)
{
	int r = 1;
	for (int steps = 0; r > 0 && steps < PRUNE_STEPS; steps++)
		r = history_prune(node->history, err);
	return r < 0 ? r : history_settle(node->history, err);
}

static void prune_work(struct job *job)
{
	struct prune_job *p = container_of(job, struct prune_job, job);
	struct err err = {0};
	size_t pruned;
	if (store_prune_tombstones(p->node->store, p->peers, p->n, p->max_age_s, &pruned, &err) <
		    0 ||
	    store_prune_signatures(p->node->store, &err) < 0 || prune_history(p->node, &err) < 0)
		log_warn("node", "action=prune-later err=\"%s\"", err.msg);
}

static void prune_done(struct job *job)
{
	struct prune_job *p = container_of(job, struct prune_job, job);
	struct node *node = p->node;
	free(p);
	node->pruning = false;
	node_closed_one(node);
}

static void prune(struct node *node)
{
	struct prune_job *p = x_calloc(1, sizeof(*p));
	p->node = node;
	for (struct session *s = node->sessions; s && p->n < CONF_PEERS_MAX; s = s->next)
		p->peers[p->n++] = s->peer;
	p->max_age_s = 86400ull * node_conf(node)->tombstone_days;
	node->prune_due_ms = clock_mono_ms() + PRUNE_MS;
	node->pruning = true;
	node->closing++;
	job_start(&node->loop, &p->job, prune_work, prune_done);
}

static void on_tick(uv_timer_t *timer)
{
	struct node *node = timer->data;
	char line[200];
	roots_check(node);
	if (node->intake && node_is_active(node) && node->watcher_ready && node_is_healthy(node))
		node_fence(node);
	if (node->intake && node->scan_due_ms != 0 && clock_mono_ms() >= node->scan_due_ms) {
		node->scan_due_ms = 0; /* set again when the scan has ended */
		intake_scan(node->intake);
	}
	for (struct session *s = node->sessions; s; s = s->next) {
		if (node->fingerprints_changed)
			fingerprints_send(s);
		session_tick(s);
	}
	node->fingerprints_changed = false;
	if (node->intake)
		make_room_for_barrier(node);
	drift_guard_tick(node);
	roles_tick(node->roles);
	if (!node->pruning && node->sessions &&
	    (clock_mono_ms() >= node->prune_due_ms || history_exceeds(node->history)))
		prune(node);
	requests_tick(node);
	history_requests_tick(node);
	rewind_tick(node);
	put_back_tick(node);
	readiness_tick(node);
	drills_tick(node);
	status_tick(node);
	status_line(node, line, sizeof(line));
	notify_status(&node->notify, "%s", line);
	notify_alive(&node->notify);
	if (!node->ready_told) {
		node->ready_told = true;
		notify_ready(&node->notify);
	}
}

static void reload(struct node *node)
{
	struct conf *next = NULL;
	struct tls_identity *identity = NULL;
	struct err err = {0};
	char obstacles[512];
	notify_reloading(&node->notify);
	int r = conf_load(&next, node->conf->path, &err);
	if (r == 0) {
		conf_reload_obstacles(obstacles, sizeof(obstacles), node_conf(node), next);
		if (*obstacles)
			r = err_set(&err, -EINVAL, "these need a restart: %.200s", obstacles);
	}
	if (r == 0)
		r = node_load_identity(&identity, next, &err);
	if (r == 0 && node->peers) {
		AUTO_FREE struct peer_address *addresses = peer_addresses(next);
		for (size_t i = 0; i < next->n_peers; i++) {
			if (!session_find(node, next->peers[i].node))
				session_new(node, next->peers[i].node);
		}
		r = peers_update(node->peers, identity, addresses, next->n_peers, &err);
	}
	if (r == 0) {
		tls_identity_free(node->identity);
		node->identity = STEAL(identity);
		conf_free(node->reloaded);
		node->reloaded = STEAL(next);
		history_configure(node->history,
				  &(struct history_keep){node->reloaded->history_keep_days,
							 node->reloaded->history_keep_bytes});
		holds_configure_from(node, node->reloaded);
		if (node->intake)
			intake_configure(node->intake, node->reloaded->settle_ms,
					 node->reloaded->settle_max_ms,
					 node->reloaded->set_settle_ms);
		drift_guard_configure(node);
		log_info("node", "configuration reloaded");
	} else {
		log_error("node", "configuration not reloaded action=go-on-with-the-old err=\"%s\"",
			  err.msg);
	}
	tls_identity_free(identity);
	conf_free(next);
	notify_ready(&node->notify);
}

static void on_signal(uv_signal_t *handle, int signum)
{
	struct node *node = handle->data;
	if (signum == SIGHUP)
		reload(node);
	else
		node_stop(node);
}

/* ---- stopping ------------------------------------------------------------------------------- */

static void on_handle_closed(uv_handle_t *handle)
{
	node_closed_one(handle->data);
}

static void on_peers_closed(void *arg)
{
	struct node *node = arg;
	node->peers = NULL;
	if (node->intake) {
		node->closing++;
		intake_close(STEAL(node->intake));
	}
	node_closed_one(node);
}

static void on_control_closed(void *arg)
{
	node_closed_one(arg);
}

void node_closed_one(struct node *node)
{
	node->closing--;
}

/* Sessions end first, since they tell the peer; then what they used. */
void node_stop(struct node *node)
{
	if (node->stopping)
		return;
	node->stopping = true;
	log_info("node", "stopping");
	notify_stopping(&node->notify);
	roles_stop(node->roles);
	requests_stop(node);
	history_requests_stop(node);
	rewind_stop(node);
	put_back_stop(node);
	drills_stop(node);
	uv_handle_t *handles[] = {(uv_handle_t *)&node->tick, (uv_handle_t *)&node->sigterm,
				  (uv_handle_t *)&node->sigint, (uv_handle_t *)&node->sighup};
	for (size_t i = 0; i < ARRAY_LEN(handles); i++) {
		node->closing++;
		uv_close(handles[i], on_handle_closed);
	}
	if (node->control) {
		node->closing++;
		control_server_close(STEAL(node->control), on_control_closed, node);
	}
	if (node->watcher) {
		node->closing++;
		watcher_close(STEAL(node->watcher));
	}
	drift_guard_stop(node);
	node->closing++;
	if (node->peers)
		peers_close(node->peers, on_peers_closed, node);
	else
		on_peers_closed(node);
}

/* ---- starting ------------------------------------------------------------------------------- */

static void start_signal(struct node *node, uv_signal_t *handle, int signum)
{
	uv_signal_init(&node->loop, handle);
	handle->data = node;
	uv_signal_start(handle, on_signal, signum);
}

static int start_node(struct node *node, struct err *err)
{
	struct control_events events = {
		.owner = node, .request = requests_on_request, .cancelled = requests_on_cancelled};
	int r = control_server_start(&node->control, &node->loop, node->conf->state_dir, &events,
				     err);
	if (r < 0)
		return r;
	start_signal(node, &node->sigterm, SIGTERM);
	start_signal(node, &node->sigint, SIGINT);
	start_signal(node, &node->sighup, SIGHUP);
	uv_timer_init(&node->loop, &node->tick);
	node->tick.data = node;
	uv_timer_start(&node->tick, on_tick, 1, TICK_MS);
	node->started_ms = clock_mono_ms();
	node->prune_due_ms = node->started_ms + PRUNE_MS;
	drills_start(node);
	roles_start(node->roles);
	if (!node_is_healthy(node)) {
		node->was_healthy = true;
		roots_changed(node);
	}
	return 0;
}

static void release_node(struct node *node)
{
	json_decref(node->last_verify);
	readiness_free(node);
	drills_free(node);
	roles_free(node->roles);
	session_free_all(node);
	fingerprints_free(node);
	tls_identity_free(node->identity);
	recent_free(node->recent);
	history_free(node->history);
	tree_free(node->tree);
	put_back_free(node->put_back);
	holds_free(node->holds);
	store_close(node->store);
	profile_free(node->profile);
	conf_free(node->reloaded);
	commit_turn_release(&node->turn);
}

int node_run(const struct conf *conf, struct err *err)
{
	struct node *node = x_calloc(1, sizeof(*node));
	node->conf = conf;
	commit_turn_init(&node->turn);
	readiness_start(node);
	int r = roles_new(&node->roles, node, err);
	/* Two for hashing, one for staging, one for the index, and some that wait for the disk. */
	setenv("UV_THREADPOOL_SIZE", "8", 0);
	delta_init();
	notify_init(&node->notify, NULL);
	BUG_ON(uv_loop_init(&node->loop) != 0);
	if (r == 0)
		r = node_open(node, err);
	if (r == 0)
		r = roles_load(node->roles, err);
	if (r == 0)
		r = start_node(node, err);
	if (r == 0)
		log_info("node", "node=%s group=%s role=%s tree=%s version=%s", conf->node,
			 conf->group, roles_name(roles_role(node->roles)), conf->tree,
			 AGENT_VERSION);
	uv_run(&node->loop, UV_RUN_DEFAULT);
	BUG_ON(r == 0 && node->closing != 0);
	BUG_ON(uv_loop_close(&node->loop) != 0);
	notify_release(&node->notify);
	if (r == 0 && node->failed)
		r = err_set(err, -EIO, "the agent ended itself; its last log lines say why");
	release_node(node);
	free(node);
	if (r == 0)
		log_info("node", "stopped");
	return r;
}
