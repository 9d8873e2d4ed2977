#include "agent/cli/init_next.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/cli/report.h"
#include "agent/cli/text.h"

/* The address that others may use: a node that listens everywhere is known by its host's name. */
static char *reachable_address(const char *listen)
{
	char host[256] = "THIS-HOST";
	const char *port = strrchr(listen, ':');
	bool everywhere = strncmp(listen, "0.0.0.0:", 8) == 0 || strncmp(listen, "[::]:", 5) == 0;
	if (!everywhere || !port)
		return x_strdup(listen);
	if (gethostname(host, sizeof(host) - 1) < 0)
		snprintf(host, sizeof(host), "THIS-HOST");
	return x_asprintf("%s%s", host, port);
}

/* Heap; NULL when there is nothing to say. */
static char *warning(const struct init_next *next, const char *with_config)
{
	if (next->active && next->files == 0)
		return x_strdup("Nothing in the tree is wanted by the profile. If it should not be "
				"empty: is it mounted, and is "
				"the profile the right one?");
	if (!next->active && next->files > 0 && !next->adopt)
		return x_asprintf("The tree is not empty, so the first sync will refuse it. To let "
				  "it become a copy (what "
				  "differs is moved to the salvage, nothing is destroyed), type "
				  "this before: artifact-sync "
				  "init --adopt%s",
				  with_config);
	return NULL;
}

/* Heap; NULL when the tree is new to us. */
static char *marker_note(const struct init_next *next)
{
	if (!next->had_marker)
		return NULL;
	return x_asprintf("The tree has been a node's before%s%s. Its marker, salvage and earlier "
			  "versions are taken over. If that node is still to run, give this one "
			  "another tree: the agent that is started second is refused.",
			  *next->last_holder ? ", last used by " : "", next->last_holder);
}

static void print_note(const struct cli *cli, const char *note)
{
	if (note)
		printf("\n%sNote%s: %s\n", colour_code(COLOUR_WARN, cli->colour),
		       colour_code(COLOUR_NONE, cli->colour), note);
}

static void print_text(const struct cli *cli, const struct init_next *next, const char *pair,
		       const char *warned, const char *with_config)
{
	const struct conf *conf = next->conf;
	char files[TEXT_MAX], bytes[TEXT_MAX];
	struct table t = {.heading = {"", "", NULL}, .no_heading = true};
	printf("Node %s of group %s is set up as %s.\n\n", conf->node, conf->group,
	       next->active ? "active" : "passive");
	table_add(&t, COLOUR_DIM, "configuration");
	table_add(&t, COLOUR_NONE, "%s", cli->config);
	table_add(&t, COLOUR_DIM, "tree");
	table_add(&t, COLOUR_NONE, "%s  (profile %s: %s files, %s)", conf->tree, conf->profile,
		  text_count(files, next->files), text_bytes(bytes, next->bytes));
	table_add(&t, COLOUR_DIM, "state and key");
	table_add(&t, COLOUR_NONE, "%s", conf->state_dir);
	table_print(&t, stdout, 2, cli->colour);
	printf("\nThe fingerprint of its key:\n%s\n", next->fingerprint);
	AUTO_FREE char *marker = marker_note(next);
	print_note(cli, marker);
	print_note(cli, warned);
	printf("\nWhat to do next:\n"
	       "  1. on the other node, type\n"
	       "       %s\n"
	       "  2. here, type the line that its init printed\n"
	       "  3. on both, see that all is well: artifact-sync check%s\n"
	       "  4. on both, start the agent: artifact-sync agent%s (or its service)\n",
	       pair, with_config, with_config);
}

void init_next_print(const struct cli *cli, const struct init_next *next)
{
	AUTO_FREE char *address = reachable_address(next->conf->listen);
	AUTO_FREE char *pair =
		x_asprintf("artifact-sync pair --node %s --address %s --fingerprint %s",
			   next->conf->node, address, next->fingerprint);
	bool usual = strcmp(cli->config, CONF_DEFAULT_PATH) == 0;
	AUTO_FREE char *with_config =
		usual ? x_strdup("") : x_asprintf(" --config %s", cli->config);
	AUTO_FREE char *warned = warning(next, with_config);
	if (!cli->json) {
		print_text(cli, next, pair, warned, with_config);
		return;
	}
	json_t *result = json_pack(
		"{s:s, s:s, s:s, s:s, s:o, s:s, s:b, s:b, s:I, s:I, s:s?, s:s}", "node",
		next->conf->node, "group", next->conf->group, "role",
		next->active ? "active" : "passive", "fingerprint", next->fingerprint, "config",
		control_path(cli->config), "profile", next->conf->profile, "adopt", next->adopt,
		"had_marker", next->had_marker, "files", (json_int_t)next->files, "bytes",
		(json_int_t)next->bytes, "warning", warned, "next", pair);
	cli_print_json(cli, result);
	json_decref(result);
}
