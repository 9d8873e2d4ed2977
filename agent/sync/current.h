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

/* How long a page that was written to through memory may be written to again without a trace: until
 * the kernel has written it back (30 s, looked for every 5 s), which closes it, so that the next
 * write moves the mtime. */
#define UNTRACED_NS (INT64_C(40) * 1000 * 1000 * 1000)

/* Could a file that is as indexed by its stat have been written to all the same, by whoever had it
 * mapped, without an event that we were told?
 * @param vouched_ns  until when all events were told, real time; 0 = nobody doubts */
bool file_is_suspect(const struct file_stat *now, int64_t vouched_ns);

#endif
