/* faults.c - what the tenants of the tree do, and what fate does. */
#include "world.h"

/* ---- the tree of the active -------------------------------------------------------------------
 */

static void changed(struct world *w, struct node *node, int path)
{
	uint64_t paths = 1ull << path | path_beneath[path];
	if (path > 0)
		paths |= 1ull << path_parent[path];
	if (!chance(w, w->weather.lose_event))
		intake_changed(w, node, paths);
}

static struct disk_attrs fresh_attrs(struct world *w, uint8_t kind)
{
	struct disk_attrs attrs = {
		.kind = kind, .mode = kind == RECORD_DIR ? 0755 : 0644, .mtime = ++w->last_mtime};
	if (kind == RECORD_SYMLINK)
		attrs.mode = 0;
	if (kind != RECORD_DIR)
		attrs.content = kind == RECORD_FILE && below(w, 10) == 0 ? 0 : world_content(w);
	return attrs;
}

static uint8_t any_kind(struct world *w, int path)
{
	if (path_beneath[path] && below(w, 4))
		return RECORD_DIR;
	uint32_t kind = below(w, 10);
	return kind < 7 ? RECORD_FILE : kind < 9 ? RECORD_DIR : RECORD_SYMLINK;
}

/* Bytes that are known under another name. */
static void maybe_copy(struct world *w, const struct node *node, struct disk_attrs *attrs)
{
	const struct disk_attrs *other =
		disk_attrs(&node->disk, disk_at(&node->disk, (int)below(w, N_PATHS)));
	if (other && other->kind == RECORD_FILE && attrs->kind == RECORD_FILE && below(w, 4) == 0)
		attrs->content = other->content;
}

static void create(struct world *w, struct node *node, int path)
{
	uint32_t parent = disk_parent(&node->disk, path);
	struct disk_attrs attrs = fresh_attrs(w, any_kind(w, path));
	if (!parent)
		return;
	maybe_copy(w, node, &attrs);
	disk_create(&node->disk, parent, path_name[path], &attrs);
	changed(w, node, path);
}

static void remove_tree(struct node *node, int path)
{
	for (int i = N_PATHS - 1; i >= path; i--) {
		if ((i == path || (path_beneath[path] >> i & 1)) && disk_at(&node->disk, i))
			disk_unlink(&node->disk, disk_parent(&node->disk, i), path_name[i]);
	}
}

static void write_file(struct world *w, struct node *node, int path)
{
	uint32_t ino = disk_at(&node->disk, path), parent = disk_parent(&node->disk, path);
	struct disk_attrs attrs = fresh_attrs(w, RECORD_FILE);
	maybe_copy(w, node, &attrs);
	attrs.mode = disk_attrs(&node->disk, ino)->mode;
	if (below(w, 2)) {
		disk_set(&node->disk, ino, &attrs); /* in its place */
	} else {
		uint32_t temp = ++w->last_temp;
		uint32_t fresh = disk_create(&node->disk, INO_STAGE, temp, &attrs);
		if (below(w, 2))
			disk_sync(&node->disk, fresh);
		disk_rename(&node->disk, INO_STAGE, temp, parent, path_name[path]);
	}
	changed(w, node, path);
}

static void change_metadata(struct world *w, struct node *node, int path)
{
	uint32_t ino = disk_at(&node->disk, path);
	struct disk_attrs attrs = *disk_attrs(&node->disk, ino);
	if (attrs.kind != RECORD_SYMLINK && below(w, 2))
		attrs.mode ^= 0020;
	else
		attrs.mtime = ++w->last_mtime;
	disk_set(&node->disk, ino, &attrs);
	changed(w, node, path);
}

void faults_race(struct world *w, struct node *node, int path)
{
	const struct disk_attrs *there = disk_attrs(&node->disk, disk_at(&node->disk, path));
	if (there && there->kind == RECORD_FILE && chance(w, w->weather.race))
		write_file(w, node, path);
}

static void move(struct world *w, struct node *node, int path)
{
	int to = 1 + (int)below(w, N_PATHS - 1);
	uint32_t parent = disk_parent(&node->disk, to);
	if (to == path || !parent || disk_at(&node->disk, to) || (path_above[to] >> path & 1))
		return;
	disk_rename(&node->disk, disk_parent(&node->disk, path), path_name[path], parent,
		    path_name[to]);
	changed(w, node, path);
	changed(w, node, to);
}

/* What has no name among the paths of this world cannot be carried there. */
static bool may_move(const struct node *node, int path)
{
	return disk_attrs(&node->disk, disk_at(&node->disk, path))->kind != RECORD_DIR ||
	       disk_is_empty(&node->disk, disk_at(&node->disk, path));
}

static void change_something(struct world *w, struct node *node)
{
	int path = 1 + (int)below(w, N_PATHS - 1);
	const struct disk_attrs *there = disk_attrs(&node->disk, disk_at(&node->disk, path));
	w->stats.users++;
	if (!there) {
		create(w, node, path);
		return;
	}
	switch (below(w, 8)) {
	case 0: change_metadata(w, node, path); break;
	case 1:
		if (may_move(node, path)) {
			move(w, node, path);
			break;
		}
		__attribute__((fallthrough));
	case 2:
		remove_tree(node, path);
		changed(w, node, path);
		if (below(w, 3) == 0)
			create(w, node, path); /* perhaps of another kind */
		break;
	default:
		if (there->kind == RECORD_FILE)
			write_file(w, node, path);
		else if (below(w, 3) == 0)
			change_metadata(w, node, path);
	}
}

static void on_user(struct world *w, struct node *none, int peer, uint32_t round)
{
	(void)none;
	(void)peer;
	if (w->calm || round != (uint32_t)w->stats.rounds)
		return;
	for (int i = 0; i < w->n_nodes; i++) {
		struct node *node = &w->nodes[i];
		for (uint32_t n = 1 + below(w, 5); n > 0 && node_is_active(node) && node->up; n--)
			change_something(w, node);
	}
	later(w, NULL, delay(w, w->weather.user_gap), "user", on_user, 0, round);
}

/* ---- fate ----------------------------------------------------------------------------------- */

static void cut_one(struct world *w)
{
	struct connection *c = &w->connections[below(w, CONNECTIONS_MAX)];
	for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
		if (c->id != 0 && !c->cut) {
			w->stats.cuts++;
			network_cut(w, c);
			return;
		}
		c = c + 1 == w->connections + CONNECTIONS_MAX ? w->connections : c + 1;
	}
}

/* The passive that is restored has been restored with its tree, the active perhaps without. */
static void backup_or_restore(struct world *w, struct node *node)
{
	if (node->has_old && below(w, 2)) {
		node->has_old = false;
		node_roll_back(w, node);
	} else if (!node->has_old && node->up && node->store.n_lineage > 0 && node->listening) {
		node_keep_copy(node);
	}
}

static void on_fault(struct world *w, struct node *none, int peer, uint32_t round)
{
	const struct weather *weather = &w->weather;
	uint32_t what =
		below(w, weather->crash + weather->cut + weather->dial + weather->rollback + 1);
	struct node *node = &w->nodes[below(w, (uint32_t)w->n_nodes)];
	(void)none;
	(void)peer;
	if (w->calm || round != (uint32_t)w->stats.rounds)
		return;
	if (what < weather->crash)
		node_crash(w, node);
	else if ((what -= weather->crash) < weather->cut)
		cut_one(w);
	else if ((what -= weather->cut) < weather->dial && node->listening)
		network_dial(w, node,
			     (node->number + 1 + (int)below(w, (uint32_t)w->n_nodes - 1)) %
				     w->n_nodes);
	else if (what - weather->dial < weather->rollback)
		backup_or_restore(w, node);
	else
		disk_sync_all(&node->disk); /* the kernel writes back when it likes */
	later(w, NULL, delay(w, weather->fault_gap), "fault", on_fault, 0, round);
}

/* Tombstones that every peer has leave the index. */
static void on_prune(struct world *w, struct node *none, int peer, uint32_t round)
{
	(void)none;
	(void)peer;
	if (w->calm || round != (uint32_t)w->stats.rounds)
		return;
	for (int i = 0; i < w->n_nodes; i++) {
		uint32_t peers = ((1u << w->n_nodes) - 1) & ~(1u << i);
		if (w->nodes[i].up && node_is_active(&w->nodes[i]))
			store_prune_tombstones(&w->nodes[i].store, peers);
	}
	later(w, NULL, delay(w, 10 * SECOND), "prune", on_prune, 0, round);
}

static uint32_t sometimes(struct world *w, uint32_t most)
{
	return below(w, 3) == 0 ? 0 : below(w, most + 1);
}

void faults_begin_round(struct world *w)
{
	uint32_t round = (uint32_t)w->stats.rounds;
	struct weather *weather = &w->weather;
	*weather = (struct weather){.deny = sometimes(w, 200),
				    .early = sometimes(w, 500),
				    .give_up = sometimes(w, 500),
				    .sudden = sometimes(w, 12),
				    .race = sometimes(w, 100),
				    .lose_event = sometimes(w, 300),
				    .user_gap = (1 + below(w, 40)) * 10 * MS,
				    .fault_gap = (1 + below(w, 60)) * 40 * MS,
				    .crash = sometimes(w, 4),
				    .cut = sometimes(w, 4),
				    .dial = sometimes(w, 3),
				    .rollback = w->epochs || below(w, 3) ? 0 : 1 + below(w, 2)};
	later(w, NULL, delay(w, weather->user_gap), "user", on_user, 0, round);
	later(w, NULL, delay(w, weather->fault_gap), "fault", on_fault, 0, round);
	later(w, NULL, delay(w, 10 * SECOND), "prune", on_prune, 0, round);
}
