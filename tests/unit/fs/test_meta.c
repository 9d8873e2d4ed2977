/* Metadata: what is taken from stat, how attributes are encoded, that all of it comes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/acl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <cmocka.h>

#include "agent/fs/meta.h"
#include "tests/unit/fs/scratch.h"

static const struct meta_policy plain = {.ownership = OWNERSHIP_IGNORE};

static int enter(void **state)
{
	*state = scratch_enter();
	return 0;
}

static int leave(void **state)
{
	scratch_leave(*state);
	return 0;
}

static struct record record_of(const char *path, const struct meta_policy *policy)
{
	struct stat st;
	struct record record = {0};
	assert_int_equal(lstat(path, &st), 0);
	assert_int_equal(meta_to_record(&record, &st, policy), 0);
	return record;
}

static void stat_becomes_a_record(void **state)
{
	struct meta_policy setid = {.allow_setid = true};
	put_file("f", "12345");
	assert_int_equal(chmod("f", 06751), 0);
	struct record r = record_of("f", &plain);
	assert_int_equal(r.kind, RECORD_FILE);
	assert_int_equal(r.mode, 0751);
	assert_int_equal(r.size, 5);
	assert_int_equal(record_of("f", &setid).mode, 06751);
	make_dir("d");
	assert_int_equal(chmod("d", 01777), 0);
	r = record_of("d", &plain);
	assert_int_equal(r.kind, RECORD_DIR);
	assert_int_equal(r.mode, 01777);
	assert_int_equal(r.size, 0);
	assert_int_equal(symlink("f", "l"), 0);
	r = record_of("l", &plain);
	assert_int_equal(r.kind, RECORD_SYMLINK);
	assert_int_equal(r.mode, 0);
	assert_int_equal(r.size, 0);
	struct stat fifo = {.st_mode = S_IFIFO | 0600};
	assert_int_equal(meta_to_record(&r, &fifo, &plain), -ENOTSUP);
}

static void stats_are_compared_field_by_field(void **state)
{
	struct file_stat a = {1, 2, 3, 4, 5, S_IFREG | 0644, 7, 8, 9}, b = a;
	b.nlink = 2;
	assert_true(file_stat_equal(&a, &b));
	b.ctime_ns++;
	assert_false(file_stat_equal(&a, &b));
	assert_true(file_stat_equal_moved(&a, &b));
	b = a, b.mtime_ns++;
	assert_false(file_stat_equal_moved(&a, &b));
	b = a, b.gid++;
	assert_false(file_stat_equal_moved(&a, &b));
	b = a, b.mode ^= 1;
	assert_false(file_stat_equal_moved(&a, &b));
}

static void times_keep_their_nanoseconds(void **state)
{
	static const int64_t times[] = {0, 1, -1, -1000000000, 1234567890123456789, -1500000001};
	for (size_t i = 0; i < ARRAY_LEN(times); i++) {
		struct timespec ts = meta_timespec(times[i]);
		assert_in_range(ts.tv_nsec, 0, 999999999);
		assert_int_equal(meta_ns(&ts), times[i]);
	}
}

static struct buf read_back(const char *path)
{
	struct buf out = {0};
	AUTO_CLOSE int fd = open(path, O_RDONLY);
	assert_int_equal(meta_read_xattrs(&out, fd, NULL), 0);
	assert_int_equal(meta_check_xattrs(out.data, (uint32_t)out.len), 0);
	return out;
}

static int apply(const char *path, const struct record *record, const struct meta_policy *policy)
{
	struct err err = {0};
	AUTO_CLOSE int fd = open(path, O_RDONLY);
	return meta_apply(fd, record, record->mtime_ns, policy, &err);
}

static void give_acl(const char *path, const char *text, acl_type_t type)
{
	acl_t acl = acl_from_text(text);
	assert_non_null(acl);
	assert_int_equal(acl_set_file(path, type, acl), 0);
	acl_free(acl);
}

static void everything_survives_the_round_trip(void **state)
{
	put_file("a", "x");
	put_file("b", "x");
	if (setxattr("a", "user.zebra", "stripes", 7, 0) < 0)
		skip();
	assert_int_equal(setxattr("a", "user.empty", "", 0, 0), 0);
	assert_int_equal(setxattr("b", "user.stranger", "1", 1, 0), 0);
	assert_int_equal(setxattr("b", "user.zebra", "none", 4, 0), 0);
	assert_int_equal(setxattr("a", "trusted.other", "no", 2, 0), 0);
	give_acl("a", "u::rw-,u:4711:r--,g::r--,m::rw-,o::---", ACL_TYPE_ACCESS);
	struct record record = record_of("a", &plain);
	struct buf want = read_back("a");
	record.xattrs = want.data;
	record.xattrs_len = (uint32_t)want.len;
	record.mtime_ns = 1234567890123456789;
	record.mode = 0460;
	assert_int_equal(apply("b", &record, &plain), 0);
	struct file_stat st = stat_of("b");
	assert_int_equal(st.mode & 07777, 0460);
	assert_true(st.mtime_ns == 1234567890123456789);
	struct buf have = read_back("b");
	char value[16];
	assert_int_equal(getxattr("b", "user.zebra", value, sizeof(value)), 7);
	assert_int_equal(getxattr("b", "user.empty", value, sizeof(value)), 0);
	assert_int_equal(getxattr("b", "user.stranger", value, sizeof(value)), -1);
	assert_int_equal(getxattr("b", "trusted.other", value, sizeof(value)), -1);
	/* The mask is the group's bits, which the record's mode changed: 0460 gives m::rw- again.
	 */
	assert_int_equal(have.len, want.len);
	buf_release(&have);
	record.xattrs_len = 0;
	record.mode = 0600;
	assert_int_equal(apply("b", &record, &plain), 0);
	have = read_back("b");
	assert_int_equal(have.len, 0);
	assert_int_equal(stat_of("b").mode & 07777, 0600);
	buf_release(&have);
	buf_release(&want);
}

static void a_default_acl_belongs_to_a_directory(void **state)
{
	make_dir("a");
	make_dir("b");
	if (setxattr("a", "user.x", "1", 1, 0) < 0)
		skip();
	give_acl("a", "u::rwx,u:4711:rwx,g::r-x,m::rwx,o::---", ACL_TYPE_DEFAULT);
	struct record record = record_of("a", &plain);
	struct buf want = read_back("a");
	record.xattrs = want.data;
	record.xattrs_len = (uint32_t)want.len;
	assert_int_equal(apply("b", &record, &plain), 0);
	struct buf have = read_back("b");
	assert_int_equal(have.len, want.len);
	assert_memory_equal(have.data, want.data, want.len);
	buf_release(&have);
	buf_release(&want);
}

static void attributes_are_sorted_and_bounded(void **state)
{
	static uint8_t big[3800];
	struct buf out = {0};
	struct err err = {0};
	put_file("f", "x");
	if (setxattr("f", "user.b", "2", 1, 0) < 0)
		skip();
	assert_int_equal(setxattr("f", "user.a", "1", 1, 0), 0);
	struct buf have = read_back("f");
	static const char want[] = "\0\6user.a\0\0\0\1"
				   "1\0\6user.b\0\0\0\1"
				   "2";
	assert_int_equal(have.len, sizeof(want) - 1);
	assert_memory_equal(have.data, want, have.len);
	buf_release(&have);
	/* More than a record may carry, on a file system that takes it: tmpfs in recent kernels. */
	AUTO_CLOSE int fd = open("/dev/shm", O_TMPFILE | O_RDWR, 0600);
	char name[] = "user.00";
	int set = 0;
	for (int i = 0; fd >= 0 && i < 20; i++) {
		name[5] = (char)('0' + i / 10);
		name[6] = (char)('0' + i % 10);
		set += fsetxattr(fd, name, big, sizeof(big), 0) == 0;
	}
	if (set == 20)
		assert_int_equal(meta_read_xattrs(&out, fd, &err), -E2BIG);
	buf_release(&out);
}

static void only_the_canonical_encoding_passes(void **state)
{
#define CHECK_XATTRS(bytes) meta_check_xattrs((const uint8_t *)(bytes), sizeof(bytes) - 1)
	assert_int_equal(meta_check_xattrs(NULL, 0), 0);
	assert_int_equal(CHECK_XATTRS("\0\6user.a\0\0\0\1"
				      "1\0\6user.b\0\0\0\0"),
			 0);
	assert_int_equal(CHECK_XATTRS("\0\6user.b\0\0\0\0\0\6user.a\0\0\0\0"), -EBADMSG);
	assert_int_equal(CHECK_XATTRS("\0\6user.a\0\0\0\0\0\6user.a\0\0\0\0"), -EBADMSG);
	assert_int_equal(CHECK_XATTRS("\0\5user.\0\0\0\0"), -EBADMSG);
	assert_int_equal(CHECK_XATTRS("\0\7user.a\0\0\0\0\0"), -EBADMSG);
	assert_int_equal(CHECK_XATTRS("\0\x09trusted.a\0\0\0\0"), -EBADMSG);
	assert_int_equal(CHECK_XATTRS("\0\x13security.capability\0\0\0\0"), -EBADMSG);
	assert_int_equal(CHECK_XATTRS("\0\6user.a\0\0\0\2"
				      "1"),
			 -EBADMSG);
	assert_int_equal(CHECK_XATTRS("\0\6user.a\xff\xff\xff\xff"
				      "1"),
			 -EBADMSG);
	/* Every truncation of a good one is bad, save where an attribute ends. */
	static const uint8_t good[] = "\0\6user.a\0\0\0\1"
				      "1\0\6user.b\0\0\0\0";
	for (uint32_t len = 1; len < sizeof(good) - 1; len++)
		assert_int_equal(meta_check_xattrs(good, len), len == 13 ? 0 : -EBADMSG);
	AUTO_FREE uint8_t *large = calloc(1, RECORD_XATTRS_MAX + 1);
	assert_int_equal(meta_check_xattrs(large, RECORD_XATTRS_MAX + 1), -EBADMSG);
}

static void owners_follow_the_policy(void **state)
{
	if (geteuid() != 0)
		skip();
	put_file("f", "x");
	struct record record = record_of("f", &plain);
	record.uid = 4711, record.gid = 4712;
	assert_int_equal(apply("f", &record, &plain), 0);
	assert_int_equal(stat_of("f").uid, 0);
	struct meta_policy fixed = {.ownership = OWNERSHIP_FIXED, .uid = 12, .gid = 13};
	assert_int_equal(apply("f", &record, &fixed), 0);
	assert_int_equal(stat_of("f").uid, 12);
	assert_int_equal(stat_of("f").gid, 13);
	struct meta_policy keep = {.ownership = OWNERSHIP_PRESERVE, .allow_setid = true};
	record.mode = 04755;
	assert_int_equal(apply("f", &record, &keep), 0);
	assert_int_equal(stat_of("f").uid, 4711);
	assert_int_equal(stat_of("f").gid, 4712);
	assert_int_equal(stat_of("f").mode & 07777, 04755); /* chown clears it: set afterwards */
}

static void a_link_has_owner_and_time_of_its_own(void **state)
{
	struct err err = {0};
	put_file("f", "x");
	struct file_stat target = stat_of("f");
	assert_int_equal(symlink("f", "l"), 0);
	struct record record = record_of("l", &plain);
	record.mtime_ns = 987654321000000001;
	AUTO_CLOSE int dir = open(".", O_RDONLY | O_DIRECTORY);
	assert_int_equal(meta_apply_symlink(dir, "l", &record, &plain, &err), 0);
	assert_true(stat_of("l").mtime_ns == 987654321000000001);
	struct file_stat after = stat_of("f");
	assert_true(file_stat_equal(&target, &after));
}

static void a_directory_without_time_keeps_its_own(void **state)
{
	make_dir("d");
	struct record record = record_of("d", &plain);
	struct file_stat before = stat_of("d");
	record.mtime_ns = RECORD_NO_MTIME;
	assert_int_equal(apply("d", &record, &plain), 0);
	assert_true(stat_of("d").mtime_ns == before.mtime_ns);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(stat_becomes_a_record, enter, leave),
		cmocka_unit_test(stats_are_compared_field_by_field),
		cmocka_unit_test(times_keep_their_nanoseconds),
		cmocka_unit_test_setup_teardown(everything_survives_the_round_trip, enter, leave),
		cmocka_unit_test_setup_teardown(a_default_acl_belongs_to_a_directory, enter, leave),
		cmocka_unit_test_setup_teardown(attributes_are_sorted_and_bounded, enter, leave),
		cmocka_unit_test(only_the_canonical_encoding_passes),
		cmocka_unit_test_setup_teardown(owners_follow_the_policy, enter, leave),
		cmocka_unit_test_setup_teardown(a_link_has_owner_and_time_of_its_own, enter, leave),
		cmocka_unit_test_setup_teardown(a_directory_without_time_keeps_its_own, enter,
						leave),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
