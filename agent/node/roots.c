/* roots.c - is what lies beneath still the tree it was? And what a crash left behind in it. */
#include "agent/node/node_internal.h"

#include <errno.h>

#include "agent/base/log.h"
#include "agent/base/quote.h"
#include "agent/base/trouble.h"
#include "agent/fs/publish.h"
#include "agent/sync/job.h"

int roots_bind_new(struct node *node, struct err *err)
{
	for (size_t i = 0; i < node->tree->n; i++) {
		const struct root *root = &node->tree->roots[i];
		uint8_t known[ROOT_ID_LEN];
		int r = root->healthy ? store_root_id(node->store, root->at, known, err) : 0;
		/* One that is known stays: another directory in its place is another root. */
		if (r == -ENOENT)
			r = store_set_root_id(node->store, root->at, root->id, err);
		if (r < 0)
			return err_wrap(err, "note whose marker stands in %.100s", root->location);
	}
	return 0;
}

struct tree_job {
	struct job job;
	struct node *node;
	bool changed;
	int recovered;
	struct err err;
	int bound;
	struct err bind_err;
};

/* worker: a dead NFS server may keep us waiting here, and nothing else. */
static void tree_work(struct job *job)
{
	struct tree_job *t = container_of(job, struct tree_job, job);
	struct node *node = t->node;
	t->changed = tree_check(node->tree);
	for (size_t i = 0; i < node->tree->n; i++)
		stage_discard_leftovers(&node->tree->roots[i]);
	/* Who could not take it has said why; the disk may have room by now. */
	history_settle_left(node->history, NULL);
	store_salvage_end_left(node->store, NULL);
	t->bound = t->changed ? roots_bind_new(node, &t->bind_err) : 0;
	t->recovered = 0;
	if (!node->recovered)
		t->recovered = commit_recover(&node->commit, &t->err);
}

/* Once per root: whoever sets up two agents on one share should have read it. */
static void say_unlocked(struct node *node)
{
	for (size_t i = 0; i < node->tree->n; i++) {
		struct root *root = &node->tree->roots[i];
		char q[QUOTED_MAX];
		if (root->can_lock || root->told_unlocked)
			continue;
		root->told_unlocked = true;
		log_warn("node",
			 "root=%s cannot be locked on this file system action=go-on "
			 "remedy=\"see that no other agent uses this directory\"",
			 quote_path(q, root->location));
	}
}

void roots_changed(struct node *node)
{
	bool healthy = node_is_healthy(node);
	for (size_t i = 0; i < node->tree->n; i++) {
		const struct root *root = &node->tree->roots[i];
		char q[QUOTED_MAX];
		if (!root->healthy)
			log_error("node",
				  "root=%s unhealthy why=\"%s\" action=nothing-is-deleted-or-sent",
				  quote_path(q, root->location), root->why);
	}
	say_unlocked(node);
	if (healthy && !node->was_healthy)
		log_info("node", "all roots are healthy action=scan");
	node->was_healthy = healthy;
	if (!node->intake)
		return;
	node_hold_intake(node);
	if (node->watcher)
		watcher_restart(node->watcher, node->tree);
	if (healthy)
		intake_scan(node->intake);
}

static void tree_done(struct job *job)
{
	struct tree_job *t = container_of(job, struct tree_job, job);
	struct node *node = t->node;
	node->checking_tree = false;
	if (t->changed)
		roots_changed(node);
	if (t->bound < 0)
		log_error("node", "err=\"%s\" action=noted-at-the-next-start", t->bind_err.msg);
	if (!node->recovered) {
		trouble_result("finishing what a crash left behind", t->recovered, &t->err);
		if (t->recovered == 0) {
			node->recovered = true;
			if (!node->stopping)
				node_start_intake(node);
		} else {
			log_error("node",
				  "the batch a crash left behind could not be finished "
				  "action=retry err=\"%s\"",
				  t->err.msg);
		}
	}
	free(t);
	node_closed_one(node);
}

void roots_check(struct node *node)
{
	if (node->checking_tree || node->stopping)
		return;
	struct tree_job *t = x_calloc(1, sizeof(*t));
	t->node = node;
	node->checking_tree = true;
	node->closing++;
	job_start(&node->loop, &t->job, tree_work, tree_done);
}
