/* commit_private.h - what the files of the commit share: an operation on its way from the journal
 * to the index. Nobody else includes it. */
#ifndef SYNC_COMMIT_PRIVATE_H
#define SYNC_COMMIT_PRIVATE_H

#include "agent/base/hash_table.h"
#include "agent/sync/commit.h"

/* When an operation's turn comes within its batch. */
enum commit_phase {
	PHASE_CLEAR,  /* deletes beneath a path that is no directory any longer, deepest first */
	PHASE_DIRS,   /* parents first; their metadata follows at the very end */
	PHASE_FILES,  /* and links, by class */
	PHASE_META,   /* of files */
	PHASE_REMOVE, /* deletes, deepest first */
};

enum op_state { OP_WAITING, OP_PERFORMED, OP_FAILED };

/* What the index has where an operation is to take place. */
struct op_was {
	uint8_t kind; /* 0: nothing */
	bool foreign; /* never replicated: goes to the salvage, and is not lost */
	uint64_t size;
	uint8_t hash[HASH_LEN];
};

struct commit_op {
	struct journal_row row;
	struct commit_item *item; /* NULL in roll-forward */
	struct root *root;
	const char *sub; /* of row.entry.rec.path */
	uint8_t phase, order_class;
	enum op_state state;
	uint8_t result, reason; /* enum commit_result of a failed one */
	int error;		/* errno */
	char text[160];
	struct file_stat staged; /* of stage/<temp> before it is published, or of a file after its
				    metadata; of the latter all zero: somebody wrote meanwhile */
	bool judge_content; /* roll-forward: what was displaced is judged by its bytes; its ctime
			       says nothing */
	bool retire; /* stage/<temp> is what was expected to stand there: kept or discarded at the
			end */
	struct keep_order keep; /* promised: it is kept */
	bool kept;
	bool must_sync;	    /* the staged object is not known to be durable */
	bool displaces_dir; /* a directory stands, as the index knows, where a file or link comes */
	struct op_was was;
	uint64_t costs; /* files lost or rewritten by it, for the brake to count when it is done */
};

/* A directory in which a name changed, or whose metadata the batch brings. */
struct touched_dir {
	UT_hash_handle hh;
	struct commit_op *op; /* that brings its metadata; NULL: what the index says is put back */
	struct index_entry indexed;
	bool known; /* indexed is filled in, live, with its new inst */
	const struct root *root;
	const char *sub;
	char path[];
};

struct batch {
	const struct commit_env *env;
	struct commit_op *ops;
	size_t n;
	struct touched_dir *touched; /* hash by path */
	struct index_entry *unkept;  /* tombstones of kept directories that are gone now; owned */
	size_t n_unkept, cap_unkept;
	char *not_kept; /* the directory that was looked at last and is not a kept one */
	bool sync_each; /* few enough that each object is synced by itself */
	size_t saved;	/* moved to the salvage */
	int stuck; /* negative errno: local content is in stage/ and nowhere else; the journal must
		      stay */
	bool changed[ROOT_MAX];	 /* something was done in the root, which did not vanish over it */
	bool verified[ROOT_MAX]; /* the root's marker was read for this batch */
};

/* The tombstone of a path that the survivor never had leaves no trace. */
static inline bool op_forgets(const struct commit_op *op)
{
	return op->row.entry.rec.kind == RECORD_ABSENT && op->row.entry.rec.seq == 0;
}

/* Inode of stage/<temp>; 0 when there is nothing. */
uint64_t op_temp_inode(const struct commit_op *op);

/* What should stand there; NULL: nothing. */
static inline const struct file_stat *op_expects(const struct commit_op *op)
{
	return op->row.entry.inst.mode ? &op->row.entry.inst : NULL;
}

/* In bytes, 0: no limit. */
static inline uint64_t commit_salvage_max(const struct commit_env *env)
{
	return env->salvage_max ? __atomic_load_n(env->salvage_max, __ATOMIC_RELAXED) : 0;
}

static inline bool batch_changed(const struct batch *b, const struct root *root)
{
	return b->changed[root - b->env->tree->roots];
}

/* Ends an operation without its effect. */
void op_fail(struct commit_op *op, enum commit_result result, uint8_t reason, const char *text);
void op_fail_with(struct commit_op *op, const struct err *err); /* by its code */

/* commit_plan.c: items to operations, in the order in which they are performed. Items that cannot
 * go on have their result and no operation. */
int batch_plan(struct batch *b, struct commit_item *items, size_t n, struct err *err);

/* commit_plan.c. What an item that publishes displaces, and in which order.
 * @return 1 when it can go on, 0 when the item is answered, negative errno */
int plan_publish(const struct commit_env *env, struct commit_op *op, const struct index_entry *old,
		 struct err *err);
int plan_set_mtime(struct commit_op *op, int64_t mtime_ns, struct err *err);
void plan_refuse(struct commit_item *item, enum commit_result result, uint8_t reason,
		 const char *text);

/* commit_mend.c: an item that puts drift right. @return as plan_publish() */
int plan_mend(const struct commit_env *env, struct commit_op *op, const struct index_entry *old,
	      struct err *err);

/* commit_plan.c */
void op_remember_was(struct commit_op *op, const struct index_entry *old);

/* commit_brake.c: takes out what is too much at once; its items are answered REFUSED_HELD. Asked
 * before anything is journaled. */
int batch_brake(struct batch *b, struct err *err);
void batch_brake_done(const struct batch *b); /* the batch is in the index */

/* commit_durable.c */
int batch_sync_staged(const struct batch *b, struct err *err);
int batch_sync_touched(const struct batch *b, struct err *err);

/* commit_publish.c */
/* Fails only when stuck. @param again  it may have been begun before */
int batch_perform(struct batch *b, bool again, struct err *err);
/* Also what was staged for operations that failed. */
void batch_retire(struct batch *b);

/* commit_kept.c: a deletion was performed; what was only kept for its sake goes, too. */
void batch_remove_kept_above(struct batch *b, const struct commit_op *op);

/* commit_beneath.c: is stage/<temp> a directory in which everything is as it was installed? */
bool displaced_is_replicated(const struct batch *b, const struct commit_op *op);

/* commit_dirs.c: what is done when all names are in place. */
void batch_touch(struct batch *b, const char *path, struct commit_op *op);
void batch_touch_parent(struct batch *b, const char *path);
int batch_finish_dirs(struct batch *b, struct err *err);
void batch_release(struct batch *b);

/* commit_installed.c: fresh stats, then the index; what it does not need any longer is retired. */
int batch_record(struct batch *b, struct err *err);

/* commit.c: a journaled batch, from its first name to the index. A failure of the whole leaves the
 * journal written: the next commit or start goes on from there. */
int batch_carry_out(struct batch *b, bool again, struct err *err);

/* commit_recover.c: a journaled batch that did not end. @return 0 (also without one), -EAGAIN while
 * a root is unhealthy */
int commit_roll_forward(const struct commit_env *env, struct err *err);

#endif
