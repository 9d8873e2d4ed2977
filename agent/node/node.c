/* node.c - start, clockwork, stop. The order of starting is the order of safety: state, roots, what
 * a crash left behind, what is in the tree, and only then a word to anybody else. */
#include "agent/node/node_internal.h"

#include <errno.h>
#include <stdlib.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/node/put_back.h"
#include "agent/node/rewind.h"
#include "agent/ops/events.h"
#include "agent/ops/notify.h"
#include "agent/sync/delta.h"

#define TICK_MS 1000
#define REMOTE_SCAN_S 15     /* a remote file system tells nothing of what other clients do */
#define MENDED_SCAN_S 60     /* what could not be read may have been mended without an event */
#define STARVED_MS 2000	     /* a barrier waits no longer than this for changes to pause */
#define STARVED_MAX_MS 12000 /* and nothing is held back for longer than ten seconds */

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

void node_plan_scan(struct node *node)
{
	uint64_t interval_s = node_scan_interval_s(node);
	if (left_out_by_scan(node) && interval_s > MENDED_SCAN_S)
		interval_s = MENDED_SCAN_S;
	node->scan_due_ms = node->scanned_ms + 1000 * interval_s;
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
		node_prune(node);
	requests_tick(node);
	history_requests_tick(node);
	rewind_tick(node);
	put_back_tick(node);
	readiness_tick(node);
	drills_tick(node);
	status_tick(node);
	http_tick(node);
	status_line(node, line, sizeof(line));
	notify_status(&node->notify, "%s", line);
	notify_alive(&node->notify);
	if (!node->ready_told) {
		node->ready_told = true;
		notify_ready(&node->notify);
	}
}

static void on_signal(uv_signal_t *handle, int signum)
{
	struct node *node = handle->data;
	if (signum == SIGHUP)
		node_reload(node);
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
	http_stop(node);
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

static void mask_reload(int how)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(how, &set, NULL);
}

void node_hold_reload(void)
{
	mask_reload(SIG_BLOCK);
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
	mask_reload(SIG_UNBLOCK);
	uv_timer_init(&node->loop, &node->tick);
	node->tick.data = node;
	uv_timer_start(&node->tick, on_tick, 1, TICK_MS);
	node->started_ms = clock_mono_ms();
	node->prune_due_ms = node->started_ms + PRUNE_MS;
	drills_start(node);
	http_start(node);
	roles_start(node->roles);
	node->was_healthy = true;
	roots_changed(node);
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
	log_set_sink(NULL, NULL);
	events_close(node->events); /* before the lock on their directory is given up */
	store_close(node->store);
	profile_free(node->profile);
	conf_free(node->reloaded);
	commit_turn_release(&node->turn);
}

/* While the events are still kept: who looks there is to find why there is no agent. */
static void tell_failure(const struct node *node, const struct err *err)
{
	if (node->remedy)
		log_error("agent", "node=%s err=\"%s\" remedy=\"%s\"", node->conf->node, err->msg,
			  node->remedy);
	else
		log_error("agent", "node=%s err=\"%s\"", node->conf->node, err->msg);
}

int node_run(const struct conf *conf, const char **remedy, struct err *err)
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
	*remedy = node->remedy;
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
	if (r < 0)
		tell_failure(node, err);
	release_node(node);
	free(node);
	if (r == 0)
		log_info("node", "stopped");
	return r;
}
