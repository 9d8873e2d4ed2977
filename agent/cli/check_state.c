/* check: the state directory, the hooks. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/cli/check_report.h"
#include "agent/cli/report.h"
#include "agent/store/store.h"

/* The database makes files beside itself. Opened by root they would be root's, and the agent could
 * not open them. So it is opened as whoever owns the directory. */
static int open_as_owner(struct store **out, const char *dir, const struct stat *st,
			 struct err *err)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	if (uid == 0 && (setegid(st->st_gid) < 0 || seteuid(st->st_uid) < 0))
		return err_sys(err, errno, "become the owner of %.150s", dir);
	int r = store_open(out, dir, err);
	if (uid == 0)
		BUG_ON(seteuid(uid) < 0 || setegid(gid) < 0);
	return r;
}

static const char *role_text(uint8_t role)
{
	static const char *const names[] = {"unknown",	"active", "passive",
					    "draining", "fenced", "split"};
	return role < ARRAY_LEN(names) ? names[role] : names[0];
}

static void check_roots_bound(struct check_report *report, const struct cli *cli,
			      const struct conf *conf, struct store *store)
{
	uint8_t id[ROOT_ID_LEN];
	for (size_t i = 0; i < conf->n_follow; i++) {
		AUTO_FREE char *remedy = follow_remedy(cli, conf->follow[i]);
		if (store_root_id(store, conf->follow[i], id, NULL) == -ENOENT)
			check_add(report, FINDING_NOTE, "state", remedy,
				  "the state does not know the followed directory %s yet",
				  conf->follow[i]);
	}
}

static void check_database(struct check_report *report, const struct cli *cli,
			   const struct conf *conf, const struct stat *st)
{
	struct store *store = NULL;
	struct err err = {0};
	int r = open_as_owner(&store, conf->state_dir, st, &err);
	if (r == -ENOENT) {
		check_add(report, FINDING_BAD, "state",
			  "Set the node up with `artifact-sync init'.", "%s holds no state",
			  conf->state_dir);
	} else if (r == -EBUSY) {
		check_add(report, FINDING_OK, "state", NULL, "%s is in use by the running agent",
			  conf->state_dir);
	} else if (r < 0) {
		check_add(report, FINDING_BAD, "state",
			  "If the disk is healthy, set the node up again as passive: it is filled "
			  "from its peer.",
			  "%s", err.msg);
	} else {
		struct store_state state;
		store_state(store, &state);
		check_add(report, FINDING_OK, "state", NULL, "%s, role %s", conf->state_dir,
			  role_text(state.role));
		if (strcmp(state.node, conf->node) != 0 || strcmp(state.group, conf->group) != 0)
			check_add(report, FINDING_BAD, "state",
				  "Put the names back in the configuration; a node keeps its name "
				  "and group.",
				  "the state belongs to node %s of group %s", state.node,
				  state.group);
		check_roots_bound(report, cli, conf, store);
		store_close(store);
	}
}

void check_state(struct check_report *report, const struct cli *cli, const struct conf *conf,
		 bool running)
{
	struct stat st;
	if (stat(conf->state_dir, &st) < 0) {
		check_add(report, FINDING_BAD, "state",
			  "Set the node up with `artifact-sync init', or mount the directory.",
			  "%s: %s", conf->state_dir, strerror(errno));
		return;
	}
	if ((st.st_mode & 077) != 0)
		check_add(report, FINDING_BAD, "state",
			  "chmod 700 the directory: it holds the node's key.",
			  "%s is open to others (mode %04o)", conf->state_dir, st.st_mode & 07777);
	if (running)
		check_add(report, FINDING_OK, "agent", NULL, "is running");
	else
		check_add(report, FINDING_NOTE, "agent", "Start it when the rest is right.",
			  "is not running");
	check_database(report, cli, conf, &st);
}

static void check_hook(struct check_report *report, const char *name, char *const *argv)
{
	if (!argv)
		return;
	if (access(argv[0], X_OK) < 0)
		check_add(report, FINDING_BAD, "hooks",
			  "Mend the path, or make the file executable.", "%s: %s: %s", name,
			  argv[0], strerror(errno));
	else
		check_add(report, FINDING_OK, "hooks", NULL, "%s runs %s", name, argv[0]);
}

void check_hooks(struct check_report *report, const struct conf *conf)
{
	check_hook(report, "before_demote", conf->hook_before_demote);
	check_hook(report, "after_demote", conf->hook_after_demote);
	check_hook(report, "before_promote", conf->hook_before_promote);
	check_hook(report, "after_promote", conf->hook_after_promote);
	check_hook(report, "on_fenced", conf->hook_on_fenced);
	check_hook(report, "on_drift", conf->hook_on_drift);
}
