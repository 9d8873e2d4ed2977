/* artifact-sync init - makes a node: configuration, key and certificate, state, the roots' markers.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/cli/init_follow.h"
#include "agent/cli/init_next.h"
#include "agent/cli/report.h"
#include "agent/cli/survey.h"
#include "agent/fs/root_lock.h"
#include "agent/net/tls.h"
#include "agent/store/store.h"
#include "protocol/relpath.h"

struct init_options {
	const char *node, *group, *tree, *state_dir, *listen, *role, *profile;
	struct option_list follow;
	bool adopt;
};

#define AT(field) .off = offsetof(struct init_options, field)

static const char *const roles[] = {"active", "passive", NULL};

static const struct option_row options[] = {
	{.name = "node",
	 .arg = "NAME",
	 .type = OPTION_TEXT,
	 AT(node),
	 .required = true,
	 .help = "Name of this node"},
	{.name = "group",
	 .arg = "NAME",
	 .type = OPTION_TEXT,
	 AT(group),
	 .required = true,
	 .help = "Name of the nodes that replicate one tree; the same on all of them"},
	{.name = "tree",
	 .arg = "DIR",
	 .type = OPTION_TEXT,
	 AT(tree),
	 .required = true,
	 .help = "The directory to replicate, e.g. <IS_HOME>/repository"},
	{.name = "state-dir",
	 .arg = "DIR",
	 .type = OPTION_TEXT,
	 AT(state_dir),
	 .required = true,
	 .help = "Where the agent keeps its state and key: a local disk, outside the tree"},
	{.name = "listen",
	 .arg = "HOST:PORT",
	 .type = OPTION_TEXT,
	 AT(listen),
	 .required = true,
	 .help = "Where peers reach this node, e.g. 0.0.0.0:7443"},
	{.name = "role",
	 .arg = "active|passive",
	 .type = OPTION_TEXT,
	 AT(role),
	 .required = true,
	 .choices = roles,
	 .help = "active: the server runs here and its tree is sent. passive: this tree becomes a "
		 "copy. Exactly one node of "
		 "a group begins as active"},
	{.name = "profile",
	 .arg = "PROFILE",
	 .type = OPTION_TEXT,
	 AT(profile),
	 .help = "What is replicated: wso2is (the default; +keys, +conf, +webapps, +ext add to it) "
		 "or all"},
	{.name = "follow",
	 .arg = "PATH",
	 .type = OPTION_LIST,
	 AT(follow),
	 .help = "A directory in the tree that is a symbolic link or a mount and is to be entered "
		 "all the same; may be "
		 "repeated. Alone, on a node that exists and whose agent is stopped: one more such "
		 "directory"},
	{.name = "adopt",
	 .type = OPTION_FLAG,
	 AT(adopt),
	 .help = "A passive tree that is not empty may become a copy: what differs in it is moved "
		 "to the salvage. Also for a "
		 "node that exists, before its first sync"},
	{.name = NULL},
};

static const struct option_row *first_missing(const struct init_options *o)
{
	for (const struct option_row *row = options; row->name; row++) {
		if (row->required && !*(const char *const *)((const char *)o + row->off))
			return row;
	}
	return NULL;
}

/* ---- init --adopt, on a node that exists ------------------------------------------------------
 */

static int adopt_open_store(const struct cli *cli, const struct conf *conf, struct store *store)
{
	struct store_state state;
	struct err err = {0};
	store_state(store, &state);
	if (state.role != WIRE_ROLE_PASSIVE)
		return cli_fail(cli, EXIT_REFUSED, "Give --adopt on the node that is to receive.",
				"adopting is for a passive node; %s is not passive", conf->node);
	if (store_set_adopt(store, &err) < 0)
		return cli_fail(cli, EXIT_NO, NULL, "%s", err.msg);
	if (!cli->json) {
		printf("Node %s will adopt: at the next first sync its tree becomes a copy, and "
		       "what differs in it is moved to "
		       "the salvage. Start the agent.\n",
		       conf->node);
		return EXIT_DONE;
	}
	json_t *result = json_pack("{s:s, s:b}", "node", conf->node, "adopt", true);
	cli_print_json(cli, result);
	json_decref(result);
	return EXIT_DONE;
}

static int adopt_existing(const struct cli *cli, const struct init_options *o)
{
	AUTO(conf) *conf = NULL;
	int code = cli_load(cli, &conf);
	if (code != EXIT_DONE)
		return code;
	if (o->node && strcmp(o->node, conf->node) != 0)
		return cli_fail(cli, EXIT_REFUSED,
				"Name this node's own configuration with --config.",
				"%s is the configuration of node %s, not of %s", cli->config,
				conf->node, o->node);
	struct store *store = NULL;
	struct err err = {0};
	AUTO_FREE char *unit = cli_unit(cli);
	AUTO_FREE char *stop =
		x_asprintf("Stop it (`systemctl stop %s') and repeat the command.", unit);
	int r = store_open(&store, conf->state_dir, &err);
	if (r == -EBUSY)
		return cli_fail(cli, EXIT_REFUSED, stop, "the agent of node %s is running",
				conf->node);
	if (r < 0)
		return cli_fail(cli, EXIT_NO, NULL, "%s", err.msg);
	code = adopt_open_store(cli, conf, store);
	store_close(store);
	return code;
}

/* ---- a new node -------------------------------------------------------------------------------
 */

/* What this run has made, so that a run that fails leaves nothing behind and can be repeated. The
 * markers in the tree stay: they belong to the tree, and the next run takes them as they are. */
struct made {
	bool state_dir, config;
	const struct conf *conf; /* NULL until there is one */
};

static void undo(const struct made *made, const char *config)
{
	static const char *const files[] = {"state.db", "state.db-wal", "state.db-shm",
					    "state.lock"};
	const struct conf *conf = made->conf;
	if (made->config)
		unlink(config);
	if (!conf)
		return;
	unlink(conf->tls_certificate);
	unlink(conf->tls_key);
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		AUTO_FREE char *path = x_asprintf("%s/%s", conf->state_dir, files[i]);
		unlink(path);
	}
	if (made->state_dir)
		rmdir(conf->state_dir);
}

static bool is_there(const char *dir, const char *name)
{
	AUTO_FREE char *path = x_asprintf("%s/%s", dir, name);
	struct stat st;
	return lstat(path, &st) == 0;
}

static int refuse_existing(const struct cli *cli, const char *state_dir)
{
	static const char *const names[] = {"state.db", "node.crt", "node.key"};
	struct stat st;
	if (lstat(cli->config, &st) == 0)
		return cli_fail(cli, EXIT_REFUSED,
				"Keep it, or name another file with --config. To let an existing "
				"passive node adopt its "
				"tree, give --adopt; to follow one more directory in it, --follow "
				"PATH and nothing else.",
				"the configuration %s exists: this node is set up already",
				cli->config);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (is_there(state_dir, names[i]))
			return cli_fail(cli, EXIT_REFUSED,
					"Give another --state-dir. If the node that it belonged to "
					"is gone for good, move "
					"the directory away first.",
					"the state directory %s holds the %s of a node", state_dir,
					names[i]);
	}
	return EXIT_DONE;
}

static int make_state_dir(struct made *made, const char *dir, struct err *err)
{
	made->state_dir = mkdir(dir, 0700) == 0;
	if (!made->state_dir && errno != EEXIST)
		return err_sys(err, errno, "make the state directory %.150s", dir);
	if (chmod(dir, 0700) < 0)
		return err_sys(err, errno, "make the state directory %.150s private (0700)", dir);
	return 0;
}

static int make_store(const struct conf *conf, const struct init_options *o, struct err *err)
{
	struct store_state initial = {.adopt = o->adopt};
	struct epoch_entry epoch = {.number = 1};
	bool active = strcmp(o->role, "active") == 0;
	initial.role = active ? WIRE_ROLE_ACTIVE : WIRE_ROLE_PASSIVE;
	snprintf(initial.node, sizeof(initial.node), "%s", conf->node);
	snprintf(initial.group, sizeof(initial.group), "%s", conf->group);
	snprintf(epoch.node, sizeof(epoch.node), "%s", conf->node);
	if (getrandom(epoch.id, sizeof(epoch.id), 0) != sizeof(epoch.id))
		return err_sys(err, errno, "get random bytes for the first epoch");
	return store_create(conf->state_dir, &initial, active ? &epoch : NULL, err);
}

/* From now on the state belongs to these directories and to no others that may come to stand in
 * their place. */
static int bind_roots(const struct conf *conf, const struct tree *tree, struct err *err)
{
	struct store *store = NULL;
	int r = store_open(&store, conf->state_dir, err);
	for (size_t i = 0; r == 0 && i < tree->n; i++) {
		const struct root *root = &tree->roots[i];
		if (!root->healthy)
			r = err_set(err, -ENOTDIR, "%.100s cannot be used: %.100s", root->location,
				    root->why);
		else
			r = store_set_root_id(store, root->at, root->id, err);
	}
	store_close(store);
	return r;
}

static int make_node(struct made *made, const struct conf *conf, const struct init_options *o,
		     struct tree **tree, struct err *err)
{
	AUTO_FREE char *holder = x_asprintf("init of node %s of group %s, state %.60s", conf->node,
					    conf->group, conf->state_dir);
	int r = tree_prepare(conf->tree, conf->follow, conf->n_follow, err);
	if (r == 0)
		r = make_state_dir(made, conf->state_dir, err);
	made->conf = conf;
	if (r == 0)
		r = tls_make_identity(conf->tls_certificate, conf->tls_key, conf->node, err);
	if (r == 0)
		r = make_store(conf, o, err);
	if (r == 0)
		r = tree_open(tree, conf->tree, conf->follow, conf->n_follow,
			      &(struct tree_claim){.holder = holder}, err);
	return r == 0 ? bind_roots(conf, *tree, err) : r;
}

/* An absolute path without the links on the way to its parent; the last component may be missing.
 */
static char *absolute(const char *path)
{
	char whole[PATH_MAX];
	if (realpath(path, whole))
		return x_strdup(whole);
	if (path[0] == '/')
		return x_strdup(path);
	return getcwd(whole, sizeof(whole)) ? x_asprintf("%s/%s", whole, path) : x_strdup(path);
}

static int write_config(const struct cli *cli, const struct init_options *o, const char *tree,
			const char *state_dir, struct err *err)
{
	const struct conf_init init = {.node = o->node,
				       .group = o->group,
				       .tree = tree,
				       .state_dir = state_dir,
				       .listen = o->listen,
				       .profile = o->profile ? o->profile : "wso2is",
				       .follow = (char *const *)o->follow.item,
				       .n_follow = o->follow.n};
	return conf_write_new(cli->config, &init, err);
}

static int make_all(struct made *made, const struct cli *cli, const struct init_options *o,
		    struct init_next *next, struct err *err)
{
	AUTO_FREE char *tree_path = absolute(o->tree);
	AUTO_FREE char *state_dir = absolute(o->state_dir);
	int r = write_config(cli, o, tree_path, state_dir, err);
	if (r < 0)
		return r;
	made->config = true;
	r = conf_load(&next->conf, cli->config, err);
	if (r < 0)
		return r;
	AUTO(tree) *tree = NULL;
	AUTO(profile) *profile = NULL;
	r = make_node(made, next->conf, o, &tree, err);
	if (r == 0)
		r = tls_fingerprint(next->fingerprint, next->conf->tls_certificate, err);
	if (r == 0)
		r = profile_new(&profile, next->conf->profile, NULL, 0, true, err);
	if (r < 0)
		return r;
	struct survey survey;
	survey_tree(&survey, tree, profile);
	next->files = survey.files;
	next->bytes = survey.bytes;
	if (survey.nested_path)
		r = err_set(err, -EEXIST, "%.120s in it is the tree of another node",
			    survey.nested_path);
	survey_release(&survey);
	return r;
}

/* Only upwards: beneath it the survey will look, which walks the tree anyway. */
static int refuse_nested(const struct cli *cli, const char *tree)
{
	AUTO_FREE char *above = absolute(tree);
	for (char *end = strrchr(above, '/'); end; end = strrchr(above, '/')) {
		*end = '\0';
		const char *dir = *above ? above : "/";
		if (is_there(dir, RELPATH_OWN_DIR "/marker"))
			return cli_fail(cli, EXIT_REFUSED,
					"Give another --tree. Is that node gone for good, move "
					"its " RELPATH_OWN_DIR " away first.",
					"the tree %s lies in %s, which is the tree of another node",
					tree, dir);
	}
	return EXIT_DONE;
}

static bool find_marker(struct init_next *next, const char *tree)
{
	AUTO_CLOSE int fd = open(tree, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || !is_there(tree, RELPATH_OWN_DIR "/marker"))
		return false;
	root_lock_holder(next->last_holder, fd);
	return true;
}

static int new_node(const struct cli *cli, const struct init_options *o)
{
	AUTO_FREE char *state_dir = absolute(o->state_dir);
	struct stat st;
	if (stat(o->tree, &st) < 0 || !S_ISDIR(st.st_mode))
		return cli_fail(cli, EXIT_REFUSED,
				"Make the directory, or mount it: an agent that set up its tree on "
				"the mount point beneath would "
				"take the empty directory for the truth.",
				"the tree %s is not there, or is not a directory", o->tree);
	int code = refuse_existing(cli, state_dir);
	if (code != EXIT_DONE)
		return code;
	code = refuse_nested(cli, o->tree);
	if (code != EXIT_DONE)
		return code;
	struct made made = {0};
	struct init_next next = {.active = strcmp(o->role, "active") == 0, .adopt = o->adopt};
	next.had_marker = find_marker(&next, o->tree);
	struct err err = {0};
	int r = make_all(&made, cli, o, &next, &err);
	if (r < 0) {
		undo(&made, cli->config);
		bool others = r == -EBUSY || r == -EEXIST;
		code = cli_fail(cli,
				r == -EINVAL ? EXIT_USAGE
				: others     ? EXIT_REFUSED
					     : EXIT_NO,
				others ? "Give another --tree: two agents in one tree would "
					 "destroy each other's work."
				       : "Mend that and repeat the command; what it had made is "
					 "taken back.",
				"%s", err.msg);
	} else {
		init_next_print(cli, &next);
	}
	conf_free(next.conf);
	return code;
}

static int run(const struct cli *cli, const void *given, char **operands, int n)
{
	const struct init_options *o = given;
	struct stat st;
	bool exists = lstat(cli->config, &st) == 0;
	if (o->adopt && exists)
		return adopt_existing(cli, o);
	if (o->follow.n > 0 && exists && !o->tree && !o->state_dir)
		return init_follow(cli, &o->follow);
	const struct option_row *missing = first_missing(o);
	if (missing)
		return cli_fail(cli, EXIT_USAGE, "`artifact-sync init --help' has an example.",
				"--%s %s is missing", missing->name, missing->arg);
	if (o->adopt && strcmp(o->role, "passive") != 0)
		return cli_fail(
			cli, EXIT_USAGE,
			"Leave out --adopt: an active node's tree is the one that is copied.",
			"--adopt is for a passive node");
	return new_node(cli, o);
}

const struct cmd cmd_init = {
	.name = "init",
	.summary = "Set up this node: configuration, key, state",
	.help = "Makes everything a node needs and prints what to do next. It never changes a node "
		"that exists, except with "
		"--adopt and --follow. A populated passive tree is not touched without --adopt: "
		"the first sync "
		"refuses it.\n\n"
		"Example, the active region:\n"
		"  artifact-sync init --node region-a --group is --role active \\\n"
		"    --tree /opt/wso2is/repository --listen 0.0.0.0:7443 \\\n"
		"    --state-dir /var/lib/artifact-sync\n"
		"and the passive one:\n"
		"  artifact-sync init --node region-b --group is --role passive --adopt \\\n"
		"    --tree /opt/wso2is/repository --listen 0.0.0.0:7443 \\\n"
		"    --state-dir /var/lib/artifact-sync",
	.options = options,
	.checks_required = true,
	.options_size = sizeof(struct init_options),
	.run = run,
};
