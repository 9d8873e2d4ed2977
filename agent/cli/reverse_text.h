/* reverse_text.h - what the agent says of a change of roles, for people. Thread: one. */
#ifndef CLI_REVERSE_TEXT_H
#define CLI_REVERSE_TEXT_H

#include <jansson.h>
#include <stddef.h>

struct cli;

/* A line of progress: the phase, and for how long it has run. */
void reverse_say_progress(char *out, size_t size, const json_t *report);
/* The answer to `reverse' or `resolve', on standard output. */
void reverse_print(const struct cli *cli, const json_t *result, int code);
/* Who asks: for the ledger. NULL when nobody is known by a name. */
const char *reverse_operator(void);

#endif
