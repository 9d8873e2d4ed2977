/* artifact-sync agent - the agent itself, in the foreground. */
#include <errno.h>
#include <string.h>

#include "agent/base/fault.h"
#include "agent/base/log.h"
#include "agent/cli/report.h"
#include "agent/node/node.h"

struct agent_options {
	const char *log_format;
};

static const char *const formats[] = {"text", "json", NULL};

static const struct option_row options[] = {
	{.name = "log-format",
	 .arg = "text|json",
	 .type = OPTION_TEXT,
	 .off = offsetof(struct agent_options, log_format),
	 .choices = formats,
	 .help = "How log lines look on standard error (default: text)"},
	{.name = NULL},
};

static int run(const struct cli *cli, const void *given, char **operands, int n)
{
	const struct agent_options *o = given;
	AUTO(conf) *conf = NULL;
	node_hold_reload();
	int code = cli_load(cli, &conf);
	if (code != EXIT_DONE)
		return code;
	bool json = o->log_format && strcmp(o->log_format, "json") == 0;
	log_init(json ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT,
		 (enum log_level)log_level_from_name(conf->log_level));
	fault_arm_from_environment();
	struct err err = {0};
	const char *remedy = NULL;
	int r = node_run(conf, &remedy, &err);
	if (r == 0)
		return EXIT_DONE;
	return remedy ? EXIT_USAGE : EXIT_NO;
}

const struct cmd cmd_agent = {
	.name = "agent",
	.summary = "Run the agent in the foreground",
	.help = "Watches the tree and sends what changes, or receives it, as the node's role is. "
		"Logs to standard error. "
		"SIGTERM ends it cleanly, SIGHUP reads the configuration again. Under systemd it "
		"reports READY, STATUS "
		"and WATCHDOG.\n\n"
		"Examples:\n"
		"  artifact-sync agent\n"
		"  artifact-sync agent --config /etc/artifact-sync/b.json --log-format json",
	.options = options,
	.options_size = sizeof(struct agent_options),
	.run = run,
};
