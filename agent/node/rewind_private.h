/* rewind_private.h - what the files of the rewind share. Nobody else includes it. */
#ifndef NODE_REWIND_PRIVATE_H
#define NODE_REWIND_PRIVATE_H

#include "agent/node/rewind.h"
#include "agent/sync/fetch.h"
#include "agent/sync/job.h"

enum rewind_phase {
	REWIND_LISTING,
	REWIND_STAGING,
	REWIND_FETCHING,
	REWIND_COMMITTING,
	REWIND_ENDING
};

/* A path that has to change. */
struct rewind_path {
	bool fetch;	  /* its content is not here */
	const char *what; /* "create", "replace", "metadata", "delete" */
};

struct rewind {
	struct job job;
	struct node *node;
	struct session *session;   /* NULL once it is lost */
	struct control_call *call; /* NULL: the command hung up */
	char peer[WIRE_NAME_MAX + 1];
	enum rewind_phase phase;
	bool dry_run, failed, committed;
	char why[240];
	enum exit_code code;
	int64_t at_ns;
	uint32_t id;
	struct wire_history_list barrier; /* without its records */
	struct commit_item *items;
	struct rewind_path *paths; /* beside the items */
	size_t n, cap, cap_paths;
	struct fetcher *fetcher;
	size_t fetching;
	uint64_t fetched, fetched_bytes;
	int result;
	struct err err;
};

/* rewind.c */
void rewind_give_up(struct rewind *r, enum exit_code code, const char *why);
void rewind_finish(struct rewind *r);

/* rewind_apply.c: what has to change is known; ends in rewind_finish(). */
void rewind_apply(struct rewind *r);

#endif
