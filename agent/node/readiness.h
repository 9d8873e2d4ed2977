/* readiness.h - is a reverse possible now? Each side judges what it can see by itself, says so to
 * the other (READINESS), and judges what both see. What comes out is a list of sentences, each with
 * its remedy, in status, for `ready` and for whoever is asked to hand over. Nothing here decides
 * anything else. Thread: the loop; the look at disks and limits is a job. */
#ifndef NODE_READINESS_H
#define NODE_READINESS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "protocol/wire.h"

struct node;
struct session;
struct frame;
struct readiness;
struct salvage_row;

#define READINESS_SKEWS 8 /* heartbeats whose clock is remembered */

/* What one connection says. */
struct session_readiness {
	bool heard;
	struct wire_readiness theirs;
	char *sent; /* as a text; NULL: nothing in this connection */
	int64_t skews_ns[READINESS_SKEWS];
	unsigned n_skews;
	int64_t real_minus_boot_ns; /* at the last of them: our clock has not jumped since */
};

void readiness_start(struct node *node);
void readiness_tick(struct node *node);
void readiness_free(struct node *node);

/* Do all peers that are connected, and there is one, agree with this node about what day it is?
 * Only then what is kept for days may be given up for its age. */
bool readiness_clock_is_shared(const struct node *node);

void readiness_live(struct session *s);
void readiness_heartbeat(struct session *s, int64_t their_clock_ns);
int readiness_frame(struct session *s, const struct frame *frame); /* 0 or -EBADMSG */
void readiness_session_free(struct session *s);
/* A person was shown these of the salvage. */
void readiness_salvage_shown(struct node *node, const struct salvage_row *rows, size_t n);

/* Why not, newly judged: sentences, none when it is possible. A new reference. */
json_t *readiness_reasons(struct node *node);
/* {"ready":, "not_ready":[], "peers":[{"node":, "ready":, "not_ready":[], "version":}]} */
json_t *readiness_json(struct node *node);

/* readiness_here.c: what takes a look at the disk. Strings for people, or "". */
#define READINESS_WHY_MAX 400
struct readiness_look {
	char space[READINESS_WHY_MAX];
	char watches[READINESS_WHY_MAX];
	char hooks[READINESS_WHY_MAX];
	char owners[READINESS_WHY_MAX];
};
struct readiness_ask {
	const char *tree, *state_dir; /* borrowed from the configuration of the start */
	char *const *follow;
	size_t n_follow;
	char *const *hooks[6]; /* argument vectors or NULL */
	bool owners;	       /* files are given owners */
	uint64_t directories;  /* that are, or would be, watched */
};
void readiness_look(struct readiness_look *out, const struct readiness_ask *ask);

#endif
