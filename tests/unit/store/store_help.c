#include "tests/unit/store/store_help.h"

#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

void remove_dir(const char *dir)
{
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void assert_ok(int result, const struct err *err)
{
	if (result < 0)
		fail_msg("failed with %d: %s", result, err->msg);
}

static struct fixture *fixture_new(uint8_t role, const struct epoch_entry *epoch)
{
	struct fixture *f = x_calloc(1, sizeof(*f));
	strcpy(f->dir, "/tmp/store-test-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	const struct store_state initial = {.node = "a", .group = "g", .role = role};
	assert_ok(store_create(f->dir, &initial, epoch, &f->err), &f->err);
	assert_ok(store_open(&f->store, f->dir, &f->err), &f->err);
	return f;
}

int fixture_active(void **state)
{
	const struct epoch_entry first = {.number = 1, .id = {7}, .node = "a"};
	*state = fixture_new(WIRE_ROLE_ACTIVE, &first);
	return 0;
}

int fixture_passive(void **state)
{
	*state = fixture_new(WIRE_ROLE_PASSIVE, NULL);
	return 0;
}

int fixture_end(void **state)
{
	struct fixture *f = *state;
	store_close(f->store);
	remove_dir(f->dir);
	free(f);
	return 0;
}

void fixture_reopen(struct fixture *f)
{
	store_close(f->store);
	assert_ok(store_open(&f->store, f->dir, &f->err), &f->err);
}

static uint64_t inode_of(const char *path)
{
	uint64_t n = 1469598103934665603u;
	for (; *path; path++)
		n = (n ^ (uint8_t)*path) * 1099511628211u;
	return n;
}

struct index_entry a_file(const char *path, uint64_t version)
{
	struct index_entry e = {.rec = {.path = path, .kind = RECORD_FILE, .mode = 0644}};
	e.rec.size = 1000 + version;
	e.rec.mtime_ns = (int64_t)version * 1000;
	memcpy(e.rec.hash, &version, sizeof(version));
	e.rec.hash[31] = 1;
	e.inst = (struct file_stat){.dev = 1,
				    .ino = inode_of(path),
				    .size = e.rec.size,
				    .mtime_ns = e.rec.mtime_ns,
				    .ctime_ns = 5,
				    .mode = S_IFREG | 0644,
				    .nlink = 1};
	return e;
}

struct index_entry a_dir(const char *path)
{
	struct index_entry e = {.rec = {.path = path, .kind = RECORD_DIR, .mode = 0755}};
	e.rec.mtime_ns = 77;
	e.inst = (struct file_stat){.dev = 1, .ino = inode_of(path), .mode = S_IFDIR | 0755};
	return e;
}

struct index_entry a_link(const char *path, const char *target)
{
	struct index_entry e = {.rec = {.path = path, .kind = RECORD_SYMLINK}};
	e.rec.target = (const uint8_t *)target;
	e.rec.target_len = (uint32_t)strlen(target);
	e.inst = (struct file_stat){.dev = 1, .ino = inode_of(path), .mode = S_IFLNK | 0777};
	return e;
}

struct captured a_version(const struct index_entry *entry)
{
	return (struct captured){.kind = CAPTURED_VERSION, .entry = entry};
}

struct captured a_loss(const char *path)
{
	return (struct captured){.kind = CAPTURED_GONE, .path = path};
}

size_t capture_one(struct fixture *f, struct captured item)
{
	size_t changed;
	assert_ok(store_capture(f->store, &item, 1, false, &changed, &f->err), &f->err);
	return changed;
}

size_t capture_file(struct fixture *f, const char *path, uint64_t version)
{
	const struct index_entry e = a_file(path, version);
	return capture_one(f, a_version(&e));
}

size_t capture_dir(struct fixture *f, const char *path)
{
	const struct index_entry e = a_dir(path);
	return capture_one(f, a_version(&e));
}

size_t capture_loss(struct fixture *f, const char *path)
{
	return capture_one(f, a_loss(path));
}

void ack_current(struct fixture *f, const char *peer, const char *path)
{
	struct index_entry e;
	assert_ok(store_get(f->store, path, &e, &f->err), &f->err);
	struct acked ack = {.path = path, .seq = e.rec.seq, .kind = e.rec.kind, .size = e.rec.size};
	memcpy(ack.hash, e.rec.hash, HASH_LEN);
	assert_ok(store_ack(f->store, peer, &ack, 1, &f->err), &f->err);
	index_entry_release(&e);
}

uint64_t seq_of(struct fixture *f, const char *path)
{
	struct index_entry e = {0};
	int r = store_get(f->store, path, &e, &f->err);
	uint64_t seq = e.rec.seq;
	index_entry_release(&e);
	return r == 0 ? seq : 0;
}

enum record_kind kind_of(struct fixture *f, const char *path)
{
	struct index_entry e = {0};
	int r = store_get(f->store, path, &e, &f->err);
	enum record_kind kind = e.rec.kind;
	index_entry_release(&e);
	return r == 0 ? kind : 0;
}

void assert_digest_holds(struct fixture *f)
{
	struct store_state state;
	struct digest set = {0};
	uint64_t records = 0, files = 0, bytes = 0, foreign = 0;
	store_state(f->store, &state);
	AUTO_FREE uint8_t *element = x_calloc(1, RECORD_ELEMENT_MAX);
	uint8_t expanded[DIGEST_STATE_LEN], hash[HASH_LEN];
	AUTO(store_cursor) *cursor = NULL;
	const struct index_entry *e;
	assert_ok(store_cursor_open(&cursor, f->store, "", "", &f->err), &f->err);
	int r;
	while ((r = store_cursor_next(cursor, &e, &f->err)) > 0) {
		if (e->rec.kind == RECORD_ABSENT)
			continue;
		size_t len = record_element(element, RECORD_ELEMENT_MAX, &e->rec,
					    state.preserve_ownership);
		hash_expand(expanded, sizeof(expanded), element, len);
		digest_add(&set, expanded);
		records++;
		files += e->rec.kind == RECORD_FILE;
		bytes += e->rec.kind == RECORD_FILE ? e->rec.size : 0;
		foreign += (e->flags & ENTRY_FOREIGN) != 0;
	}
	assert_ok(r, &f->err);
	uint8_t saved[DIGEST_STATE_LEN];
	digest_save(saved, &set);
	hash_bytes(hash, saved, sizeof(saved));
	assert_memory_equal(hash, state.digest, HASH_LEN);
	assert_int_equal(records, state.records);
	assert_int_equal(files, state.files);
	assert_int_equal(bytes, state.bytes);
	assert_int_equal(foreign, state.foreign);
}
