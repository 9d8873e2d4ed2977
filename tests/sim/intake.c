/* intake.c - from the tree to the index: after agent/node/intake.c and agent/sync/capture.c. A path
 * that may have changed is looked at, what was seen becomes a record in a later step, and deletions
 * wait until nothing else is under way. */
#include <string.h>

#include "world.h"

#define SETTLE (25 * MS)
#define SCAN_INTERVAL (20 * SECOND)

static void capture_later(struct world *w, struct node *node);

static struct row row_on_disk(const struct node *node, int path)
{
	uint32_t ino = disk_at(&node->disk, path);
	const struct disk_attrs *attrs = disk_attrs(&node->disk, ino);
	struct row row = {0};
	if (!attrs)
		return row;
	return (struct row){.kind = attrs->kind,
			    .mode = attrs->mode,
			    .mtime = attrs->mtime,
			    .content = attrs->kind == RECORD_DIR ? 0 : attrs->content,
			    .inst = disk_stat(&node->disk, ino)};
}

static bool is_indexed(const struct node *node, int path)
{
	const struct row *row = &node->store.rows[path];
	struct disk_stat now = disk_stat(&node->disk, disk_at(&node->disk, path));
	if (now.kind == 0)
		return !row_is_live(row);
	return row_is_live(row) && disk_stat_equal(&now, &row->inst, true);
}

bool intake_is_idle(const struct node *node)
{
	for (int path = 0; path < N_PATHS; path++) {
		if (!is_indexed(node, path))
			return false;
	}
	return node->scanned && node->dirty == 0 && node->gone == 0 && !node->capturing;
}

/* ---- capturing ------------------------------------------------------------------------------ */

static bool has_parent(const struct node *node, int path)
{
	int parent = path_parent[path];
	if (parent < 0 || node->store.rows[parent].kind == RECORD_DIR)
		return true;
	for (size_t i = 0; i < node->n_captured; i++) {
		if (node->captured[i].path == parent && node->captured[i].row.kind == RECORD_DIR)
			return true;
	}
	return false;
}

static void look_at(struct node *node, int path)
{
	struct row row = row_on_disk(node, path);
	const struct row *indexed = &node->store.rows[path];
	uint64_t bit = 1ull << path;
	node->dirty &= ~bit;
	if (row.kind == 0) {
		node->gone = row_is_live(indexed) ? node->gone | bit : node->gone & ~bit;
		return;
	}
	node->gone &= ~bit;
	if (!has_parent(node, path)) {
		node->dirty |= bit | path_above[path];
		return;
	}
	if (row_is_live(indexed) && disk_stat_equal(&row.inst, &indexed->inst, true) &&
	    row_equal(&row, indexed))
		return;
	node->captured[node->n_captured++] =
		(struct captured){.kind = CAPTURED_VERSION, .path = path, .row = row};
}

/* They are looked at once more. */
static void take_gone(struct node *node)
{
	for (int path = 0; path < N_PATHS; path++) {
		if (!(node->gone >> path & 1))
			continue;
		if (row_on_disk(node, path).kind != 0)
			node->dirty |= 1ull << path;
		else if (row_is_live(&node->store.rows[path]))
			node->captured[node->n_captured++] =
				(struct captured){.kind = CAPTURED_GONE, .path = path};
	}
	node->gone = 0;
}

static void on_captured(struct world *w, struct node *node, int peer, uint32_t foreign)
{
	(void)peer;
	for (size_t i = 0; i < node->n_captured; i++) {
		const struct captured *one = &node->captured[i];
		trace(w, node, "  captured %s \"%s\" kind %d",
		      one->kind == CAPTURED_GONE ? "gone" : "version", path_text[one->path],
		      one->row.kind);
		if (one->kind == CAPTURED_VERSION && !foreign)
			world_had(w, one->row.content, one->path);
	}
	size_t changed = 0;
	if (node->n_captured > 0)
		changed = store_capture(&node->store, node->captured, node->n_captured, foreign);
	node->capturing = false;
	if (node->scanning && (node->dirty & node->scan_found) == 0) {
		node->scanning = false;
		node->scanned = true;
		for (int i = 0; i < w->n_nodes; i++)
			session_scanned(&node->sessions[i]);
	}
	for (int i = 0; i < w->n_nodes && changed > 0; i++)
		session_indexed(&node->sessions[i]);
	if (foreign)
		node_listen(w, node);
	else if (node->dirty || node->gone || node->scanning)
		capture_later(w, node);
}

static void on_capture(struct world *w, struct node *node, int peer, uint32_t arg)
{
	(void)peer;
	(void)arg;
	node->capture_due = false;
	if (node->capturing) {
		capture_later(w, node);
		return;
	}
	uint64_t take = below(w, 4) == 0 ? node->dirty : node->dirty & random_next(&w->random);
	node->capturing = true;
	node->n_captured = 0;
	if (node->gone && (node->dirty == 0 || below(w, 40) == 0)) {
		take_gone(node);
		take = 0;
	}
	for (int path = 0; path < N_PATHS; path++) {
		if (take >> path & 1)
			look_at(node, path);
	}
	later(w, node, delay(w, 2 * MS), "captured", on_captured, 0, 0);
}

static void capture_later(struct world *w, struct node *node)
{
	if (node->capture_due)
		return;
	node->capture_due = true;
	later(w, node, delay(w, SETTLE), "capture", on_capture, 0, 0);
}

void intake_changed(struct world *w, struct node *node, uint64_t paths)
{
	if (!node_is_active(node))
		return;
	node->dirty |= paths;
	capture_later(w, node);
}

/* ---- scanning ------------------------------------------------------------------------------- */

void intake_scan(struct world *w, struct node *node)
{
	node->scan_found = 0;
	for (int path = 0; path < N_PATHS; path++) {
		if (!is_indexed(node, path))
			node->scan_found |= 1ull << path;
	}
	node->scanning = true;
	intake_changed(w, node, node->scan_found);
}

static void on_scan(struct world *w, struct node *node, int peer, uint32_t arg)
{
	(void)peer;
	(void)arg;
	intake_scan(w, node);
	later(w, node, delay(w, SCAN_INTERVAL), "scan", on_scan, 0, 0);
}

/* A passive that was never part of the group looks at what it holds. */
static void look_at_own(struct world *w, struct node *node)
{
	node->n_captured = 0;
	for (int path = 0; path < N_PATHS; path++) {
		struct row row = row_on_disk(node, path);
		if (row.kind != 0)
			node->captured[node->n_captured++] = (struct captured){
				.kind = CAPTURED_VERSION, .path = path, .row = row};
	}
	later(w, node, delay(w, 2 * MS), "captured", on_captured, 0, 1);
}

void intake_start(struct world *w, struct node *node)
{
	if (node_is_active(node)) {
		later(w, node, delay(w, 10 * MS), "scan", on_scan, 0, 0);
		node_listen(w, node);
	} else if (node->store.n_lineage == 0) {
		look_at_own(w, node);
	} else {
		node_listen(w, node);
	}
}
