/* current.h - is what the index says of a path what stat says now? Shared by scan and capture, so
 * that what one reports the other does not shrug off for ever. Pure. */
#ifndef SYNC_CURRENT_H
#define SYNC_CURRENT_H

#include <stdbool.h>

#include "agent/conf/profile.h"
#include "agent/store/store.h"

static inline bool entry_is_live(const struct index_entry *entry)
{
	return entry && entry->rec.kind != RECORD_ABSENT;
}

/* The kind a record of this object has; RECORD_ABSENT for what is never one. */
enum record_kind current_kind(uint32_t mode);

/**
 * Compared with the as-installed stat. Of a passage only mode, owner and identity count: whatever
 * happens in it changes its times.
 * @param entry  NULL and tombstones are never current
 */
bool entry_is_current(const struct index_entry *entry, const struct file_stat *now,
		      enum profile_verdict verdict);

/* The mtime with which it was installed: the source's, or some whole seconds after it (see
 * RULE_MTIME_STEP). */
int64_t entry_installed_mtime(const struct index_entry *entry);

#endif
