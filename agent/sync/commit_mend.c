/* Drift as operations of a batch: what the index has stands there again, what it does not have goes
 * to the salvage. Decided against a fresh stat, since time has passed since somebody saw the drift.
 */
#include "agent/sync/commit_private.h"

#include <string.h>
#include <sys/stat.h>

#include "agent/sync/current.h"

#define NS_PER_S 1000000000

static int moot(struct commit_op *op)
{
	plan_refuse(op->item, COMMIT_NEED, NEED_LOOK, "index or tree have changed meanwhile");
	return 0;
}

/* @return false when it cannot be looked at; *now has mode 0 where nothing stands */
static bool look(struct file_stat *now, const struct commit_op *op)
{
	struct stat st;
	*now = (struct file_stat){0};
	int r = root_stat(op->root, op->sub, &st);
	if (r == 0)
		file_stat_from(now, &st);
	return r == 0 || errno_is_absence(r);
}

static int64_t second_of(int64_t ns)
{
	return ns / NS_PER_S - (ns % NS_PER_S < 0);
}

/* What was installed keeps the time it was installed with, which may be some seconds after the
 * source's. A server that looks at whole seconds and has seen the drift must see that it ended. */
static int64_t mtime_to_install(const struct commit_env *env, const struct index_entry *old,
				const struct file_stat *now)
{
	const struct record *rec = &old->rec;
	int64_t mtime = entry_installed_mtime(old);
	bool steps = env->profile &&
		     profile_judge(env->profile, rec->path, false).attributes & RULE_MTIME_STEP;
	if (steps && rec->kind == RECORD_FILE && S_ISREG(now->mode) &&
	    second_of(now->mtime_ns) == second_of(mtime))
		mtime += NS_PER_S;
	return mtime;
}

static bool is_same_version(const struct index_entry *old, const struct record *rec)
{
	return entry_is_live(old) && old->rec.kind == rec->kind && old->rec.seq == rec->seq &&
	       old->rec.epoch == rec->epoch && !(old->flags & ENTRY_FOREIGN);
}

static int plan_put_back(const struct commit_env *env, struct commit_op *op,
			 const struct index_entry *old, struct err *err)
{
	struct file_stat now;
	const struct record *rec = &op->item->entry.rec;
	if (!is_same_version(old, rec) || !look(&now, op) || file_stat_equal(&now, &old->inst))
		return moot(op);
	if (rec->kind == RECORD_DIR) {
		op->row.op = JOURNAL_DIR;
		op->phase = PHASE_DIRS;
		stage_name(op->row.temp);
		return 1;
	}
	int r = plan_publish(env, op, old, err);
	int64_t mtime = mtime_to_install(env, old, &now);
	if (r > 0 && mtime != rec->mtime_ns) {
		int set = plan_set_mtime(op, mtime, err);
		r = set < 0 ? set : r;
	}
	return r;
}

/* The record stays what it is: a tombstone, or none. */
static int plan_take_away(struct commit_op *op, const struct index_entry *old)
{
	struct file_stat now;
	if (old->rec.kind != 0 && entry_is_live(old))
		return moot(op);
	if (!look(&now, op) || now.mode == 0 || !*op->sub)
		return moot(op);
	op->row.op = JOURNAL_REMOVE;
	op->phase = PHASE_REMOVE;
	stage_name(op->row.temp);
	return 1;
}

int plan_mend(const struct commit_env *env, struct commit_op *op, const struct index_entry *old,
	      struct err *err)
{
	return op->item->mend == COMMIT_PUT_BACK ? plan_put_back(env, op, old, err)
						 : plan_take_away(op, old);
}
