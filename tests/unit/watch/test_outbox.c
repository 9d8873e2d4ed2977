/* What is told when the agent does not listen: once per path, in order around fences, bounded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/watch/child/outbox.h"

struct fixture {
	struct outbox box;
	int fds[2];
	struct buf received;
	struct watch_record record;
};

static int set_up(void **state)
{
	struct fixture *f = x_calloc(1, sizeof(*f));
	assert_int_equal(pipe2(f->fds, O_NONBLOCK | O_CLOEXEC), 0);
	signal(SIGPIPE, SIG_IGN);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	outbox_release(&f->box);
	buf_release(&f->received);
	close(f->fds[0]);
	close(f->fds[1]);
	free(f);
	return 0;
}

/* Pumps until nothing comes any more, as if it was `now`. */
static void pump(struct fixture *f, uint64_t now)
{
	for (;;) {
		char bytes[8192];
		assert_int_equal(outbox_pump(&f->box, f->fds[1], now), 0);
		ssize_t n = read(f->fds[0], bytes, sizeof(bytes));
		if (n <= 0)
			return;
		buf_append(&f->received, bytes, (size_t)n);
	}
}

static void next_is(struct fixture *f, enum watch_record_type type, const char *path)
{
	long n = watch_pipe_get(&f->record, f->received.data, f->received.len);
	assert_true(n > 0);
	assert_int_equal(f->record.type, type);
	assert_string_equal(f->record.path, path);
	buf_consume(&f->received, (size_t)n);
}

static void next_is_none(struct fixture *f)
{
	assert_int_equal(f->received.len, 0);
}

static void a_path_waits_once_with_its_latest_hint(void **state)
{
	struct fixture *f = *state;
	outbox_changed(&f->box, 0, "a", WATCH_SETTLED);
	outbox_changed(&f->box, 0, "b", WATCH_OPEN);
	outbox_changed(&f->box, 0, "a", WATCH_OPEN);
	outbox_changed(&f->box, 0, "b", WATCH_SETTLED);
	pump(f, 1000);
	next_is(f, WATCH_CHANGED, "a");
	assert_int_equal(f->record.hint, WATCH_OPEN);
	next_is(f, WATCH_CHANGED, "b");
	assert_int_equal(f->record.hint, WATCH_SETTLED);
	next_is_none(f);
}

static void a_busy_path_rests(void **state)
{
	struct fixture *f = *state;
	outbox_changed(&f->box, 0, "a", WATCH_OPEN);
	pump(f, 1000);
	next_is(f, WATCH_CHANGED, "a");
	assert_true(outbox_next_due(&f->box) == UINT64_MAX);
	outbox_changed(&f->box, 0, "a", WATCH_OPEN);
	pump(f, 1000 + OUTBOX_REST_MS - 1);
	next_is_none(f);
	assert_int_equal(outbox_next_due(&f->box), 1000 + OUTBOX_REST_MS);
	pump(f, 1000 + OUTBOX_REST_MS);
	next_is(f, WATCH_CHANGED, "a");
	outbox_changed(&f->box, 0, "a", WATCH_SETTLED); /* closed: never waits */
	pump(f, 1000 + OUTBOX_REST_MS);
	next_is(f, WATCH_CHANGED, "a");
	assert_int_equal(f->record.hint, WATCH_SETTLED);
	pump(f, 5000);
	next_is_none(f);
}

static void a_fence_stays_behind_what_came_before(void **state)
{
	struct fixture *f = *state;
	outbox_changed(&f->box, 0, "busy", WATCH_OPEN);
	pump(f, 1000);
	next_is(f, WATCH_CHANGED, "busy");
	outbox_changed(&f->box, 0, "busy", WATCH_OPEN); /* resting */
	outbox_changed(&f->box, 0, "a", WATCH_SETTLED);
	outbox_fence(&f->box, 7, true);
	outbox_changed(&f->box, 0, "b", WATCH_SETTLED);
	outbox_changed(&f->box, 0, "a", WATCH_SETTLED); /* keeps its earlier place */
	outbox_subtree(&f->box, 0, "a", "why");
	pump(f, 1001);
	next_is(f, WATCH_SUBTREE, "a");
	next_is(f, WATCH_CHANGED, "busy");
	next_is(f, WATCH_FENCE, "");
	assert_int_equal(f->record.nonce, 7);
	assert_true(f->record.complete);
	next_is(f, WATCH_CHANGED, "b");
	next_is_none(f);
}

static void too_many_paths_become_the_whole_tree_before_any_fence(void **state)
{
	struct fixture *f = *state;
	char name[32];
	outbox_changed(&f->box, 0, "first", WATCH_SETTLED);
	outbox_fence(&f->box, 1, true);
	for (int i = 0; i < OUTBOX_PATHS + 1000; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		outbox_changed(&f->box, 0, name, WATCH_OPEN);
	}
	outbox_subtree(&f->box, 0, "x", "covered");
	outbox_suspect(&f->box, 3);
	outbox_suspect(&f->box, 3);
	pump(f, 1000);
	next_is(f, WATCH_SUBTREE, "");
	next_is(f, WATCH_FENCE, "");
	next_is(f, WATCH_ROOT_SUSPECT, "");
	assert_int_equal(f->record.root, 3);
	next_is_none(f);
	outbox_changed(&f->box, 0, "later", WATCH_SETTLED); /* no longer covered */
	pump(f, 1000);
	next_is(f, WATCH_CHANGED, "later");
}

static void a_full_pipe_does_not_block(void **state)
{
	struct fixture *f = *state;
	char name[64];
	for (int i = 0; i < 20000; i++) {
		snprintf(name, sizeof(name), "some/directory/with/a/file%d", i);
		outbox_changed(&f->box, 0, name, WATCH_SETTLED);
	}
	assert_int_equal(outbox_pump(&f->box, f->fds[1], 1000), 0);
	assert_true(outbox_is_waiting(&f->box));
	assert_true(f->box.encoded.len <=
		    OUTBOX_ENCODED_MAX + WATCH_HEADER_LEN + WATCH_PAYLOAD_MAX);
	pump(f, 1000);
	assert_false(outbox_is_waiting(&f->box));
	for (int i = 0; i < 20000; i++) {
		snprintf(name, sizeof(name), "some/directory/with/a/file%d", i);
		next_is(f, WATCH_CHANGED, name);
	}
	next_is_none(f);
}

static void the_last_counts_count(void **state)
{
	struct fixture *f = *state;
	outbox_counts(&f->box, 1, 1, 0, "");
	outbox_counts(&f->box, 5, 4, 2, "limit");
	outbox_ready(&f->box);
	pump(f, 1000);
	next_is(f, WATCH_COUNTS, "");
	assert_int_equal(f->record.directories, 5);
	assert_string_equal(f->record.text, "limit");
	next_is(f, WATCH_READY, "");
	next_is_none(f);
}

static void a_closed_pipe_is_an_error(void **state)
{
	struct fixture *f = *state;
	close(f->fds[0]);
	f->fds[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	outbox_ready(&f->box);
	assert_int_equal(outbox_pump(&f->box, f->fds[1], 1000), -EPIPE);
}

#define WITH_BOX(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_BOX(a_path_waits_once_with_its_latest_hint),
		WITH_BOX(a_busy_path_rests),
		WITH_BOX(a_fence_stays_behind_what_came_before),
		WITH_BOX(too_many_paths_become_the_whole_tree_before_any_fence),
		WITH_BOX(a_full_pipe_does_not_block),
		WITH_BOX(the_last_counts_count),
		WITH_BOX(a_closed_pipe_is_an_error),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
