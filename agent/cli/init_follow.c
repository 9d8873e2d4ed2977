#include "agent/cli/init_follow.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/cli/report.h"
#include "agent/conf/conf_table.h"
#include "agent/fs/root_lock.h"
#include "agent/fs/tree.h"
#include "agent/store/store.h"

struct job {
	const struct cli *cli;
	const struct conf *conf;
	struct store *store;
	struct tree *tree;
};

static bool is_followed(const struct conf *conf, const char *path)
{
	for (size_t i = 0; i < conf->n_follow; i++) {
		if (strcmp(conf->follow[i], path) == 0)
			return true;
	}
	return false;
}

/* Where something else is mounted, or nothing, no marker is made: it would be taken for the tree.
 */
static int open_known(struct job *job, struct err *err)
{
	uint8_t ids[ROOT_MAX][ROOT_ID_LEN];
	char why[ROOT_WHY_MAX];
	const struct conf *conf = job->conf;
	AUTO_FREE char *holder = x_asprintf("init of node %s of group %s", conf->node, conf->group);
	const struct tree_claim claim = {.ids = (const uint8_t(*)[ROOT_ID_LEN])ids,
					 .holder = holder};
	int r = store_root_ids(job->store, NULL, 0, ids, ROOT_MAX, err);
	if (r == 0)
		r = tree_open(&job->tree, conf->tree, NULL, 0, &claim, err);
	if (r == 0 && !tree_is_healthy(job->tree))
		r = err_set(err, -ESTALE, "the tree %.60s is not healthy: %.150s", conf->tree,
			    root_why(&job->tree->roots[0], why));
	return r;
}

static int refuse_taken(const struct job *job, const struct root *root, struct err *err)
{
	int lock = -1;
	bool supported;
	int r = root_lock_take(&lock, &supported, root->fd, job->tree->holder, err);
	if (lock >= 0)
		close(lock);
	return r;
}

/* One that the state knows already stays bound to what it was. */
static int bind_new(struct job *job, const char *path, struct err *err)
{
	uint8_t ids[2][ROOT_ID_LEN];
	char why[ROOT_WHY_MAX];
	char *follow[] = {(char *)path};
	AUTO(tree) *tree = NULL;
	int r = tree_prepare_followed(job->conf->tree, path, err);
	if (r == 0)
		r = store_root_ids(job->store, follow, 1, ids, 2, err);
	const struct tree_claim claim = {.ids = (const uint8_t(*)[ROOT_ID_LEN])ids};
	if (r == 0)
		r = tree_open(&tree, job->conf->tree, follow, 1, &claim, err);
	if (r == 0 && !tree->roots[1].healthy)
		r = err_set(err, -ESTALE, "%.80s cannot be followed: %.150s", path,
			    root_why(&tree->roots[1], why));
	if (r == 0)
		r = refuse_taken(job, &tree->roots[1], err);
	return r == 0 ? store_set_root_id(job->store, path, tree->roots[1].id, err) : r;
}

static int add_one(struct job *job, const char *path, struct err *err)
{
	int r = conf_check_followed(path, err);
	if (r < 0)
		return err_wrap(err, "\"%.100s\"", path);
	r = bind_new(job, path, err);
	return r == 0 && !is_followed(job->conf, path)
		       ? conf_add_follow(job->cli->config, path, err)
		       : r;
}

static int add_all(struct job *job, const struct option_list *follow, struct err *err)
{
	int r = open_known(job, err);
	for (size_t i = 0; r == 0 && i < follow->n; i++)
		r = add_one(job, follow->item[i], err);
	return r;
}

static int print_result(const struct cli *cli, const struct conf *conf,
			const struct option_list *follow)
{
	json_t *paths = json_array();
	for (size_t i = 0; i < follow->n; i++) {
		json_array_append_new(paths, control_path(follow->item[i]));
		if (!cli->json)
			printf("Node %s follows %s: it has a marker of its own from now on.\n",
			       conf->node, follow->item[i]);
	}
	if (cli->json) {
		json_t *result = json_pack("{s:s, s:O}", "node", conf->node, "follow", paths);
		cli_print_json(cli, result);
		json_decref(result);
	} else {
		puts("Start the agent. On the other nodes the same path is an ordinary directory, "
		     "unless it is followed there, too.");
	}
	json_decref(paths);
	return EXIT_DONE;
}

static int refuse(const struct cli *cli, const struct conf *conf, int r, const struct err *err)
{
	AUTO_FREE char *unit = cli_unit(cli);
	AUTO_FREE char *stop =
		x_asprintf("Stop it (`systemctl stop %s') and repeat the command.", unit);
	if (r == -EBUSY)
		return cli_fail(cli, EXIT_REFUSED, stop, "the agent of node %s is running: %s",
				conf->node, err->msg);
	return cli_fail(cli, r == -EINVAL ? EXIT_USAGE : EXIT_NO,
			"Mount or create the directory, let this user write there, and repeat the "
			"command.",
			"%s", err->msg);
}

int init_follow(const struct cli *cli, const struct option_list *follow)
{
	AUTO(conf) *conf = NULL;
	int code = cli_load(cli, &conf);
	if (code != EXIT_DONE)
		return code;
	struct job job = {.cli = cli, .conf = conf};
	struct err err = {0};
	int r = store_open(&job.store, conf->state_dir, &err);
	if (r == 0)
		r = add_all(&job, follow, &err);
	tree_free(job.tree);
	store_close(job.store);
	return r < 0 ? refuse(cli, conf, r, &err) : print_result(cli, conf, follow);
}
