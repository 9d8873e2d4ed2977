#include "agent/sync/suspect.h"

#include <sys/stat.h>

#include "agent/sync/current.h"

static bool is_replicated(enum profile_verdict verdict)
{
	return verdict == PROFILE_REPLICATE || verdict == PROFILE_PASSAGE;
}

static bool is_only_time(const struct index_entry *entry, const struct file_stat *now)
{
	const struct file_stat *then = &entry->inst;
	return entry->rec.kind == RECORD_DIR && then->mode == now->mode && then->uid == now->uid &&
	       then->gid == now->gid;
}

/* @param verdict  on what the index has, not on what took its place */
static enum suspicion judge_known(const struct tree *tree, const struct index_entry *entry,
				  const struct file_stat *now, enum profile_verdict verdict)
{
	if (entry->flags & ENTRY_FOREIGN)
		return SUSPECT_NOT;
	if (now->mode == 0 || (entry->rec.kind == RECORD_DIR && !S_ISDIR(now->mode))) {
		/* What is mounted or linked beneath went with it, and is not ours to bring. */
		if (tree_leads_to_root(tree, entry->rec.path))
			return SUSPECT_UNKNOWN;
		return SUSPECT_DRIFT;
	}
	if (entry_is_current(entry, now, verdict))
		return SUSPECT_NOT;
	return is_only_time(entry, now) ? SUSPECT_TIME : SUSPECT_DRIFT;
}

/* A passage that nothing leads through is no business of ours, nor is what no record can describe.
 */
static enum suspicion judge_unknown(const struct profile *profile, const char *path,
				    const struct index_entry *entry, const struct file_stat *now)
{
	bool is_dir = S_ISDIR(now->mode);
	enum profile_verdict verdict = profile_judge(profile, path, is_dir).verdict;
	/* The tombstone of what nobody replicates any longer: a capture drops it. */
	if (entry && !profile_may_replicate(profile, path))
		return SUSPECT_CAPTURE;
	if (now->mode == 0 || current_kind(now->mode) == RECORD_ABSENT)
		return SUSPECT_NOT;
	if (verdict == PROFILE_COMPARE)
		return is_dir ? SUSPECT_NOT : SUSPECT_CAPTURE;
	/* A deleted directory that something local kept: perhaps nothing does any longer. */
	bool kept = is_dir && entry && entry->flags & ENTRY_KEPT;
	return kept || verdict == PROFILE_REPLICATE ? SUSPECT_DRIFT : SUSPECT_NOT;
}

enum suspicion suspect_judge(struct file_stat *now, const struct tree *tree,
			     const struct profile *profile, const char *path,
			     const struct index_entry *entry)
{
	const char *sub;
	struct stat st;
	const struct root *root = tree_resolve(tree, path, &sub);
	int r = root_stat(root, sub, &st);
	*now = (struct file_stat){0};
	if (r == 0)
		file_stat_from(now, &st);
	else if (!errno_is_absence(r))
		return SUSPECT_UNKNOWN;
	if (!entry_is_live(entry))
		return judge_unknown(profile, path, entry, now);
	bool was_dir = entry->rec.kind == RECORD_DIR;
	enum profile_verdict verdict = profile_judge(profile, path, was_dir).verdict;
	if (!is_replicated(verdict))
		return SUSPECT_CAPTURE;
	return judge_known(tree, entry, now, verdict);
}
