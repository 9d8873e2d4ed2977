#include "tests/unit/sync/commit_help.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/clock.h"

void assert_fine(int result, const struct err *err)
{
	if (result < 0)
		fail_msg("failed with %d: %s", result, err->msg);
}

long nth_step(void)
{
#ifdef __SANITIZE_ADDRESS__
	const long step = 10;
#else
	const long step = 3;
#endif
	return getenv("ARTIFACT_SYNC_SLOW") ? 1 : step;
}

long nth_first(void)
{
	long first = 1 + (long)(clock_mono_ns() % (uint64_t)nth_step());
	print_message("one of every %ld, from number %ld\n", nth_step(), first);
	return first;
}

void node_make(struct node *node)
{
	const char *base = getenv("TMPDIR");
	assert_true(snprintf(node->dir, sizeof(node->dir), "%s/commit-test-XXXXXX",
			     base ? base : "/tmp") < (int)sizeof(node->dir));
	assert_non_null(mkdtemp(node->dir));
	sprintf(node->tree_dir, "%s/tree", node->dir);
	sprintf(node->state_dir, "%s/state", node->dir);
	assert_int_equal(mkdir(node->tree_dir, 0755), 0);
	assert_int_equal(mkdir(node->state_dir, 0700), 0);
	if (node->n_follow > 0) {
		char command[256];
		sprintf(command, "mkdir %s/other && ln -s %s/other %s/%s", node->dir, node->dir,
			node->tree_dir, node->follow[0]);
		assert_int_equal(system(command), 0);
	}
	assert_fine(tree_prepare(node->tree_dir, node->follow, node->n_follow, &node->err),
		    &node->err);
	const struct store_state initial = {.node = "b", .group = "g", .role = WIRE_ROLE_PASSIVE};
	assert_fine(store_create(node->state_dir, &initial, NULL, &node->err), &node->err);
	node_open(node);
}

void node_open(struct node *node)
{
	assert_fine(tree_open(&node->tree, node->tree_dir, node->follow, node->n_follow, NULL,
			      &node->err),
		    &node->err);
	assert_true(tree_is_healthy(node->tree));
	if (node->cannot_exchange)
		node->tree->roots[0].can_exchange = false;
	assert_fine(store_open(&node->store, node->state_dir, &node->err), &node->err);
	node->env = (struct commit_env){
		.tree = node->tree, .store = node->store, .salvage_why = "drift"};
}

void node_close(struct node *node)
{
	store_close(node->store);
	tree_free(node->tree);
	node->store = NULL;
	node->tree = NULL;
}

void node_remove(struct node *node)
{
	char command[256];
	node_close(node);
	sprintf(command, "chmod -R u+rwx %s; rm -rf %s", node->dir, node->dir);
	assert_int_equal(system(command), 0);
}

/* ---- batches ----------------------------------------------------------------------------------
 */

static struct record record_of(struct node *node, const struct line *line)
{
	struct record rec = {.path = line->path, .kind = line->kind};
	if (line->op != OP_ABSENT) {
		rec.epoch = 1;
		rec.seq = ++node->seq;
	}
	if (line->op == OP_DELETE || line->op == OP_ABSENT)
		rec.kind = RECORD_ABSENT;
	if (rec.kind == RECORD_ABSENT)
		return rec;
	rec.mtime_ns = line->mtime_ns;
	rec.mode = rec.kind == RECORD_SYMLINK ? 0 : line->mode;
	if (rec.kind == RECORD_FILE) {
		rec.size = strlen(line->content);
		hash_bytes(rec.hash, line->content, rec.size);
	}
	if (rec.kind == RECORD_SYMLINK) {
		rec.target = (const uint8_t *)line->content;
		rec.target_len = (uint32_t)strlen(line->content);
	}
	return rec;
}

struct commit_item *items_make(struct node *node, const struct line *lines, size_t n)
{
	const struct stage_env env = {.tree = node->tree};
	struct commit_item *items = x_calloc(n, sizeof(*items));
	for (size_t i = 0; i < n; i++) {
		const struct index_entry e = {.rec = record_of(node, &lines[i])};
		int r = 0;
		index_entry_copy(&items[i].entry, &e);
		items[i].op = lines[i].op;
		if (e.rec.kind == RECORD_FILE && lines[i].op != OP_META)
			r = stage_bytes(&items[i].staged, &env, &e.rec, lines[i].content,
					e.rec.size, &node->err);
		if (e.rec.kind == RECORD_SYMLINK)
			r = stage_symlink(&items[i].staged, &env, &e.rec, &node->err);
		assert_fine(r, &node->err);
	}
	return items;
}

void items_free(struct commit_item *items, size_t n)
{
	for (size_t i = 0; i < n; i++)
		commit_item_release(&items[i]);
	free(items);
}

void commit_lines(struct node *node, const struct line *lines, size_t n)
{
	struct commit_item *items = items_make(node, lines, n);
	assert_fine(commit_run(&node->env, items, n, &node->err), &node->err);
	for (size_t i = 0; i < n; i++) {
		if (items[i].result != COMMIT_DONE)
			fail_msg("\"%s\": result %d reason %d: %s", lines[i].path, items[i].result,
				 items[i].reason, items[i].text);
	}
	items_free(items, n);
}

/* ---- the disk ---------------------------------------------------------------------------------
 */

static void full_path(char out[512], const struct node *node, const char *path)
{
	snprintf(out, 512, "%s%s%s", node->tree_dir, *path ? "/" : "", path);
}

void write_local(struct node *node, const char *path, const char *content)
{
	char full[512];
	full_path(full, node, path);
	FILE *file = fopen(full, "w");
	assert_non_null(file);
	fputs(content, file);
	fclose(file);
}

static char *read_at(const char *full)
{
	char buffer[4096];
	AUTO_CLOSE int fd = open(full, O_RDONLY | O_NOFOLLOW);
	ssize_t len = fd < 0 ? -1 : read(fd, buffer, sizeof(buffer));
	return len < 0 ? NULL : x_strndup(buffer, (size_t)len);
}

char *read_local(struct node *node, const char *path)
{
	char full[512];
	full_path(full, node, path);
	return read_at(full);
}

void capture_foreign(struct node *node, const char *path)
{
	char full[512];
	struct stat st;
	struct index_entry e = {.rec = {.path = path}};
	size_t changed;
	full_path(full, node, path);
	assert_int_equal(lstat(full, &st), 0);
	assert_int_equal(meta_to_record(&e.rec, &st, &node->env.policy), 0);
	AUTO_FREE char *content = read_at(full);
	if (e.rec.kind == RECORD_FILE)
		hash_bytes(e.rec.hash, content, strlen(content));
	file_stat_from(&e.inst, &st);
	const struct captured item = {.kind = CAPTURED_VERSION, .entry = &e};
	assert_fine(store_capture(node->store, &item, 1, true, &changed, &node->err), &node->err);
}

static bool has_content(const char *full, const struct line *line)
{
	AUTO_FREE char *content = NULL;
	if (line->kind == RECORD_FILE)
		content = read_at(full);
	char target[512] = "";
	if (line->kind == RECORD_SYMLINK && readlink(full, target, sizeof(target) - 1) >= 0)
		content = x_strdup(target);
	return line->kind == RECORD_DIR || (content && strcmp(content, line->content) == 0);
}

bool is_line_true(struct node *node, const struct line *line)
{
	char full[512];
	struct stat st;
	struct record rec;
	full_path(full, node, line->path);
	int r = lstat(full, &st);
	if (line->op == OP_DELETE || line->op == OP_ABSENT)
		return r < 0;
	if (r < 0 || meta_to_record(&rec, &st, &node->env.policy) < 0 || rec.kind != line->kind)
		return false;
	if (rec.kind != RECORD_SYMLINK && rec.mode != line->mode)
		return false;
	return rec.mtime_ns == line->mtime_ns && has_content(full, line);
}

static void assert_entry_stands(struct node *node, const struct index_entry *e)
{
	char full[512], text[300] = "";
	struct stat st;
	struct file_stat now;
	if (e->rec.kind == RECORD_ABSENT)
		return;
	full_path(full, node, e->rec.path);
	AUTO_FREE char *content = e->rec.kind == RECORD_FILE ? read_at(full) : NULL;
	if (e->rec.kind == RECORD_FILE) {
		uint8_t hash[HASH_LEN];
		if (!content)
			fail_msg("%s is in the index and not on disk", full);
		hash_bytes(hash, content, strlen(content));
		if (memcmp(hash, e->rec.hash, HASH_LEN) != 0)
			fail_msg("%s: the index has another hash than \"%s\"", full, content);
	}
	if (e->rec.kind == RECORD_SYMLINK)
		memcpy(text, e->rec.target, e->rec.target_len);
	const struct line line = {.op = OP_WHOLE,
				  .path = e->rec.path,
				  .kind = e->rec.kind,
				  .content = content ? content : text,
				  .mode = e->rec.mode,
				  .mtime_ns = e->rec.mtime_ns};
	if (!is_line_true(node, &line))
		fail_msg("%s is not on disk as the index says", full);
	assert_int_equal(*e->rec.path || node->n_follow ? lstat(full, &st) : stat(full, &st), 0);
	file_stat_from(&now, &st);
	if (!file_stat_equal(&now, &e->inst))
		fail_msg("%s: the as-installed stat is not the disk's", full);
}

static size_t count_entries(const char *dir, bool dirs_only)
{
	size_t n = 0;
	DIR *d = opendir(dir);
	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d));)
		n += e->d_name[0] != '.' && (!dirs_only || e->d_type == DT_DIR);
	closedir(d);
	return n;
}

/* Each object has its manifest, and no manifest is without its object. */
static void assert_manifests(struct node *node)
{
	char path[256], hex[HASH_HEX_MAX];
	struct salvage_row *rows;
	size_t n;
	assert_fine(store_salvage_list(node->store, &rows, &n, &node->err), &node->err);
	for (size_t i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/.artifact-sync/salvage/%s.json", node->tree_dir,
			 rows[i].id);
		AUTO_FREE char *text = read_at(path);
		AUTO_FREE char *named = x_asprintf("\"path\": \"%s\"", rows[i].path);
		if (!text || !strstr(text, named))
			fail_msg("no manifest names %s", rows[i].path);
		assert_true(!rows[i].has_hash || strstr(text, hash_hex(hex, rows[i].hash)));
		assert_true(text[strlen(text) - 1] == '}');
	}
	salvage_rows_free(rows, n);
	sprintf(path, "%s/.artifact-sync/salvage", node->tree_dir);
	assert_int_equal(count_entries(path, false), 2 * n);
}

void assert_consistent(struct node *node)
{
	char dir[128];
	struct journal_row *rows;
	size_t n;
	AUTO(store_cursor) *cursor = NULL;
	const struct index_entry *e;
	assert_fine(store_cursor_open(&cursor, node->store, "", "", &node->err), &node->err);
	int r;
	while ((r = store_cursor_next(cursor, &e, &node->err)) > 0)
		assert_entry_stands(node, e);
	assert_fine(r, &node->err);
	assert_fine(store_journal_load(node->store, &rows, &n, &node->err), &node->err);
	journal_rows_free(rows, n);
	assert_int_equal(n, 0);
	sprintf(dir, "%s/.artifact-sync/stage", node->tree_dir);
	assert_int_equal(count_entries(dir, false), 0);
	assert_manifests(node);
	assert_int_equal(store_salvage_count(node->store), salvage_files(node));
}

/* ---- the salvage ------------------------------------------------------------------------------
 */

size_t salvage_files(struct node *node)
{
	char dir[128];
	sprintf(dir, "%s/.artifact-sync/salvage", node->tree_dir);
	return count_entries(dir, true);
}

bool is_in_salvage(struct node *node, const char *content)
{
	struct salvage_row *rows;
	size_t n;
	bool found = false;
	assert_fine(store_salvage_list(node->store, &rows, &n, &node->err), &node->err);
	for (size_t i = 0; i < n; i++) {
		AUTO_FREE char *place = salvage_location(node->tree, &rows[i]);
		AUTO_FREE char *bytes = read_at(place);
		found |= bytes && strcmp(bytes, content) == 0;
	}
	salvage_rows_free(rows, n);
	return found;
}
