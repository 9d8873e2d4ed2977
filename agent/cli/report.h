/* report.h - what every command needs: its configuration, the agent's answer, and a way to say what
 * went wrong that ends in what to do. Thread: one. */
#ifndef CLI_REPORT_H
#define CLI_REPORT_H

#include "agent/cli/cmd.h"
#include "agent/cli/control_client.h"

#define REPLY_GRACE_S 5	   /* for the agent's own deadline to reach us */
#define REPLY_TIMEOUT_S 30 /* for questions that the agent answers from memory */

/**
 * Says that the command failed: for people on standard error, the remedy on a line of its own; with
 * --json as an object with "error" and "remedy" on standard output.
 * @param remedy  what to do, a sentence; NULL when the message says it
 * @return code
 */
int cli_fail(const struct cli *cli, enum exit_code code, const char *remedy, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* The service that runs this configuration, as deploy/systemd names it: "artifact-sync@is". Heap.
 */
char *cli_unit(const struct cli *cli);

/* @return 0 with *out, or EXIT_USAGE after having said why */
int cli_load(const struct cli *cli, struct conf **out);

/* On standard output, indented unless it must be one line. Borrows. */
void cli_print_json(const struct cli *cli, const json_t *object);

struct question {
	json_t *request;  /* taken */
	double timeout_s; /* 0: none */
	/* A report of progress for people, on the last line of a terminal; NULL: none are shown. */
	void (*progress)(char *out, size_t size, const json_t *report);
};

/**
 * Loads the configuration, asks the agent, and has said why when there is no result.
 * @param result  a new reference, or NULL: then there is nothing more to print
 * @return an exit code
 */
int cli_ask(const struct cli *cli, const struct question *question, json_t **result);

/**
 * Prints what was answered: with --json as it is, else by `print`.
 * @param result  taken; NULL: nothing is printed
 * @param print  says it to people
 * @return code
 */
int cli_print_answer(const struct cli *cli, json_t *result, int code,
		     void (*print)(const struct cli *cli, const json_t *result, int code));

/* cli_ask(), then cli_print_answer(). */
int cli_ask_and_print(const struct cli *cli, const struct question *question,
		      void (*print)(const struct cli *cli, const json_t *result, int code));

/* What the agent says is held, unreadable or refused: a line for each, with its reason. */
void print_held(const json_t *held);

/* Members of an answer; the fallback when they are missing or null. The text is borrowed. */
const char *member_text(const json_t *object, const char *key, const char *fallback);
double member_number(const json_t *object, const char *key, double fallback);
uint64_t member_count(const json_t *object, const char *key);

/* `hook_output` of status and of `reverse': what a hook that failed printed. Nothing when there is
 * none. */
void cli_print_hook_output(FILE *out, const json_t *result);

#endif
