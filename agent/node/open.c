/* open.c - what the agent works with: profile, state, tree, identity. */
#include "agent/node/history_answers.h"
#include "agent/node/node_internal.h"
#include "agent/node/put_back.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/log.h"
#include "agent/ops/events.h"

/* What both sides must agree on to call their trees equal. */
static void hash_profile(struct node *node, const struct meta_policy *policy)
{
	uint8_t bytes[HASH_LEN + 1];
	profile_hash(node->profile, bytes);
	bytes[HASH_LEN] = (uint8_t)((policy->ownership == OWNERSHIP_PRESERVE) |
				    (policy->allow_setid ? 2 : 0));
	hash_bytes(node->profile_hash, bytes, sizeof(bytes));
}

/* For whoever finds a root of ours taken. */
static char *whoami(const struct conf *conf)
{
	char host[65] = "?";
	if (gethostname(host, sizeof(host) - 1) < 0)
		snprintf(host, sizeof(host), "?");
	return x_asprintf("node %s of group %s, process %d on %s", conf->node, conf->group,
			  (int)getpid(), host);
}

static int open_tree(struct node *node, struct err *err)
{
	const struct conf *conf = node->conf;
	uint8_t ids[ROOT_MAX][ROOT_ID_LEN];
	int r = store_root_ids(node->store, conf->follow, conf->n_follow, ids, ROOT_MAX, err);
	AUTO_FREE char *holder = whoami(conf);
	const struct tree_claim claim = {.ids = (const uint8_t(*)[ROOT_ID_LEN])ids,
					 .holder = holder};
	if (r == 0)
		r = tree_open(&node->tree, conf->tree, conf->follow, conf->n_follow, &claim, err);
	return r == 0 ? roots_bind_new(node, err) : r;
}

static void open_history(struct node *node)
{
	const struct history_keep keep = {.days = node->conf->history_keep_days,
					  .bytes = node->conf->history_keep_bytes};
	node->history = history_new(node->store, node->tree, &keep);
}

/* What the configuration says of owners and rules. */
static int use_policy(struct node *node, struct meta_policy *policy, struct err *err)
{
	const struct conf *conf = node->conf;
	int r = history_policy(policy, conf, err);
	if (r < 0) {
		node->remedy = "Use numbers, or make the user and group.";
		return r;
	}
	r = profile_new(&node->profile, conf->profile, (const char *const *)conf->rules,
			conf->n_rules, conf->gates, err);
	if (r < 0)
		node->remedy = "Mend profile or rules in the configuration.";
	return r;
}

/* A state directory that was swapped, or a name that was edited: as another node it would be taken
 * for one that knows all that this state knows. */
static int open_store(struct node *node, struct err *err)
{
	const struct conf *conf = node->conf;
	struct store_state state;
	int r = store_open(&node->store, conf->state_dir, err);
	if (r < 0)
		return r;
	store_state(node->store, &state);
	if (strcmp(state.node, conf->node) == 0 && strcmp(state.group, conf->group) == 0)
		return 0;
	node->remedy = "Put the names back in the configuration; a node keeps its name and group.";
	return err_set(err, -EINVAL, "the state in %.80s belongs to node %.64s of group %.64s",
		       conf->state_dir, state.node, state.group);
}

/* Only now, with the state directory locked: two that write would tear each other's lines. Without
 * them the agent works as well. */
static void keep_events(struct node *node)
{
	struct err err = {0};
	if (events_open(&node->events, node->conf->state_dir, &err) < 0)
		log_warn("node", "action=\"go on without events\" err=\"%s\"", err.msg);
	else
		log_set_sink(events_take, node->events);
}

static int load_identity(struct node *node, struct err *err)
{
	int r = node_load_identity(&node->identity, node->conf, err);
	if (r < 0 && r != -ENOMEM && r != -EMFILE && r != -ENFILE)
		node->remedy = "Mend tls or the peer's ca in the configuration; artifact-sync init "
			       "makes a key on a new node.";
	return r;
}

int node_open(struct node *node, struct err *err)
{
	const struct conf *conf = node->conf;
	struct meta_policy policy;
	int r = use_policy(node, &policy, err);
	if (r == 0)
		r = open_store(node, err);
	if (r == 0)
		keep_events(node);
	if (r == 0)
		r = store_set_preserve_ownership(node->store,
						 policy.ownership == OWNERSHIP_PRESERVE, err);
	if (r == 0)
		r = store_use_profile(node->store, node->profile, err);
	if (r == 0)
		r = open_tree(node, err);
	if (r == 0)
		r = load_identity(node, err);
	if (r < 0)
		return r;
	open_history(node);
	hash_profile(node, &policy);
	node->recent = recent_new();
	node->capture = (struct capture_env){.tree = node->tree,
					     .store = node->store,
					     .recent = node->recent,
					     .profile = node->profile,
					     .policy = policy};
	struct store_state state;
	store_state(node->store, &state);
	node->commit = (struct commit_env){.turn = &node->turn,
					   .tree = node->tree,
					   .store = node->store,
					   .profile = node->profile,
					   .policy = policy,
					   .history = node->history,
					   .salvage_why = state.adopt ? "adopt" : "drift"};
	node->holds = holds_new(node->store);
	node->put_back = put_back_new(node);
	node->commit.holds = node->holds;
	node->commit.salvage_max = &node->salvage_max;
	holds_configure_from(node, conf);
	pace_configure(&node->pace, conf->rate_bytes_per_s);
	for (size_t i = 0; i < conf->n_peers; i++)
		session_new(node, conf->peers[i].node);
	node->recovery_ns = state.barrier_clock_ns;
	node->was_healthy = true;
	return 0;
}
