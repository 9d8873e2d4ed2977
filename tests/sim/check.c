/* check.c - what must hold, at every step, after every crash, at every barrier that matched, and in
 * the end. */
#include <stdio.h>
#include <string.h>

#include "world.h"

#define EVERY \
	8 /* steps between two sweeps; crashes, recoveries and barriers are looked at at once */

/* ---- acknowledged is durable ------------------------------------------------------------------
 */

/* What would be there if the power failed now, at its worst. */
static bool is_safe(const struct node *node, int path, const struct row *row)
{
	const struct disk_attrs *attrs =
		disk_safe_attrs(&node->disk, disk_safe_at(&node->disk, path));
	if (row->kind == RECORD_ABSENT)
		return !attrs || (node->store.rows[path].flags & ROW_KEPT);
	if (!attrs)
		return false;
	if (row->kind == RECORD_DIR)
		return attrs->kind == RECORD_DIR;
	return row_is_attrs(row, attrs);
}

void check_acknowledged(struct world *w, struct node *active)
{
	for (int peer = 0; peer < w->n_nodes; peer++) {
		if (peer == active->number || active->sessions[peer].excused)
			continue;
		for (int path = 0; path < N_PATHS; path++) {
			const struct row *row = &active->store.rows[path];
			if (row->kind != 0 && row->seq != 0 &&
			    store_is_acked(&active->store, peer, path) &&
			    !is_safe(&w->nodes[peer], path, row))
				world_fail(w,
					   "\"%s\" seq %llu is acknowledged by %s and not durable "
					   "there",
					   path_text[path], (unsigned long long)row->seq,
					   w->nodes[peer].name);
		}
	}
}

/* ---- only versions that the active had ----------------------------------------------------------
 */

static void check_versions(struct world *w, const struct node *node)
{
	for (int path = 1; path < N_PATHS; path++) {
		const struct disk_attrs *attrs =
			disk_attrs(&node->disk, disk_at(&node->disk, path));
		if (attrs && attrs->kind != RECORD_DIR && attrs->content != node->local[path] &&
		    !world_ever_had(w, attrs->content, path) && !node->restored)
			world_fail(w,
				   "%s shows at \"%s\" a content that the active never had there",
				   node->name, path_text[path]);
	}
}

void check_step(struct world *w)
{
	if (w->steps % EVERY != 0)
		return;
	for (int i = 0; i < w->n_nodes; i++) {
		if (node_is_active(&w->nodes[i]))
			check_acknowledged(w, &w->nodes[i]);
		else
			check_versions(w, &w->nodes[i]);
	}
}

/* ---- nothing local is destroyed
 * ------------------------------------------------------------------ */

static bool holds(const struct disk *disk, uint32_t dir, uint64_t content)
{
	const struct disk_names *names = disk_safe_names(disk, dir);
	for (uint32_t i = 0; names && i < names->n; i++) {
		const struct disk_attrs *attrs = disk_safe_attrs(disk, names->at[i].ino);
		if (!attrs)
			continue;
		if (attrs->kind == RECORD_DIR ? holds(disk, names->at[i].ino, content)
					      : attrs->content == content)
			return true;
	}
	return false;
}

void check_local_content(struct world *w, struct node *node)
{
	for (int path = 0; path < N_PATHS; path++) {
		uint64_t content = node->local[path];
		if (content == 0 || holds(&node->disk, INO_TREE, content) ||
		    holds(&node->disk, INO_SALVAGE, content) ||
		    holds(&node->disk, INO_STAGE, content))
			continue;
		world_fail(w, "%s had local content at \"%s\" that is neither there nor saved",
			   node->name, path_text[path]);
	}
}

/* ---- a batch is all or nothing
 * -------------------------------------------------------------------- */

static void expect_indexed(struct world *w, const struct node *node, int path)
{
	const struct row *row = &node->store.rows[path];
	const struct disk_attrs *attrs = disk_attrs(&node->disk, disk_at(&node->disk, path));
	bool same = row_is_live(row) ? attrs && row_is_attrs(row, attrs)
				     : !attrs || (row->flags & ROW_KEPT);
	if (!same)
		world_fail(w,
			   "%s recovered, and \"%s\" (kind %d mtime %lld) is not what the index "
			   "says (kind %d seq %llu mtime %lld)",
			   node->name, path_text[path], attrs ? attrs->kind : 0,
			   attrs ? (long long)attrs->mtime : 0, row->kind,
			   (unsigned long long)row->seq, (long long)row->mtime);
}

void check_after_recovery(struct world *w, struct node *node)
{
	if (node_is_active(node) || node->store.n_lineage == 0)
		return;
	for (size_t i = 0; i < node->n_journal_at_crash; i++) {
		const struct journal_row *op = &node->journal_at_crash[i];
		const struct row *row = &node->store.rows[op->path];
		bool installed = row->seq == op->row.seq || (op->row.seq == 0 && row->kind == 0);
		if (!installed && disk_parent(&node->disk, op->path))
			world_fail(w, "%s recovered without \"%s\", which was in the journal",
				   node->name, path_text[op->path]);
	}
	for (int path = 0; path < N_PATHS; path++)
		expect_indexed(w, node, path);
}

/* ---- equal trees ------------------------------------------------------------------------------
 */

static bool is_equal(const struct row *row, const struct disk_attrs *attrs)
{
	return row_is_live(row) ? attrs && row_is_attrs(row, attrs) : !attrs;
}

void check_matched(struct world *w, struct node *passive, const struct node *active,
		   const struct row expected[N_PATHS])
{
	const struct disk *disk = &passive->disk;
	for (int path = 0; path < N_PATHS; path++) {
		const struct disk_attrs *now = disk_attrs(disk, disk_at(disk, path));
		const struct disk_attrs *safe = disk_safe_attrs(disk, disk_safe_at(disk, path));
		const struct row *row = &expected[path];
		if (!is_equal(row, now))
			world_fail(w,
				   "a barrier matched, and \"%s\" of %s is not as at %s: kind %d "
				   "content %llu mtime %lld, there %d %llu %lld",
				   path_text[path], passive->name, active->name,
				   now ? now->kind : 0, now ? (unsigned long long)now->content : 0,
				   now ? (long long)now->mtime : 0, row->kind,
				   (unsigned long long)row->content, (long long)row->mtime);
		if (!is_equal(row, safe))
			world_fail(w, "a barrier matched, and \"%s\" of %s is not durable",
				   path_text[path], passive->name);
	}
}

static const char *why_not(const struct world *w)
{
	for (int i = 0; i < w->n_nodes; i++) {
		const struct node *node = &w->nodes[i];
		if (!node->up || !node->listening)
			return "a node is not up";
		if (!node_is_active(node))
			continue;
		if (!intake_is_idle(node))
			return "the active's index is not its tree";
		for (int peer = 0; peer < w->n_nodes; peer++) {
			const struct session *s = &node->sessions[peer];
			if (peer == i)
				continue;
			if (!s->live || !w->nodes[peer].sessions[i].live)
				return "a session is not live";
			if (store_count_pending(&node->store, peer) > 0)
				return "something is not acknowledged";
			if (!s->matched || s->matched_seq != node->store.last_seq)
				return "no barrier has matched";
		}
	}
	return NULL;
}

/* What is acknowledged is known there as the very same version, deletions too; unless somebody was
 * put back to a copy: equal contents are enough then. */
static void check_same_versions(const struct world *w, const struct node *passive,
				const struct node *active)
{
	for (int path = 0; path < N_PATHS && w->stats.rollbacks == 0; path++) {
		const struct row *here = &passive->store.rows[path];
		const struct row *there = &active->store.rows[path];
		if (there->kind != 0 && there->seq != 0 &&
		    (here->seq != there->seq || here->epoch != there->epoch))
			world_fail(w,
				   "everything is acknowledged, and \"%s\" of %s has seq %llu, not "
				   "%llu",
				   path_text[path], passive->name, (unsigned long long)here->seq,
				   (unsigned long long)there->seq);
	}
}

bool check_converged(struct world *w)
{
	if (why_not(w))
		return false;
	for (int i = 1; i < w->n_nodes; i++) {
		check_matched(w, &w->nodes[i], &w->nodes[0], w->nodes[0].store.rows);
		check_same_versions(w, &w->nodes[i], &w->nodes[0]);
		check_local_content(w, &w->nodes[i]);
	}
	return true;
}

void check_explain(const struct world *w)
{
	fprintf(stderr, "%s\n", why_not(w));
	for (int i = 0; i < w->n_nodes; i++) {
		for (int peer = 0; peer < w->n_nodes; peer++) {
			const struct session *s = &w->nodes[i].sessions[peer];
			const struct sender *sd = &s->sender;
			if (peer == i || !s->live)
				continue;
			fprintf(stderr,
				"%s to %s: %s, %zu pending, jobs %d, reconciling %d, matched %d at "
				"%llu of %llu",
				w->nodes[i].name, w->nodes[peer].name, handshake_name(s->outcome),
				store_count_pending(&w->nodes[i].store, peer), s->jobs,
				s->reconciling, s->matched, (unsigned long long)s->matched_seq,
				(unsigned long long)w->nodes[i].store.last_seq);
			if (sd->outbound)
				fprintf(stderr,
					"; offered %zu, under way %zu, more %d, retry %d, wants a "
					"barrier %d, %zu barriers out",
					outbound_pending(sd->outbound),
					outbound_under_way(sd->outbound), sd->more,
					sd->retry_at != 0, sd->want_barrier, sd->n_barriers);
			fputc('\n', stderr);
		}
	}
}
