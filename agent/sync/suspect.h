/* suspect.h - may somebody else have changed this path of a passive? One stat against one record;
 * nothing is read. Whoever asks outside a commit's turn gets a suspicion, no more. Blocking. */
#ifndef SYNC_SUSPECT_H
#define SYNC_SUSPECT_H

#include "agent/conf/profile.h"
#include "agent/fs/meta.h"
#include "agent/fs/tree.h"
#include "agent/store/store.h"

enum suspicion {
	SUSPECT_NOT,	 /* as installed, or nobody's business */
	SUSPECT_TIME,	 /* a directory in which names changed, or its attributes */
	SUSPECT_DRIFT,	 /* a replicated path is not as installed, or there is one too many */
	SUSPECT_CAPTURE, /* only compared, or no longer in the profile: for capture */
	SUSPECT_UNKNOWN, /* it cannot be looked at */
};

/**
 * @param now    receives its stat; mode 0 when nothing is there
 * @param entry  what the index has there; NULL: nothing
 */
enum suspicion suspect_judge(struct file_stat *now, const struct tree *tree,
			     const struct profile *profile, const char *path,
			     const struct index_entry *entry);

#endif
