/* history_private.h - what the files of history/ share. Nobody else includes it. */
#ifndef HISTORY_HISTORY_PRIVATE_H
#define HISTORY_HISTORY_PRIVATE_H

#include <pthread.h>

#include "agent/history/history.h"

#define HISTORY_DIR "history"
#define MODULE_HISTORY "history"
#define PREFIXES 256 /* directories in history/, by the first byte of the hash */

struct history {
	struct store *store;
	const struct tree *tree;
	pthread_mutex_t lock; /* promises and keeping on one side, removing on the other */
	pthread_mutex_t keep_lock;
	struct history_keep keep;
	/* Batches that began and ended to displace, under their own lock. */
	pthread_mutex_t batch_lock;
	pthread_cond_t batch_ended;
	uint64_t batches_begun, batches_ended;
	size_t taken;	   /* objects since the last settling */
	bool left;	   /* some could not be taken: they wait in stage/ */
	unsigned sweep_at; /* the next directory that is looked through for orphans */
	size_t sweep_root;
};

void history_read_keep(const struct history *history, struct history_keep *out);
const struct root *history_root_at(const struct history *history, const char *at);

/* objects.c: history/ of one root. */

/* The directory of a hash. @param create  made when missing. @return fd or -errno */
int objects_open_dir(const struct root *root, uint8_t prefix, bool create);
/* @return 0 moved, or discarded because it is there already; -ENOENT no stage/<temp>; errno */
int objects_put(const struct root *root, const char *temp, const uint8_t hash[HASH_LEN],
		uint64_t size, struct err *err);
/* @return 1 there, 0 not, negative errno */
int objects_have(const struct root *root, const uint8_t hash[HASH_LEN]);
int objects_open(const struct root *root, const uint8_t hash[HASH_LEN]); /* fd or -errno */
int objects_remove(const struct root *root, const uint8_t hash[HASH_LEN], struct err *err);

#endif
