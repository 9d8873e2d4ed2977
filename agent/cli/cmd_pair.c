/* artifact-sync pair - tell this node of another one. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/cli/report.h"
#include "agent/conf/conf_table.h"
#include "agent/net/tls.h"

struct pair_options {
	const char *node, *address, *fingerprint;
	bool replace;
};

static const struct option_row options[] = {
	{.name = "node",
	 .arg = "NAME",
	 .type = OPTION_TEXT,
	 .off = offsetof(struct pair_options, node),
	 .required = true,
	 .help = "The other node's name, as its own init got it"},
	{.name = "address",
	 .arg = "HOST:PORT",
	 .type = OPTION_TEXT,
	 .off = offsetof(struct pair_options, address),
	 .help = "Where it listens; without it, it has to dial this node"},
	{.name = "fingerprint",
	 .arg = "sha256:HEX",
	 .type = OPTION_TEXT,
	 .off = offsetof(struct pair_options, fingerprint),
	 .required = true,
	 .help = "Its public key, as its own init or check printed it"},
	{.name = "replace",
	 .type = OPTION_FLAG,
	 .off = offsetof(struct pair_options, replace),
	 .help = "Trust this key only: its machine took the place of one that must not be trusted "
		 "any more"},
	{.name = NULL},
};

static bool peers_reload_live(void)
{
	for (const struct conf_key *k = conf_keys; k->name; k++) {
		if (strcmp(k->name, "peers") == 0)
			return k->live;
	}
	return false;
}

/* A key is pinned to prove another node. Our own there means that the line was pasted on the wrong
 * side. */
static int refuse_own(const struct cli *cli, const struct conf *conf, const char *node,
		      const char *fingerprint)
{
	char own[TLS_FINGERPRINT_MAX];
	if (strcmp(conf->node, node) == 0)
		return cli_fail(cli, EXIT_REFUSED,
				"Give the other node's name; on that node the line is right that "
				"init printed here.",
				"%s is this node's own name", node);
	if (tls_fingerprint(own, conf->tls_certificate, NULL) < 0 ||
	    strcasecmp(own, fingerprint) != 0)
		return EXIT_DONE;
	return cli_fail(cli, EXIT_REFUSED,
			"Use the fingerprint that init printed on the other node.",
			"that fingerprint is this node's own");
}

static void print_text(const struct cli *cli, const struct conf *conf, const struct pair_options *o,
		       bool running)
{
	char own[TLS_FINGERPRINT_MAX];
	AUTO_FREE char *unit = cli_unit(cli);
	printf("Node %s now trusts %s%s%s.\n", conf->node, o->node, o->address ? " at " : "",
	       o->address ? o->address : "");
	if (running && peers_reload_live())
		printf("The agent is running: `systemctl reload %s' (or SIGHUP) lets it know.\n",
		       unit);
	else if (running)
		printf("The agent is running: `systemctl restart %s' lets it know.\n", unit);
	if (tls_fingerprint(own, conf->tls_certificate, NULL) == 0)
		printf("\nThat node must trust this one, too. There, unless it is done:\n"
		       "  artifact-sync pair --node %s --address %s --fingerprint %s\n",
		       conf->node, conf->listen ? conf->listen : "HOST:PORT", own);
	if (!running)
		puts("\nThen here: `artifact-sync check', and start the agent.");
}

static int run(const struct cli *cli, const void *given, char **operands, int n)
{
	const struct pair_options *o = given;
	AUTO(conf) *conf = NULL;
	int code = cli_load(cli, &conf);
	if (code == EXIT_DONE)
		code = refuse_own(cli, conf, o->node, o->fingerprint);
	if (code != EXIT_DONE)
		return code;
	struct err err = {0};
	int r = (o->replace ? conf_replace_peer : conf_add_peer)(cli->config, o->node, o->address,
								 o->fingerprint, &err);
	if (r < 0)
		return cli_fail(cli, err.code == -EINVAL ? EXIT_USAGE : EXIT_NO,
				err.code == -EINVAL
					? "Type the line that `artifact-sync init' printed on the "
					  "other node; `artifact-sync check' there shows its "
					  "fingerprint."
					: "Let this user write the configuration and its "
					  "directory; nothing was changed.",
				"%s", err.msg);
	bool running = control_is_running(conf->state_dir, NULL) == 1;
	if (!cli->json) {
		print_text(cli, conf, o, running);
		return EXIT_DONE;
	}
	json_t *result = json_pack("{s:s, s:s?, s:s, s:b}", "peer", o->node, "address", o->address,
				   "fingerprint", o->fingerprint, "agent_running", running);
	cli_print_json(cli, result);
	json_decref(result);
	return EXIT_DONE;
}

const struct cmd cmd_pair = {
	.name = "pair",
	.summary = "Add a peer: its name, where it is, and its key",
	.help = "Writes the peer into the configuration. Both nodes need it, each for the other. "
		"For a peer that is "
		"known already the address is changed and the fingerprint added beside the old "
		"one, so that it can change "
		"its key without an interruption; with --replace it is the only one.\n\n"
		"Example, the line that `artifact-sync init' printed on the other node:\n"
		"  artifact-sync pair --node region-b --address b.example.org:7443 --fingerprint "
		"sha256:...",
	.options = options,
	.options_size = sizeof(struct pair_options),
	.run = run,
};
