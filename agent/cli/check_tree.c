/* check: the roots, the room they have, whether the kernel will watch them. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "agent/cli/check_report.h"
#include "agent/cli/report.h"
#include "agent/cli/survey.h"
#include "agent/cli/text.h"
#include "agent/conf/profile.h"

#define ROOM_BYTES_MIN (256u << 20)
#define ROOM_SHARE_MIN 0.05
#define INODES_SHARE_MIN 0.02

static void check_room(struct check_report *report, const char *what, const char *path)
{
	struct statvfs fs;
	char room[TEXT_MAX];
	if (statvfs(path, &fs) < 0)
		return; /* whoever opens it has said why */
	uint64_t bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	double share = fs.f_blocks ? (double)fs.f_bavail / (double)fs.f_blocks : 1;
	bool inodes = fs.f_files && (double)fs.f_favail / (double)fs.f_files < INODES_SHARE_MIN;
	text_bytes(room, bytes);
	if (bytes < ROOM_BYTES_MIN || share < ROOM_SHARE_MIN)
		check_add(report, FINDING_NOTE, what,
			  "Make room: a new version is staged beside the old one, and a full disk "
			  "stops replication.",
			  "only %s are free at %s", room, path);
	else if (inodes)
		check_add(report, FINDING_NOTE, what,
			  "Make room: remove files, or make a larger file system.",
			  "few inodes are free at %s", path);
	else
		check_add(report, FINDING_OK, what, NULL, "%s free at %s", room, path);
}

char *follow_remedy(const struct cli *cli, const char *path)
{
	AUTO_FREE char *unit = cli_unit(cli);
	return x_asprintf("If it is new: stop the agent (`systemctl stop %s') and type "
			  "`artifact-sync init --config %s --follow %s'.",
			  unit, cli->config, path);
}

static void check_unhealthy(struct check_report *report, const struct cli *cli,
			    const struct root *root)
{
	char why[ROOT_WHY_MAX];
	AUTO_FREE char *follow = *root->at ? follow_remedy(cli, root->at) : x_strdup("");
	AUTO_FREE char *remedy =
		x_asprintf("Mount it again, or see that the agent's user may enter it.%s%s",
			   *follow ? " " : "", follow);
	check_add(report, FINDING_BAD, "tree", remedy, "%s: %s", root->location,
		  root_why(root, why));
}

static void check_root(struct check_report *report, const struct cli *cli, struct root *root)
{
	if (!root->healthy) {
		check_unhealthy(report, cli, root);
		return;
	}
	check_add(report, FINDING_OK, "tree", NULL, "%s is healthy%s%s", root->location,
		  root->remote ? ", on a network file system (scanned every 15 s)" : "",
		  root->can_clone ? ", can clone" : "");
	if (!root->can_exchange)
		check_add(report, FINDING_NOTE, "tree",
			  "Prefer a local file system for a passive tree; the agent copes, but a "
			  "reader may find a file absent "
			  "for a moment.",
			  "%s cannot exchange two names at once (RENAME_EXCHANGE)", root->location);
	check_room(report, "room", root->location);
}

void check_tree(struct check_report *report, const struct cli *cli, const struct conf *conf,
		struct tree **out)
{
	struct err err = {0};
	if (tree_open(out, conf->tree, conf->follow, conf->n_follow, NULL, &err) < 0) {
		check_add(report, FINDING_BAD, "tree",
			  "Mend the path in the configuration, or mount it.", "%s", err.msg);
		return;
	}
	for (size_t i = 0; i < (*out)->n; i++)
		check_root(report, cli, &(*out)->roots[i]);
	check_room(report, "room", conf->state_dir);
}

static uint64_t read_limit(const char *name)
{
	char path[80];
	unsigned long long value = 0;
	snprintf(path, sizeof(path), "/proc/sys/fs/inotify/%s", name);
	FILE *f = fopen(path, "re");
	if (f && fscanf(f, "%llu", &value) != 1)
		value = 0;
	if (f)
		fclose(f);
	return value;
}

static void check_limit(struct check_report *report, uint64_t directories)
{
	uint64_t limit = read_limit("max_user_watches");
	char need[TEXT_MAX], have[TEXT_MAX];
	text_count(need, directories);
	text_count(have, limit);
	/* Other programs of the same user count against it. */
	if (limit && directories > limit / 10 * 9) {
		AUTO_FREE char *remedy =
			x_asprintf("sysctl -w fs.inotify.max_user_watches=%" PRIu64
				   " (and in /etc/sysctl.d); until then the rest is scanned.",
				   directories * 2 + 8192);
		check_add(report, FINDING_NOTE, "watching", remedy,
			  "%s directories need watches; the limit is %s for all of the user's "
			  "programs",
			  need, have);
		return;
	}
	check_add(report, FINDING_OK, "watching", NULL, "%s directories, limit %s", need, have);
}

void check_watching(struct check_report *report, const struct conf *conf, const struct tree *tree)
{
	AUTO(profile) *profile = NULL;
	if (profile_new(&profile, conf->profile, (const char *const *)conf->rules, conf->n_rules,
			conf->gates, NULL) < 0)
		return; /* conf_load() has refused it */
	struct survey survey;
	survey_tree(&survey, tree, profile);
	char files[TEXT_MAX], bytes[TEXT_MAX];
	check_add(report, survey.files ? FINDING_OK : FINDING_NOTE, "profile",
		  survey.files ? NULL
			       : "Nothing, on a passive node before its first sync; else see that "
				 "the tree is the right one.",
		  "%s wants %s files, %s", conf->profile, text_count(files, survey.files),
		  text_bytes(bytes, survey.bytes));
	if (survey.unreadable)
		check_add(report, FINDING_BAD, "tree",
			  survey.unreadable_error == -ESTALE
				  ? "See the directory above that is not healthy."
				  : "Let the agent's user read them (r-x), or leave them out with "
				    "a rule.",
			  "%" PRIu64 " directories cannot be read, the first \"%s\": %s",
			  survey.unreadable, survey.unreadable_path,
			  strerror(-survey.unreadable_error));
	check_limit(report, survey.directories);
	survey_release(&survey);
}
