/* commit_help.h - a passive node in a temporary directory: tree, store, and batches written as
 * lines. */
#ifndef TESTS_COMMIT_HELP_H
#define TESTS_COMMIT_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include "agent/sync/commit.h"
#include "agent/sync/salvage.h"

#define S(n) ((n)*1000000000ll) /* seconds as nanoseconds */

/* The nth call fails, for every n with ARTIFACT_SYNC_SLOW=1; else for every third, and with
 * sanitizers, where each takes five times as long, for every tenth, beginning at another one in
 * each run. */
long nth_step(void);
long nth_first(void);

struct node {
	char dir[64];
	char tree_dir[80], state_dir[80];
	char *follow[1];
	size_t n_follow;
	struct tree *tree;
	struct store *store;
	struct commit_env env;
	struct err err;
	bool cannot_exchange; /* as on some network file systems */
	uint64_t seq;	      /* of the last record made */
};

/* One line of a batch. */
struct line {
	uint8_t op; /* OP_WHOLE, OP_META, OP_DELETE, OP_ABSENT */
	const char *path;
	enum record_kind kind;
	const char *content; /* of a file; target of a link */
	uint32_t mode;
	int64_t mtime_ns;
};

void node_make(struct node *node); /* fresh directories, then node_open() */
void node_open(struct node *node);
void node_close(struct node *node);
void node_remove(struct node *node); /* closes and deletes */

/* Turns lines into staged items. Release with items_free(). */
struct commit_item *items_make(struct node *node, const struct line *lines, size_t n);
void items_free(struct commit_item *items, size_t n);

/* Makes, commits, and expects every item to be done. */
void commit_lines(struct node *node, const struct line *lines, size_t n);

/* Writes a local file that nobody replicated. */
void write_local(struct node *node, const char *path, const char *content);
/* Enters what is there into the index as foreign. */
void capture_foreign(struct node *node, const char *path);

char *read_local(struct node *node, const char *path);	       /* heap; NULL when it is no file */
bool is_line_true(struct node *node, const struct line *line); /* the disk is as the line says */

/* Every live entry of the index stands on disk as its record says, with its as-installed stat;
 * nothing is in stage/; no batch is journaled. */
void assert_consistent(struct node *node);
bool is_in_salvage(struct node *node,
		   const char *content); /* a file with exactly this, and a row */
size_t salvage_files(struct node *node);
void assert_fine(int result, const struct err *err);

#endif
