/* mend_private.h - shared by mend.c (the turns), mend_look.c (what the drift is) and mend_find.c
 * (the bytes). */
#ifndef SYNC_MEND_PRIVATE_H
#define SYNC_MEND_PRIVATE_H

#include "agent/sync/mend.h"

#define MEND_COPIES_MAX 8

enum mend_way {
	WAY_NONE,      /* the item has its result */
	WAY_TAKE_OVER, /* the stat is another, and nothing that counts */
	WAY_METADATA,  /* of a file or link whose content is right */
	WAY_COMMIT,    /* through a batch */
};

/* All that is known of one path while it is mended. */
struct mend {
	const struct commit_env *env;
	struct mend_item *item;
	const struct root *root;
	const char *sub;
	struct index_entry entry; /* the index's; zero without one */
	bool live;
	struct file_stat now; /* mode 0: nothing there */
	enum mend_way way;
	bool only_time; /* of a directory */
	struct commit_item commit;
	char *copies[MEND_COPIES_MAX]; /* heap: other paths that should have the bytes */
	size_t n_copies;
};

void mend_end(struct mend *m, enum mend_result result, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* mend_find.c. Looks for copies of small files, for all at once; outside a turn. */
void mend_find_copies(const struct commit_env *env, struct mend *mends, size_t n);
/* Stages the content from wherever on this node it is. @return 0; -ENOENT: it is nowhere */
int mend_stage_content(struct mend *m, struct err *err);

/* Reads what stands there: sets m->way and, where it is drift, item->what. Outside a turn. */
void mend_look(struct mend *m);

#endif
