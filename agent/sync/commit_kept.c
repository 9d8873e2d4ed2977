/* Directories that were deleted and had to stay because something was in them. What kept them may
 * have been a file of ours whose own deletion was refused at first: when that one goes, they go,
 * too, or an empty directory would stay for ever and no comparison of indexes would show it. */
#include "agent/sync/commit_private.h"

#include <string.h>

#include "agent/fs/publish.h"
#include "protocol/relpath.h"

static bool comes_again(const struct batch *b, const char *path)
{
	for (size_t i = 0; i < b->n; i++) {
		const struct record *rec = &b->ops[i].row.entry.rec;
		if (rec->kind != RECORD_ABSENT && strcmp(rec->path, path) == 0)
			return true;
	}
	return false;
}

/* @return true when the directory is gone and its row is to say so */
static bool remove_kept(struct batch *b, const char *path)
{
	struct index_entry entry = {0};
	const char *sub;
	const struct root *root = tree_resolve(b->env->tree, path, &sub);
	bool kept = store_get(b->env->store, path, &entry, NULL) == 0 &&
		    entry.rec.kind == RECORD_ABSENT && entry.flags & ENTRY_KEPT;
	if (!kept || !*sub || comes_again(b, path) || publish_rmdir(root, sub, NULL) < 0) {
		index_entry_release(&entry);
		return false;
	}
	entry.flags &= ~(unsigned)ENTRY_KEPT;
	GROW(b->unkept, b->cap_unkept, b->n_unkept + 1);
	b->unkept[b->n_unkept++] = entry;
	batch_touch_parent(b, path);
	return true;
}

void batch_remove_kept_above(struct batch *b, const struct commit_op *op)
{
	if (op->state != OP_PERFORMED || op->kept || op->row.entry.rec.kind != RECORD_ABSENT)
		return;
	AUTO_FREE char *path = x_strdup(op->row.entry.rec.path);
	path[relpath_parent_len(path)] = '\0';
	/* Deletions come directory by directory: the look at the index is made once for each. */
	if (b->not_kept && strcmp(b->not_kept, path) == 0)
		return;
	if (*path && !remove_kept(b, path)) {
		free(b->not_kept);
		b->not_kept = STEAL(path);
		return;
	}
	while (*path) {
		path[relpath_parent_len(path)] = '\0';
		if (*path && !remove_kept(b, path))
			return;
	}
}
