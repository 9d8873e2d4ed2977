/* compare_private.h - shared by compare.c (what is asked, on the loop) and compare_answer.c (what
 * an answer comes to, on a worker). Nobody else includes it. */
#ifndef SYNC_COMPARE_PRIVATE_H
#define SYNC_COMPARE_PRIVATE_H

#include "agent/sync/compare.h"
#include "agent/sync/job.h"
#include "agent/sync/range.h"

struct difference {
	char *path;
	const char *what;
};

/* A range that was asked for, until it is settled. */
struct ask {
	struct job job;
	struct compare *compare;
	struct ask *next;
	uint32_t id;
	struct range range; /* ours */
	struct buf listed;  /* theirs, when listed */
	char *last_listed;  /* path of the last record in it */
	size_t n_listed;
	struct range parts[WIRE_RANGES_MAX]; /* theirs, when split */
	size_t n_parts;
	bool equal;
	bool answered; /* the peer has said all it may say to it */
	/* what the worker found */
	struct acked *rows; /* to be noted of the peer; paths owned */
	size_t n_rows, cap_rows;
	char **tombstones, **unacks;
	size_t n_tombstones, cap_tombstones, n_unacks, cap_unacks;
	struct range todo[WIRE_RANGES_MAX];
	size_t n_todo;
	struct difference *differences;
	size_t n_differences, cap_differences;
	int result;
	struct err err;
};

struct compare {
	uv_loop_t *loop;
	struct link *link;
	struct store *store;
	char peer[WIRE_NAME_MAX + 1];
	enum compare_mode mode;
	const struct profile *profile;
	struct compare_events events;
	uint32_t next_id;
	struct ask *asks;
	size_t n_asks;
	int jobs;
	struct range *todo; /* still to be asked */
	size_t n_todo, cap_todo;
	size_t todo_bytes; /* of their borders */
	int result;
	char why[256];
	bool ended;
};

/* compare_answer.c */
void compare_ask_work(struct job *job);

#endif
