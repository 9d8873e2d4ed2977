/* Staging into a real tree: what comes out is what the record says, or nothing at all. TMPDIR may
 * name a directory on a file system that can clone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/buf.h"
#include "agent/base/fault.h"
#include "agent/base/hash.h"
#include "agent/sync/delta.h"
#include "agent/sync/stage.h"
#include "tests/unit/sync/delta_help.h"

#define MiB (1024 * 1024)
#define MTIME_NS 1500000000123456789ll

static char dir[256];
static struct tree *tree;
static struct stage_env env;
static const struct root *root;

static int make_tree(void **state)
{
	struct err err = {0};
	const char *where = getenv("TMPDIR");
	snprintf(dir, sizeof(dir), "%s/stage-XXXXXX", where ? where : "/tmp");
	if (!mkdtemp(dir) || tree_prepare(dir, NULL, 0, &err) < 0 ||
	    tree_open(&tree, dir, NULL, 0, NULL, &err) < 0) {
		fprintf(stderr, "%s: %s\n", dir, err.msg);
		return -1;
	}
	root = &tree->roots[0];
	env = (struct stage_env){.tree = tree};
	print_message("can clone: %d\n", root->can_clone);
	return 0;
}

static int remove_tree(void **state)
{
	char command[300];
	tree_free(tree);
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	return system(command);
}

static void in_tree(const char *path, const uint8_t *bytes, size_t len)
{
	AUTO_CLOSE int top = open(dir, O_RDONLY | O_DIRECTORY);
	AUTO_CLOSE int fd = openat(top, path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	assert_true(fd >= 0);
	for (size_t at = 0; at < len;) {
		ssize_t n = write(fd, bytes + at, len - at);
		assert_true(n > 0);
		at += (size_t)n;
	}
}

static unsigned objects_in_stage(void)
{
	unsigned n = 0;
	DIR *stage = fdopendir(openat(root->stage_fd, ".", O_RDONLY | O_DIRECTORY));
	while (readdir(stage))
		n++;
	closedir(stage);
	return n - 2;
}

static struct record file_record(const char *path, const uint8_t *bytes, size_t len)
{
	struct record record = {
		.path = path, .kind = RECORD_FILE, .mode = 0640, .mtime_ns = MTIME_NS, .size = len};
	hash_bytes(record.hash, bytes, len);
	return record;
}

static void assert_staged(const struct staged *staged, const uint8_t *bytes, size_t len,
			  struct stat *st)
{
	AUTO_FREE uint8_t *found = x_calloc(1, len + 1);
	AUTO_CLOSE int fd = openat(root->stage_fd, staged->temp, O_RDONLY);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, st), 0);
	assert_int_equal(st->st_size, len);
	assert_int_equal(st->st_ino, staged->stat.ino);
	assert_int_equal(st->st_mode, S_IFREG | 0640);
	assert_int_equal(st->st_mtim.tv_sec * 1000000000ll + st->st_mtim.tv_nsec, MTIME_NS);
	assert_int_equal(read(fd, found, len + 1), len);
	assert_memory_equal(found, bytes, len);
	assert_int_equal(unlinkat(root->stage_fd, staged->temp, 0), 0);
	assert_int_equal(objects_in_stage(), 0);
}

static void bytes_become_a_file(void **state)
{
	static const size_t sizes[] = {0, 1, 4096, 70000, 256 * 1024};
	struct random rng = random_new("bytes");
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		struct staged staged = {0};
		struct err err = {0};
		struct stat st;
		AUTO_FREE uint8_t *bytes = random_bytes(&rng, sizes[i]);
		struct record record = file_record("dir/file", bytes, sizes[i]);
		assert_int_equal(stage_bytes(&staged, &env, &record, bytes, sizes[i], &err), 0);
		assert_staged(&staged, bytes, sizes[i], &st);
	}
}

static void other_bytes_become_nothing(void **state)
{
	struct staged staged = {0};
	struct err err = {0};
	uint8_t bytes[10] = "0123456789";
	struct record record = file_record("f", bytes, 10);
	assert_int_equal(stage_bytes(&staged, &env, &record, bytes, 9, &err), -EBADMSG);
	bytes[3] ^= 1;
	assert_int_equal(stage_bytes(&staged, &env, &record, bytes, 10, &err), -EBADMSG);
	assert_string_equal(staged.temp, "");
	assert_int_equal(objects_in_stage(), 0);
}

/* Feeds `bytes` in random pieces. @return the first failure, or that of finish */
static int stream(struct staged *out, const struct record *record, const uint8_t *basis,
		  const uint8_t *bytes, size_t len, struct random *rng)
{
	struct stage_stream *s = NULL;
	struct err err = {0};
	int r = stage_stream_open(&s, &env, record, basis, &err);
	if (r < 0) {
		assert_null(s);
		return r;
	}
	for (size_t at = 0; r == 0 && at < len;) {
		size_t n = 1 + random_below(rng, random_below(rng, 2) ? 100000 : 5000);
		n = n < len - at ? n : len - at;
		r = stage_stream_write(s, bytes + at, n, &err);
		at += n;
	}
	if (r == 0)
		r = stage_stream_finish(out, s, &err);
	assert_true(r == 0 || err.code != 0);
	stage_stream_free(s);
	return r;
}

static void whole_stream_becomes_a_file(void **state)
{
	struct random rng = random_new("whole");
	AUTO_FREE uint8_t *bytes = random_bytes(&rng, MiB);
	struct record record = file_record("f", bytes, MiB);
	struct staged staged = {0};
	struct stat st;
	assert_int_equal(stream(&staged, &record, NULL, bytes, MiB, &rng), 0);
	assert_staged(&staged, bytes, MiB, &st);
	assert_int_equal(stream(&staged, &record, NULL, bytes, MiB - 1, &rng), -EBADMSG);
	assert_int_equal(stream(&staged, &record, NULL, bytes, MiB + 1, &rng), -EBADMSG);
	record.hash[0] ^= 1;
	assert_int_equal(stream(&staged, &record, NULL, bytes, MiB, &rng), -EBADMSG);
	assert_int_equal(objects_in_stage(), 0);
}

static void zeros_stay_holes(void **state)
{
	struct random rng = random_new("holes");
	size_t len = 16 * MiB;
	AUTO_FREE uint8_t *bytes = x_calloc(1, len);
	struct staged staged = {0};
	struct stat st;
	struct record record = file_record("f", bytes, len);
	assert_int_equal(stream(&staged, &record, NULL, bytes, len, &rng), 0);
	assert_staged(&staged, bytes, len, &st);
	assert_int_equal(st.st_blocks, 0);
	bytes[0] = bytes[7 * MiB] = 1;
	record = file_record("f", bytes, len);
	assert_int_equal(stream(&staged, &record, NULL, bytes, len, &rng), 0);
	assert_staged(&staged, bytes, len, &st);
	assert_true(st.st_blocks * 512 <= 256 * 1024);
	for (int round = 0; round < 30; round++) { /* runs of all lengths, at all offsets */
		len = random_below(&rng, MiB);
		for (size_t at = 0; at < len;) {
			size_t run = 1 + random_below(&rng, 150000);
			for (size_t end = at + run; at < end && at < len; at++)
				bytes[at] =
					round % 2 == 0 || run % 3 ? (uint8_t)random_next(&rng) : 0;
			run = 1 + random_below(&rng, random_below(&rng, 2) ? 200000 : 9000);
			run = run < len - at ? run : len - at;
			memset(bytes + at, 0, run);
			at += run;
		}
		record = file_record("f", bytes, len);
		assert_int_equal(stream(&staged, &record, NULL, bytes, len, &rng), 0);
		assert_staged(&staged, bytes, len, &st);
	}
}

static void delta_between(struct buf *delta, const uint8_t *basis, size_t basis_len,
			  const uint8_t *now, size_t now_len)
{
	uint8_t *sig = NULL;
	size_t sig_len;
	struct err err = {0};
	AUTO_CLOSE int from = memory_file(basis, basis_len);
	AUTO_CLOSE int to = memory_file(now, now_len);
	AUTO(delta_job) *job = NULL;
	assert_int_equal(delta_signature(&sig, &sig_len, from, basis_len, &err), 0);
	assert_int_equal(delta_job_new(&job, sig, sig_len, basis_len, to, now_len, &err), 0);
	int r;
	while ((r = delta_job_step(job, delta, 65536, &err)) == 1)
		;
	assert_int_equal(r, 0);
	free(sig);
}

static void delta_becomes_a_file(void **state)
{
	struct random rng = random_new("delta");
	for (int round = 0; round < 30; round++) {
		size_t basis_len = random_below(&rng, 2 * MiB), now_len;
		AUTO_FREE uint8_t *basis = random_bytes(&rng, basis_len);
		if (round % 3 == 0 && basis_len > 0)
			memset(basis + basis_len / 4, 0, basis_len / 2);
		AUTO_FREE uint8_t *now = random_edit(&rng, basis, basis_len, &now_len);
		struct record record = file_record("f", now, now_len);
		struct staged staged = {0};
		struct buf delta = {0};
		struct stat st;
		uint8_t hash[HASH_LEN];
		hash_bytes(hash, basis, basis_len);
		in_tree("f", basis, basis_len);
		delta_between(&delta, basis, basis_len, now, now_len);
		assert_int_equal(stream(&staged, &record, hash, delta.data, delta.len, &rng), 0);
		assert_staged(&staged, now, now_len, &st);
		/* another basis: the hash of the result tells */
		if (delta.len + 1000 < now_len && basis_len > 0) {
			for (size_t i = 0; i < basis_len; i += 100)
				basis[i] ^= 1;
			in_tree("f", basis, basis_len);
			assert_int_equal(
				stream(&staged, &record, hash, delta.data, delta.len, &rng),
				-EBADMSG);
		}
		assert_int_equal(objects_in_stage(), 0);
		buf_release(&delta);
	}
}

static void malformed_delta_becomes_nothing(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} rows[] = {
		{"rs\x02\x36\x45\x00\x0a", 7},			/* no end */
		{"rs\x02\x36\x45\x00\x0a\x00\x00", 9},		/* bytes after it */
		{"rs\x02\x36\x45\x00\x0b\x00", 8},		/* too much */
		{"rs\x02\x36\x45\x00\x09\x00", 8},		/* too little */
		{"rs\x02\x36\x45\x08\x03\x45\x00\x07\x00", 11}, /* beyond the basis */
		{"rs\x02\x36\x44\x40\x00\x00\x00\x00\x00\x00\x00", 13},
		{"", 0},
	};
	struct random rng = random_new("malformed");
	struct staged staged = {0};
	struct stat st;
	struct record record = file_record("f", (const uint8_t *)"0123456789", 10);
	in_tree("f", (const uint8_t *)"0123456789", 10);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(stream(&staged, &record, record.hash,
					(const uint8_t *)rows[i].bytes, rows[i].len, &rng),
				 -EBADMSG);
		assert_int_equal(objects_in_stage(), 0);
	}
	/* neighbouring copies, merged */
	const char *good = "rs\x02\x36\x45\x00\x03\x45\x03\x03\x45\x06\x04";
	assert_int_equal(stream(&staged, &record, record.hash, (const uint8_t *)good, 14, &rng), 0);
	assert_staged(&staged, (const uint8_t *)"0123456789", 10, &st);
}

static void without_a_basis_there_is_no_delta(void **state)
{
	struct random rng = random_new("no basis");
	struct staged staged = {0};
	AUTO_CLOSE int top = open(dir, O_RDONLY | O_DIRECTORY);
	assert_int_equal(mkfifoat(top, "fifo", 0600), 0);
	assert_int_equal(mkdirat(top, "directory", 0700), 0);
	in_tree("file", (const uint8_t *)"x", 1);
	assert_int_equal(symlinkat("file", top, "link"), 0);
	static const char *const paths[] = {"missing",	 "no/parent", "fifo",
					    "directory", "link",      "file/below"};
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		struct record record = file_record(paths[i], (const uint8_t *)"x", 1);
		assert_int_equal(stream(&staged, &record, record.hash, NULL, 0, &rng), -ENOENT);
		struct err err = {0};
		assert_int_equal(stage_ref(&staged, &env, &record, paths[i], &err), -ENOENT);
	}
	assert_int_equal(objects_in_stage(), 0);
}

static void reference_becomes_a_copy(void **state)
{
	struct random rng = random_new("reference");
	size_t len = 3 * MiB + 17;
	AUTO_FREE uint8_t *bytes = random_bytes(&rng, len);
	memset(bytes + MiB, 0, MiB);
	struct staged staged = {0};
	struct err err = {0};
	struct stat st;
	struct record record = file_record("new name", bytes, len);
	in_tree("old name", bytes, len);
	assert_int_equal(stage_ref(&staged, &env, &record, "old name", &err), 0);
	assert_staged(&staged, bytes, len, &st);
	in_tree("old name", bytes, len - 1);
	assert_int_equal(stage_ref(&staged, &env, &record, "old name", &err), -ENOENT);
	bytes[5] ^= 1;
	in_tree("old name", bytes, len);
	assert_int_equal(stage_ref(&staged, &env, &record, "old name", &err), -ENOENT);
	assert_int_equal(objects_in_stage(), 0);
}

static void link_becomes_a_link(void **state)
{
	static const char target[] = "../else\nwhere";
	char found[100];
	struct stat st;
	struct staged staged = {0};
	struct err err = {0};
	struct record record = {.path = "dir/link",
				.kind = RECORD_SYMLINK,
				.mtime_ns = MTIME_NS,
				.target = (const uint8_t *)target,
				.target_len = sizeof(target) - 1};
	assert_int_equal(stage_symlink(&staged, &env, &record, &err), 0);
	assert_int_equal(readlinkat(root->stage_fd, staged.temp, found, sizeof(found)),
			 sizeof(target) - 1);
	assert_memory_equal(found, target, sizeof(target) - 1);
	assert_int_equal(fstatat(root->stage_fd, staged.temp, &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(st.st_ino, staged.stat.ino);
	assert_int_equal(st.st_mtim.tv_sec, MTIME_NS / 1000000000);
	assert_int_equal(unlinkat(root->stage_fd, staged.temp, 0), 0);
	record.target_len = sizeof(target); /* with its NUL */
	assert_int_equal(stage_symlink(&staged, &env, &record, &err), -EBADMSG);
	record.target_len = 0;
	assert_int_equal(stage_symlink(&staged, &env, &record, &err), -EBADMSG);
	assert_int_equal(objects_in_stage(), 0);
}

static int stage_each_kind(struct staged *staged, int kind, const uint8_t *bytes, size_t len)
{
	struct err err = {0};
	struct random rng = {1};
	struct record record = file_record("f", bytes, len);
	struct record link = {.path = "l",
			      .kind = RECORD_SYMLINK,
			      .target = (const uint8_t *)"t",
			      .target_len = 1};
	const char *copy = "rs\x02\x36\x4b\x00\x00\x00\x06\x00\x00\x00"; /* COPY(0, 0x60000) */
	switch (kind) {
	case 0: return stage_bytes(staged, &env, &record, bytes, len, &err);
	case 1: return stream(staged, &record, NULL, bytes, len, &rng);
	case 2: return stage_ref(staged, &env, &record, "f", &err);
	case 3: return stage_symlink(staged, &env, &link, &err);
	default: return stream(staged, &record, record.hash, (const uint8_t *)copy, 12, &rng);
	}
}

static void failures_leave_nothing(void **state)
{
	size_t len = 0x60000;
	struct random rng = random_new("failures");
	AUTO_FREE uint8_t *bytes = random_bytes(&rng, len);
	memset(bytes + 100000, 0, 100000);
	in_tree("f", bytes, len);
	for (int kind = 0; kind < 5; kind++) {
		for (long nth = 1;; nth++) {
			struct fault fault = {.nth = nth, .err = ENOSPC};
			struct staged staged = {0};
			fault_arm(&fault);
			int r = stage_each_kind(&staged, kind, bytes, len);
			fault_disarm();
			assert_int_equal(r, fault.fired ? -ENOSPC : 0);
			assert_int_equal(objects_in_stage(), fault.fired ? 0 : 1);
			if (!fault.fired) {
				assert_true(nth > 2);
				assert_int_equal(unlinkat(root->stage_fd, staged.temp, 0), 0);
				break;
			}
		}
	}
}

static void abandoned_stream_leaves_nothing(void **state)
{
	struct stage_stream *s = NULL;
	struct err err = {0};
	struct record record = file_record("f", (const uint8_t *)"abc", 3);
	assert_int_equal(stage_stream_open(&s, &env, &record, NULL, &err), 0);
	assert_int_equal(objects_in_stage(), 1);
	assert_int_equal(stage_stream_write(s, "ab", 2, &err), 0);
	stage_stream_free(s);
	assert_int_equal(objects_in_stage(), 0);
}

static void no_byte_too_many_is_written(void **state)
{
	static const char copies[] = "rs\x02\x36\x45\x00\x02\x45\x00\x02";
	for (int delta = 0; delta < 2; delta++) {
		struct stage_stream *s = NULL;
		struct err err = {0};
		struct record record = file_record("f", (const uint8_t *)"abc", 3);
		in_tree("f", (const uint8_t *)"abc", 3);
		assert_int_equal(
			stage_stream_open(&s, &env, &record, delta ? record.hash : NULL, &err), 0);
		assert_int_equal(delta ? stage_stream_write(s, copies, sizeof(copies) - 1, &err)
				       : stage_stream_write(s, "abcd", 4, &err),
				 -EBADMSG);
		stage_stream_free(s);
		assert_int_equal(objects_in_stage(), 0);
	}
}

static void unhealthy_root_takes_nothing(void **state)
{
	struct err err = {0};
	struct staged staged = {0};
	struct record record = file_record("f", (const uint8_t *)"abc", 3);
	tree->roots[0].healthy = false;
	assert_int_equal(stage_bytes(&staged, &env, &record, "abc", 3, &err), -ESTALE);
	assert_int_equal(stage_clean(tree, NULL, NULL, &err), 0);
	tree->roots[0].healthy = true;
}

static bool is_kept(const char *temp, void *arg)
{
	return strcmp(temp, arg) == 0;
}

static void cleaning_spares_what_is_claimed(void **state)
{
	struct err err = {0};
	struct staged staged[50];
	struct stat st;
	struct record record = file_record("f", (const uint8_t *)"abc", 3);
	for (int i = 0; i < 50; i++)
		assert_int_equal(stage_bytes(&staged[i], &env, &record, "abc", 3, &err), 0);
	assert_int_equal(mkdirat(root->stage_fd, "t-dir", 0700), 0);
	assert_int_equal(mkdirat(root->stage_fd, "t-dir/below", 0700), 0);
	assert_int_equal(stage_clean(tree, is_kept, staged[7].temp, &err), 0);
	assert_int_equal(objects_in_stage(), 1);
	assert_int_equal(fstatat(root->stage_fd, staged[7].temp, &st, 0), 0);
	assert_int_equal(stage_clean(tree, NULL, NULL, &err), 0);
	assert_int_equal(objects_in_stage(), 0);
}

int main(void)
{
	delta_init();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_become_a_file),
		cmocka_unit_test(other_bytes_become_nothing),
		cmocka_unit_test(whole_stream_becomes_a_file),
		cmocka_unit_test(zeros_stay_holes),
		cmocka_unit_test(delta_becomes_a_file),
		cmocka_unit_test(malformed_delta_becomes_nothing),
		cmocka_unit_test(without_a_basis_there_is_no_delta),
		cmocka_unit_test(reference_becomes_a_copy),
		cmocka_unit_test(link_becomes_a_link),
		cmocka_unit_test(failures_leave_nothing),
		cmocka_unit_test(abandoned_stream_leaves_nothing),
		cmocka_unit_test(no_byte_too_many_is_written),
		cmocka_unit_test(unhealthy_root_takes_nothing),
		cmocka_unit_test(cleaning_spares_what_is_claimed),
	};
	return cmocka_run_group_tests(tests, make_tree, remove_tree);
}
