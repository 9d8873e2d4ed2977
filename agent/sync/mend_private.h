/* mend_private.h - shared by mend.c (the turns) and mend_look.c (what the drift is). */
#ifndef SYNC_MEND_PRIVATE_H
#define SYNC_MEND_PRIVATE_H

#include "agent/sync/mend.h"

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
};

void mend_end(struct mend *m, enum mend_result result, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Reads what stands there: sets m->way and, where it is drift, item->what. Outside a turn. */
void mend_look(struct mend *m);

#endif
