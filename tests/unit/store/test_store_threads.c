/* Everybody at once: one captures, one acknowledges, one walks, one asks what is pending, one reads
 * points. Nobody may see an error, and in the end all must agree. Meant for a build with
 * -Db_sanitize=thread, too. */
#include "tests/unit/store/store_help.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#define ROUNDS 150

static struct fixture *f;
static atomic_int failures;
static atomic_bool captured_all;

static void check(int r, const struct err *err)
{
	if (r >= 0)
		return;
	atomic_fetch_add(&failures, 1);
	print_error("%d: %s\n", r, err->msg);
}

static void *capture(void *arg)
{
	struct err err = {0};
	char paths[8][32];
	for (int round = 0; round < ROUNDS; round++) {
		struct index_entry entries[8];
		struct captured items[8];
		size_t changed;
		for (size_t i = 0; i < 8; i++) {
			sprintf(paths[i], "d%zu/%d", i, round % 20);
			entries[i] = a_file(paths[i], (uint64_t)round);
			items[i] = i == 3 ? a_loss(paths[i]) : a_version(&entries[i]);
		}
		check(store_capture(f->store, items, 8, false, &changed, &err), &err);
	}
	atomic_store(&captured_all, true);
	return NULL;
}

static size_t ack_page(const char *peer)
{
	struct err err = {0};
	struct pending page[64];
	struct acked acks[64];
	size_t n;
	check(store_pending(f->store, peer, 0, page, 64, &n, &err), &err);
	for (size_t i = 0; i < n; i++)
		acks[i] = (struct acked){
			.path = page[i].path, .seq = page[i].seq, .kind = page[i].kind};
	if (n > 0)
		check(store_ack(f->store, peer, acks, n, &err), &err);
	for (size_t i = 0; i < n; i++)
		free(page[i].path);
	return n;
}

static void *acknowledge(void *peer)
{
	bool last;
	do {
		last = atomic_load(&captured_all);
	} while (ack_page(peer) > 0 || !last);
	return NULL;
}

static void *ask(void *peer)
{
	struct err err = {0};
	struct pending_summary sum;
	struct store_state state;
	while (!atomic_load(&captured_all)) {
		check(store_pending_summary(f->store, peer, &sum, &err), &err);
		store_state(f->store, &state);
		if (sum.acked_seq > state.last_seq)
			atomic_fetch_add(&failures, 1);
	}
	return NULL;
}

static void *walk(void *arg)
{
	struct err err = {0};
	const struct index_entry *e;
	while (!atomic_load(&captured_all)) {
		struct store_cursor *cursor = NULL;
		int r = store_cursor_open(&cursor, f->store, "", "", &err);
		while (r >= 0 && (r = store_cursor_next(cursor, &e, &err)) > 0)
			;
		check(r, &err);
		store_cursor_free(cursor);
	}
	return NULL;
}

static void *read_points(void *arg)
{
	struct err err = {0};
	while (!atomic_load(&captured_all)) {
		struct index_entry e;
		if (store_get(f->store, "d1/3", &e, &err) == 0)
			index_entry_release(&e);
		check(store_note(f->store, NOTE_HELD, "d1/3", "x", &err), &err);
		check(store_unnote(f->store, NOTE_HELD, "d1/3", &err), &err);
	}
	return NULL;
}

static void everybody_at_once(void **state)
{
	static char b[] = "b", c[] = "c";
	pthread_t threads[8];
	void *(*const work[])(void *) = {capture, acknowledge, acknowledge, ask,
					 ask,	  walk,	       walk,	    read_points};
	void *const args[] = {NULL, b, c, b, c, NULL, NULL, NULL};
	f = *state;
	for (size_t i = 0; i < ARRAY_LEN(work); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, work[i], args[i]), 0);
	for (size_t i = 0; i < ARRAY_LEN(work); i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(failures, 0);
	assert_digest_holds(f);
	for (int again = 0; again < 2; again++) {
		const char *const peers[] = {b, c};
		for (size_t i = 0; i < 2; i++) {
			struct pending_summary sum;
			struct store_state now;
			assert_ok(store_pending_summary(f->store, peers[i], &sum, &f->err),
				  &f->err);
			store_state(f->store, &now);
			assert_int_equal(sum.changes, 0);
			assert_int_equal(sum.bytes, 0);
			assert_int_equal(sum.acked_seq, now.last_seq);
		}
		fixture_reopen(f); /* the counts from the rows are those that were kept up */
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(everybody_at_once, fixture_active, fixture_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
