/* node.c - the life of a node: made, started, rolled forward, speaking, cut off by a power failure,
 * put back to an older copy. */
#include <string.h>

#include "world.h"

bool node_is_active(const struct node *node)
{
	return node->store.role == WIRE_ROLE_ACTIVE;
}

static void prepare_sessions(struct world *w, struct node *node)
{
	for (int peer = 0; peer < NODES_MAX; peer++) {
		bool excused = node->sessions[peer].excused;
		node->sessions[peer] =
			(struct session){.w = w, .node = node, .peer = peer, .excused = excused};
	}
}

/* Local files that were never replicated: what makes way for the active's must be saved. */
static void populate(struct world *w, struct node *node)
{
	for (int path = 1; path < N_PATHS; path++) {
		struct disk_attrs attrs = {.kind = below(w, 3) ? RECORD_FILE : RECORD_DIR,
					   .mode = 0700,
					   .mtime = ++w->last_mtime};
		uint32_t parent = disk_parent(&node->disk, path);
		if (!parent || below(w, 3) == 0)
			continue;
		if (attrs.kind == RECORD_FILE) {
			attrs.content = world_content(w);
			node->local[path] = attrs.content;
		}
		disk_create(&node->disk, parent, path_name[path], &attrs);
	}
}

void node_create(struct world *w, int number, bool active, bool populated)
{
	static const char *const names[NODES_MAX] = {"a", "b", "c"};
	struct node *node = &w->nodes[number];
	*node = (struct node){.w = w, .number = number, .name = names[number]};
	node->store.role = active ? WIRE_ROLE_ACTIVE : WIRE_ROLE_PASSIVE;
	node->store.adopt = populated;
	disk_init(&node->disk);
	disk_init(&node->old_disk);
	node->was_populated = populated;
	if (populated)
		populate(w, node);
	disk_sync_all(&node->disk);
	if (active) {
		struct epoch_entry first = {.number = 1, .id = {1}, .node = "a"};
		store_set_lineage(&node->store, &first, 1);
	}
	prepare_sessions(w, node);
}

static void free_machines(struct node *node)
{
	for (int peer = 0; peer < NODES_MAX; peer++) {
		outbound_free(node->sessions[peer].sender.outbound);
		inbound_free(node->sessions[peer].receiver.inbound);
	}
}

void node_release(struct node *node)
{
	free_machines(node);
	disk_release(&node->disk);
	disk_release(&node->old_disk);
}

/* ---- starting ------------------------------------------------------------------------------- */

/* As after a failback; the passives take the lineage over at the next handshake. */
static void begin_epoch(struct world *w, struct node *node)
{
	struct store *store = &node->store;
	struct epoch_entry lineage[LINEAGE_KEPT];
	if (store->n_lineage == LINEAGE_KEPT)
		return;
	memcpy(lineage, store->lineage, sizeof(lineage));
	struct epoch_entry *last = &lineage[store->n_lineage - 1], *next = last + 1;
	*next = (struct epoch_entry){
		.number = last->number + 1 + below(w, 3), .base_seq = store->last_seq, .node = "a"};
	memcpy(next->parent, last->id, sizeof(next->parent));
	memcpy(next->id, &next->number, sizeof(next->number));
	store_set_lineage(store, lineage, store->n_lineage + 1);
}

void node_start(struct world *w, struct node *node, int peer, uint32_t arg)
{
	(void)peer;
	(void)arg;
	if (node->up)
		return;
	node->up = true;
	if (node_is_active(node) && w->epochs && below(w, 4) == 0)
		begin_epoch(w, node);
	batch_recover(w, node);
}

void node_recovered(struct world *w, struct node *node)
{
	check_after_recovery(w, node);
	intake_start(w, node);
}

void node_listen(struct world *w, struct node *node)
{
	node->listening = true;
	for (int peer = 0; peer < w->n_nodes; peer++) {
		if (peer == node->number)
			continue;
		session_tick(w, node, peer, 0);
		session_dial_later(&node->sessions[peer]);
	}
}

/* ---- the power fails ------------------------------------------------------------------------- */

static uint64_t torn(void *arg)
{
	return world_content(arg);
}

void node_crash(struct world *w, struct node *node)
{
	if (!node->up)
		return;
	w->stats.crashes++;
	w->stats.crashes_in_batch += node->batch.phase != BATCH_IDLE;
	trace(w, node, "---- crash, %zu names not safe", node->disk.n_changes);
	node->incarnation++;
	node->up = node->listening = false;
	for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
		for (int k = 0; k < 2 && w->connections[i].id; k++) {
			struct side *side = &w->connections[i].sides[k];
			if (side->node == node && !side->told)
				side_vanish(w, side);
		}
	}
	free_machines(node);
	prepare_sessions(w, node);
	node->batch.phase = BATCH_IDLE;
	node->synced_at = 0;
	node->dirty = node->gone = node->scan_found = 0;
	node->capture_due = node->capturing = node->scanning = node->scanned = false;
	memcpy(node->journal_at_crash, node->store.journal, sizeof(node->store.journal));
	node->n_journal_at_crash = node->store.n_journal;
	disk_crash(&node->disk, &w->random, torn, w);
	check_local_content(w, node);
	later(w, node, delay(w, 500 * MS), "start", node_start, 0, 0);
}

/* ---- backup and restore ---------------------------------------------------------------------- */

/* State and tree of one moment. */
void node_keep_copy(struct node *node)
{
	node->old_store = node->store;
	disk_copy(&node->old_disk, &node->disk);
	disk_sync_all(&node->old_disk);
	node->has_old = true;
}

/* A person puts the copy back. Until the next comparison what others noted of this node, and it of
 * them, is of a time that is no more. */
void node_roll_back(struct world *w, struct node *node)
{
	bool with_tree = !node_is_active(node) || below(w, 2) == 0;
	node_crash(w, node);
	w->stats.rollbacks++;
	trace(w, node, "---- put back%s", with_tree ? " with its tree" : "");
	node->store = node->old_store;
	if (with_tree)
		disk_copy(&node->disk, &node->old_disk);
	memcpy(node->journal_at_crash, node->store.journal, sizeof(node->store.journal));
	node->n_journal_at_crash = node->store.n_journal;
	for (int i = 0; i < w->n_nodes; i++)
		node->sessions[i].excused = w->nodes[i].sessions[node->number].excused = true;
	memset(node->local, 0, sizeof(node->local));
	node->restored = true;
}
