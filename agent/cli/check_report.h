/* check_report.h - what `artifact-sync check' has found: one entry per thing looked at, each with
 * how to mend it. */
#ifndef CLI_CHECK_REPORT_H
#define CLI_CHECK_REPORT_H

#include "agent/cli/cmd.h"
#include "agent/fs/tree.h"

enum finding { FINDING_OK, FINDING_NOTE, FINDING_BAD };

struct check_report {
	json_t *entries; /* [{"what", "finding": "ok|note|bad", "text", "remedy"}] */
	unsigned notes, bad;
};

void check_report_init(struct check_report *report);
void check_report_release(struct check_report *report);

/* @param remedy  what to do, a sentence; NULL for FINDING_OK */
void check_add(struct check_report *report, enum finding finding, const char *what,
	       const char *remedy, const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* What is checked, in these files' order. */
void check_state(struct check_report *report, const struct cli *cli, const struct conf *conf,
		 bool running);
void check_hooks(struct check_report *report, const struct conf *conf);
/* @param out  the roots, for check_watching(); NULL when they cannot be opened at all */
void check_tree(struct check_report *report, const struct cli *cli, const struct conf *conf,
		struct tree **out);
/* How a directory that has been added to `follow` becomes a root. Heap. */
char *follow_remedy(const struct cli *cli, const char *path);
void check_watching(struct check_report *report, const struct conf *conf, const struct tree *tree);
void check_identity(struct check_report *report, const struct conf *conf);
void check_peers(struct check_report *report, const struct conf *conf);
void check_listen(struct check_report *report, const char *key, const char *address, bool running);

#endif
