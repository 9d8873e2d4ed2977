/* Reading an indexed version: the version it says, or the news that it is another. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/hash.h"
#include "agent/sync/delta.h"
#include "agent/sync/source.h"
#include "tests/unit/sync/delta_help.h"

#define LEN 300000

static char dir[64];
static struct tree *tree;
static int top = -1;
static uint8_t *content;

static int make_tree(void **state)
{
	struct err err = {0};
	struct random rng = random_new("source");
	strcpy(dir, "/tmp/source-XXXXXX");
	if (!mkdtemp(dir) || tree_prepare(dir, NULL, 0, &err) < 0 ||
	    tree_open(&tree, dir, NULL, 0, NULL, &err) < 0)
		return -1;
	top = open(dir, O_RDONLY | O_DIRECTORY);
	content = random_bytes(&rng, LEN);
	return top < 0 ? -1 : 0;
}

static int remove_tree(void **state)
{
	char command[100];
	free(content);
	close(top);
	tree_free(tree);
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	return system(command);
}

/* A fresh file with the first `len` bytes of the content, and the entry that describes it. */
static struct index_entry indexed(const char *path, size_t len)
{
	struct index_entry entry = {.rec = {.path = path, .kind = RECORD_FILE, .size = len}};
	struct stat st;
	unlinkat(top, path, 0);
	AUTO_CLOSE int fd = openat(top, path, O_WRONLY | O_CREAT | O_EXCL, 0644);
	assert_int_equal(write(fd, content, len), len);
	assert_int_equal(fstat(fd, &st), 0);
	file_stat_from(&entry.inst, &st);
	hash_bytes(entry.rec.hash, content, len);
	return entry;
}

static void touch(const char *path)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 12345}};
	assert_int_equal(utimensat(top, path, times, 0), 0);
}

static void content_is_read_in_pieces(void **state)
{
	static const size_t pieces[] = {1000, 65536, LEN, 2 * LEN};
	struct err err = {0};
	struct index_entry entry = indexed("f", LEN);
	AUTO_FREE uint8_t *found = x_calloc(1, LEN * 2);
	for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
		AUTO(source) *source = NULL;
		assert_int_equal(source_open(&source, tree, &entry, &err), 0);
		size_t at = 0;
		int64_t n;
		while ((n = source_read(source, found + at, pieces[i], &err)) > 0)
			at += (size_t)n;
		assert_int_equal(n, 0);
		assert_int_equal(at, LEN);
		assert_memory_equal(found, content, LEN);
		assert_int_equal(source_finish(source, &err), 0);
	}
}

static void another_version_is_not_opened(void **state)
{
	struct err err = {0};
	struct source *source = NULL;
	struct index_entry entry = indexed("g", 100);
	touch("g");
	assert_int_equal(source_open(&source, tree, &entry, &err), -EAGAIN);
	entry = indexed("g", 100);
	unlinkat(top, "g", 0);
	assert_int_equal(source_open(&source, tree, &entry, &err), -EAGAIN);
	assert_int_equal(mkfifoat(top, "g", 0600), 0);
	assert_int_equal(source_open(&source, tree, &entry, &err), -EAGAIN);
	unlinkat(top, "g", 0);
	assert_int_equal(symlinkat("f", top, "g"), 0);
	assert_int_equal(source_open(&source, tree, &entry, &err), -EAGAIN);
	tree->roots[0].healthy = false;
	assert_int_equal(source_open(&source, tree, &entry, &err), -ESTALE);
	tree->roots[0].healthy = true;
	assert_null(source);
}

static void change_while_reading_is_noticed(void **state)
{
	uint8_t piece[1000];
	struct err err = {0};
	struct index_entry entry = indexed("h", LEN);
	AUTO(source) *touched = NULL;
	assert_int_equal(source_open(&touched, tree, &entry, &err), 0);
	assert_int_equal(source_read(touched, piece, sizeof(piece), &err), sizeof(piece));
	touch("h");
	assert_int_equal(source_finish(touched, &err), -EAGAIN);

	entry = indexed("h", LEN);
	AUTO(source) *cut = NULL;
	assert_int_equal(source_open(&cut, tree, &entry, &err), 0);
	assert_int_equal(source_read(cut, piece, sizeof(piece), &err), sizeof(piece));
	AUTO_CLOSE int fd = openat(top, "h", O_WRONLY);
	assert_int_equal(ftruncate(fd, 1000), 0);
	assert_int_equal(source_read(cut, piece, sizeof(piece), &err), -EAGAIN);
	assert_int_equal(source_finish(cut, &err), -EAGAIN);
}

static void small_file_is_read_at_once(void **state)
{
	struct err err = {0};
	struct buf out = {0};
	buf_append(&out, "before", 6);
	struct index_entry entry = indexed("s", 2000);
	assert_int_equal(source_small(&out, tree, &entry, 2000, &err), 0);
	assert_int_equal(out.len, 2006);
	assert_memory_equal(out.data + 6, content, 2000);
	assert_int_equal(source_small(&out, tree, &entry, 1999, &err), -EFBIG);
	entry.rec.hash[0] ^= 1; /* changed within one tick: the stat is equal */
	assert_int_equal(source_small(&out, tree, &entry, 2000, &err), -EAGAIN);
	touch("s");
	assert_int_equal(source_small(&out, tree, &entry, 2000, &err), -EAGAIN);
	assert_int_equal(out.len, 2006);
	entry = indexed("s", 0);
	assert_int_equal(source_small(&out, tree, &entry, 2000, &err), 0);
	assert_int_equal(out.len, 2006);
	buf_release(&out);
}

static void delta_and_signature_read_the_same(void **state)
{
	struct err err = {0};
	struct index_entry entry = indexed("d", LEN);
	AUTO(source) *source = NULL;
	AUTO_FREE uint8_t *sig = NULL;
	size_t sig_len;
	struct buf delta = {0};
	AUTO(delta_job) *job = NULL;
	assert_int_equal(source_open(&source, tree, &entry, &err), 0);
	assert_int_equal(source_signature(&sig, &sig_len, source, &err), 0);
	assert_int_equal(delta_signature_check(sig, sig_len, LEN), 0);
	assert_int_equal(source_delta(&job, source, sig, sig_len, LEN, &err), 0);
	int r;
	while ((r = delta_job_step(job, &delta, 65536, &err)) == 1)
		;
	assert_int_equal(r, 0);
	assert_true(delta.len < 20);
	assert_int_equal(source_finish(source, &err), 0);
	buf_release(&delta);
}

int main(void)
{
	delta_init();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(content_is_read_in_pieces),
		cmocka_unit_test(another_version_is_not_opened),
		cmocka_unit_test(change_while_reading_is_noticed),
		cmocka_unit_test(small_file_is_read_at_once),
		cmocka_unit_test(delta_and_signature_read_the_same),
	};
	return cmocka_run_group_tests(tests, make_tree, remove_tree);
}
