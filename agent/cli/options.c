#include "agent/cli/options.h"

#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/conf/conf_table.h"
#include "agent/conf/conf_where.h"

#define KEY_CONFIG 0x100
#define KEY_JSON 0x101
#define KEY_DUMP 0x102
#define KEY_FIRST 0x200 /* of a command's own options */
#define OPTIONS_MAX 16

const char *argp_program_version = "artifact-sync " AGENT_VERSION;

static const struct argp_option global_options[] = {
	{"config", KEY_CONFIG, "FILE", 0,
	 "The configuration (default: $ARTIFACT_SYNC_CONFIG, or " CONF_DEFAULT_PATH ")", 100},
	{"json", KEY_JSON, NULL, 0, "Print JSON instead of text for people", 100},
	{0},
};

static error_t parse_global(int key, char *arg, struct argp_state *state)
{
	struct cli *cli = state->input;
	switch (key) {
	case KEY_CONFIG: cli->config = arg; return 0;
	case KEY_JSON: cli->json = true; return 0;
	default: return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp global_argp = {.options = global_options, .parser = parse_global};
static const struct argp_child with_global[] = {{&global_argp, 0, NULL, 100}, {0}};

/* ---- artifact-sync [OPTION...] COMMAND ------------------------------------------------------- */

struct program_parse {
	struct cli *cli;
	const struct cmd *cmd;
	int next;
};

static void no_such_command(struct argp_state *state, const char *name)
{
	const char *best = cmds[0]->name;
	for (size_t i = 0; cmds[i]; i++) {
		if (edit_distance(cmds[i]->name, name) < edit_distance(best, name))
			best = cmds[i]->name;
	}
	argp_error(state, "there is no command \"%s\"; the nearest is \"%s\"", name, best);
}

static error_t parse_program(int key, char *arg, struct argp_state *state)
{
	struct program_parse *p = state->input;
	switch (key) {
	case ARGP_KEY_INIT: state->child_inputs[0] = p->cli; return 0;
	case KEY_DUMP: {
		json_t *all = options_dump();
		json_dumpf(all, stdout, JSON_INDENT(1));
		json_decref(all);
		exit(EXIT_DONE);
	}
	case ARGP_KEY_ARG:
		for (size_t i = 0; cmds[i]; i++) {
			if (strcmp(cmds[i]->name, arg) == 0)
				p->cmd = cmds[i];
		}
		if (!p->cmd)
			no_such_command(state, arg);
		p->next = state->next;
		state->next = state->argc; /* the rest is the command's */
		return 0;
	case ARGP_KEY_NO_ARGS: argp_usage(state); return 0;
	default: return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option program_options[] = {
	{"dump-interface", KEY_DUMP, NULL, OPTION_HIDDEN, NULL, 0},
	{0},
};

static char *program_help(int key, const char *text, void *input)
{
	if (key != ARGP_KEY_HELP_POST_DOC)
		return (char *)text;
	AUTO_FREE char *list = x_strdup("");
	for (size_t i = 0; cmds[i]; i++) {
		char *more = x_asprintf("%s  %-10s %s\n", list, cmds[i]->name, cmds[i]->summary);
		free(list);
		list = more;
	}
	return x_asprintf(
		"Commands:\n%s\n"
		"`artifact-sync COMMAND --help' explains one, with examples.\n\n"
		"Two regions in five steps:\n"
		"  1. on each node   artifact-sync init --node ... --role active|passive ...\n"
		"  2. on each node   artifact-sync pair, as init on the other one said\n"
		"  3. on each node   artifact-sync check\n"
		"  4. on each node   artifact-sync agent (or start its service)\n"
		"  5. on either      artifact-sync status\n\n"
		"Exit codes: 0 done; 1 the answer is no, or it failed; 2 usage or configuration; 3 "
		"refused by a "
		"safety rule; 4 the agent is not running; 5 a peer cannot be reached; 6 timed out.",
		list);
}

const struct cmd *options_parse_program(struct cli *cli, int argc, char **argv, int *next)
{
	static const struct argp argp = {
		.options = program_options,
		.parser = parse_program,
		.args_doc = "COMMAND [ARGUMENT...]",
		.doc = "Keeps the file artifacts of a WSO2 Identity Server, or any tree of files, "
		       "identical in another "
		       "region.\v",
		.children = with_global,
		.help_filter = program_help,
	};
	struct program_parse p = {.cli = cli};
	argp_err_exit_status = EXIT_USAGE;
	if (argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &p) != 0 || !p.cmd)
		exit(EXIT_USAGE);
	*next = p.next;
	return p.cmd;
}

/* ---- artifact-sync COMMAND [OPTION...] [OPERAND...] -------------------------------------------
 */

struct command_parse {
	struct cli *cli;
	const struct cmd *cmd;
	char *options;
	char **operands;
	int n;
	bool given[OPTIONS_MAX];
};

static void take_number(struct argp_state *state, const struct option_row *row, const char *arg,
			uint64_t *out)
{
	char *end;
	errno = 0;
	*out = strtoull(arg, &end, 10);
	if (*arg < '0' || *arg > '9' || *end || errno || *out < row->min || *out > row->max)
		argp_error(state, "--%s must be a whole number from %ju to %ju, not \"%s\"",
			   row->name, (uintmax_t)row->min, (uintmax_t)row->max, arg);
}

static void take_text(struct argp_state *state, const struct option_row *row, const char *arg,
		      const char **out)
{
	bool known = !row->choices;
	char choices[120] = "";
	for (const char *const *c = row->choices; c && *c; c++) {
		size_t len = strlen(choices);
		snprintf(choices + len, sizeof(choices) - len, "%s\"%s\"", len ? " or " : "", *c);
		known |= strcmp(*c, arg) == 0;
	}
	if (!known)
		argp_error(state, "--%s must be %s, not \"%s\"", row->name, choices, arg);
	*out = arg;
}

static void take_option(struct argp_state *state, const struct option_row *row, const char *arg,
			char *field)
{
	struct option_list *list = (struct option_list *)field;
	switch (row->type) {
	case OPTION_FLAG: *(bool *)field = true; return;
	case OPTION_TEXT: take_text(state, row, arg, (const char **)field); return;
	case OPTION_NUMBER: take_number(state, row, arg, (uint64_t *)field); return;
	case OPTION_LIST:
		if (list->n == OPTION_LIST_MAX)
			argp_error(state, "--%s is given more than %d times", row->name,
				   OPTION_LIST_MAX);
		list->item[list->n++] = arg;
		return;
	}
}

static void command_begins(struct command_parse *p, struct argp_state *state)
{
	state->child_inputs[0] = p->cli;
	for (const struct option_row *row = p->cmd->options; row && row->name; row++) {
		if (row->type == OPTION_NUMBER)
			*(uint64_t *)(p->options + row->off) = row->def;
	}
}

static void command_ends(const struct command_parse *p, struct argp_state *state)
{
	for (const struct option_row *row = p->cmd->options; row && row->name; row++) {
		if (row->required && !p->cmd->checks_required && !p->given[row - p->cmd->options])
			argp_error(state, "--%s %s is missing", row->name, row->arg);
	}
	if (p->n < p->cmd->min_operands)
		argp_error(state, "it needs %s", p->cmd->operands);
}

static error_t parse_command(int key, char *arg, struct argp_state *state)
{
	struct command_parse *p = state->input;
	switch (key) {
	case ARGP_KEY_INIT: command_begins(p, state); return 0;
	case ARGP_KEY_ARG:
		if (p->n == p->cmd->max_operands)
			argp_error(state, "\"%s\" is one argument too many", arg);
		p->operands[p->n++] = arg;
		return 0;
	case ARGP_KEY_END: command_ends(p, state); return 0;
	default: break;
	}
	if (key < KEY_FIRST || key >= KEY_FIRST + OPTIONS_MAX)
		return ARGP_ERR_UNKNOWN;
	const struct option_row *row = &p->cmd->options[key - KEY_FIRST];
	take_option(state, row, arg, p->options + row->off);
	p->given[key - KEY_FIRST] = true;
	return 0;
}

static void options_for_argp(struct argp_option out[OPTIONS_MAX + 1], const struct cmd *cmd)
{
	int i = 0;
	for (const struct option_row *row = cmd->options; row && row->name; row++, i++) {
		BUG_ON(i == OPTIONS_MAX);
		out[i] = (struct argp_option){
			.name = row->name, .key = KEY_FIRST + i, .arg = row->arg, .doc = row->help};
	}
	out[i] = (struct argp_option){0};
}

int options_parse_command(struct cli *cli, const struct cmd *cmd, int argc, char **argv,
			  void *options, char **operands)
{
	struct argp_option rows[OPTIONS_MAX + 1];
	options_for_argp(rows, cmd);
	AUTO_FREE char *doc = x_asprintf("%s\v%s", cmd->summary, cmd->help);
	const struct argp argp = {.options = cmd->options ? rows
							  : NULL, /* glibc leaks an empty list */
				  .parser = parse_command,
				  .args_doc = cmd->operands,
				  .doc = doc,
				  .children = with_global};
	struct command_parse p = {.cli = cli, .cmd = cmd, .options = options, .operands = operands};
	AUTO_FREE char *name = x_asprintf("artifact-sync %s", cmd->name);
	argv[0] = name; /* argp begins its errors with it */
	if (argp_parse(&argp, argc, argv, 0, NULL, &p) != 0)
		exit(EXIT_USAGE);
	argv[0] = "";
	return p.n;
}

/* ---- for the manual -------------------------------------------------------------------------- */

static json_t *dump_options(const struct cmd *cmd)
{
	json_t *list = json_array();
	for (const struct option_row *row = cmd->options; row && row->name; row++)
		json_array_append_new(list, json_pack("{s:s, s:s?, s:b, s:s}", "name", row->name,
						      "arg", row->arg, "required", row->required,
						      "help", row->help));
	return list;
}

static json_t *dump_default(const struct conf_key *k)
{
	switch (k->type) {
	case CONF_BOOL: return json_boolean(k->def);
	case CONF_U32:
	case CONF_U64: return k->without ? json_null() : json_integer((json_int_t)k->def);
	default: return k->def_text ? json_string(k->def_text) : json_null();
	}
}

static json_t *dump_keys(const struct conf_key *keys)
{
	static const char *const types[] = {"text",	      "list of texts", "list of texts",
					    "true or false",  "number",	       "number",
					    "list of objects"};
	json_t *list = json_array();
	for (const struct conf_key *k = keys; k->name; k++) {
		json_t *key =
			json_pack("{s:s, s:s, s:b, s:b, s:o, s:s?, s:s?, s:s?, s:s}", "name",
				  k->name, "type", types[k->type], "required", k->required, "live",
				  k->live, "default", dump_default(k), "without", k->without,
				  "unit", k->unit, "example", k->example, "help", k->help);
		json_t *choices = json_array();
		for (const char *const *c = k->choices; c && *c; c++)
			json_array_append_new(choices, json_string(*c));
		json_object_set_new(key, "choices", choices);
		if (k->type == CONF_U32 || k->type == CONF_U64) {
			json_object_set_new(key, "min", json_integer((json_int_t)k->min));
			json_object_set_new(key, "max", json_integer((json_int_t)k->max));
		}
		json_array_append_new(list, key);
	}
	return list;
}

json_t *options_dump(void)
{
	json_t *commands = json_array();
	for (size_t i = 0; cmds[i]; i++)
		json_array_append_new(commands,
				      json_pack("{s:s, s:s?, s:s, s:s, s:o}", "name", cmds[i]->name,
						"operands", cmds[i]->operands, "summary",
						cmds[i]->summary, "help", cmds[i]->help, "options",
						dump_options(cmds[i])));
	return json_pack("{s:s, s:o, s:o, s:o}", "version", AGENT_VERSION, "commands", commands,
			 "keys", dump_keys(conf_keys), "peer_keys", dump_keys(conf_peer_keys));
}
