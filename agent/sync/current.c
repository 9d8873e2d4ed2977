#include "agent/sync/current.h"

#include <sys/stat.h>

#include "agent/base/clock.h"
#define NS_PER_S 1000000000
#define STEPS_MAX 3600 /* by how many seconds an installed mtime may have been moved on */

enum record_kind current_kind(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG: return RECORD_FILE;
	case S_IFDIR: return RECORD_DIR;
	case S_IFLNK: return RECORD_SYMLINK;
	default: return RECORD_ABSENT;
	}
}

static bool is_same_passage(const struct file_stat *a, const struct file_stat *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->mode == b->mode && a->uid == b->uid &&
	       a->gid == b->gid;
}

bool entry_is_current(const struct index_entry *entry, const struct file_stat *now,
		      enum profile_verdict verdict)
{
	if (!entry_is_live(entry) || entry->flags & ENTRY_RACY ||
	    entry->rec.kind != current_kind(now->mode))
		return false;
	if (verdict == PROFILE_PASSAGE)
		return is_same_passage(&entry->inst, now);
	return file_stat_equal(&entry->inst, now);
}

int64_t entry_installed_mtime(const struct index_entry *entry)
{
	int64_t moved = entry->inst.mtime_ns - entry->rec.mtime_ns;
	bool was_moved_on = entry->inst.mode != 0 && moved > 0 && moved % NS_PER_S == 0 &&
			    moved / NS_PER_S <= STEPS_MAX;
	return was_moved_on ? entry->inst.mtime_ns : entry->rec.mtime_ns;
}

bool file_is_suspect(const struct file_stat *now, int64_t vouched_ns)
{
	return vouched_ns != 0 && S_ISREG(now->mode) && now->mtime_ns >= vouched_ns - UNTRACED_NS &&
	       now->mtime_ns <= clock_real_ns();
}
