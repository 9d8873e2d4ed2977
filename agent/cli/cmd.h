/* cmd.h - what a command is. Each is a file cmd_<verb>.c that ends in a const struct cmd; the list
 * below is all there is to add. One table per command feeds the parser, --help, the manual and
 * shell completion. */
#ifndef CLI_CMD_H
#define CLI_CMD_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/alloc.h"
#include "agent/base/err.h"
#include "agent/conf/conf.h"
#include "agent/ops/control.h"

/* What holds for every command: the options before or after it, and where its output goes. */
struct cli {
	const char *config; /* path of the configuration */
	bool json;	    /* print JSON instead of text for people */
	bool lines;	    /* each JSON object on one line: many follow each other */
	bool colour;	    /* standard output is a terminal that shows colours */
};

enum option_type {
	OPTION_FLAG,   /* bool */
	OPTION_TEXT,   /* const char *, NULL when not given */
	OPTION_NUMBER, /* uint64_t */
	OPTION_LIST,   /* struct option_list */
};

#define OPTION_LIST_MAX 32
struct option_list {
	const char *item[OPTION_LIST_MAX];
	size_t n;
};

struct option_row {
	const char *name; /* without the dashes; NULL ends the table */
	const char *arg;  /* "DIR"; NULL for a flag */
	enum option_type type;
	size_t off; /* in the command's options */
	bool required;
	uint64_t min, max, def;	    /* OPTION_NUMBER */
	const char *const *choices; /* OPTION_TEXT: NULL-terminated, or NULL for any */
	const char *help;
};

struct cmd {
	const char *name;
	const char *operands; /* "PATH", "list | show ID"; NULL: none */
	int min_operands, max_operands;
	const char *summary;		  /* one line, for the list of commands */
	const char *help;		  /* what it does, when one needs it, examples */
	const struct option_row *options; /* NULL: only the global ones */
	bool checks_required;		  /* run() itself says which required options are missing */
	size_t options_size;		  /* of the struct that run() gets */
	/* @return an exit code of the contract (ops/control.h) */
	int (*run)(const struct cli *cli, const void *options, char **operands, int n);
};

#define CMDS(X)     \
	X(init)     \
	X(pair)     \
	X(check)    \
	X(agent)    \
	X(status)   \
	X(role)     \
	X(ready)    \
	X(exposure) \
	X(wait)     \
	X(verify)   \
	X(pause)    \
	X(resume)   \
	X(approve)  \
	X(reject)   \
	X(salvage)  \
	X(history)  \
	X(restore)  \
	X(rewind)   \
	X(reverse)  \
	X(resolve)  \
	X(ledger)   \
	X(events)   \
	X(drill)

#define X(verb) extern const struct cmd cmd_##verb;
CMDS(X)
#undef X
extern const struct cmd *const cmds[]; /* NULL-terminated */

/* The whole program. */
int cli_main(int argc, char **argv);

#endif
