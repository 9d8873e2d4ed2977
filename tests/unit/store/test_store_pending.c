/* What a peer still needs: order, ancestors, watermark, counts, tombstones, pruning. */
#include "tests/unit/store/store_help.h"

#include <stdio.h>

#include "agent/base/fault.h"

static size_t pending_paths(struct fixture *f, const char *peer, uint64_t after, char *out,
			    uint64_t *last)
{
	struct pending page[64];
	size_t n;
	*out = '\0';
	assert_ok(store_pending(f->store, peer, after, page, ARRAY_LEN(page), &n, &f->err),
		  &f->err);
	for (size_t i = 0; i < n; i++) {
		strcat(out, i ? " " : "");
		strcat(out, *page[i].path ? page[i].path : ".");
		assert_int_equal(page[i].seq, seq_of(f, page[i].path));
		if (last)
			*last = page[i].seq;
		free(page[i].path);
	}
	return n;
}

static struct pending_summary summary(struct fixture *f, const char *peer)
{
	struct pending_summary sum;
	assert_ok(store_pending_summary(f->store, peer, &sum, &f->err), &f->err);
	return sum;
}

static void pending_comes_by_seq_in_pages(void **state)
{
	struct fixture *f = *state;
	char text[512];
	uint64_t last = 0;
	capture_dir(f, "");
	capture_dir(f, "d");
	for (int i = 0; i < 5; i++) {
		char path[16];
		sprintf(path, "d/%d", 9 - i);
		capture_file(f, path, 1);
	}
	pending_paths(f, "b", 0, text, NULL);
	assert_string_equal(text, ". d d/9 d/8 d/7 d/6 d/5");
	struct pending page[3];
	size_t n, seen = 0;
	do {
		assert_ok(store_pending(f->store, "b", last, page, 3, &n, &f->err), &f->err);
		for (size_t i = 0; i < n; i++) {
			if (i + 1 == n)
				last = page[i].seq;
			free(page[i].path);
		}
		seen += n;
	} while (n > 0);
	assert_int_equal(last, 7);
	assert_true(seen >= 7);
}

static void an_unacknowledged_ancestor_stands_first(void **state)
{
	struct fixture *f = *state;
	char text[512];
	capture_dir(f, "");
	capture_dir(f, "a");
	capture_dir(f, "a/b");
	capture_file(f, "a/b/x", 1);
	struct index_entry touched = a_dir("a/b");
	touched.rec.mode = 0700;
	capture_one(f, a_version(&touched)); /* a/b now has a seq above its child's */
	capture_file(f, "a/y", 1);
	pending_paths(f, "b", 0, text, NULL);
	assert_string_equal(text, ". a a/b a/b/x a/b a/y");
	ack_current(f, "b", "");
	ack_current(f, "b", "a");
	pending_paths(f, "b", 0, text, NULL);
	assert_string_equal(text, "a/b a/b/x a/b a/y");
	ack_current(f, "b", "a/b");
	touched.rec.mode = 0711;
	capture_one(f, a_version(&touched)); /* some version of the directory is enough */
	pending_paths(f, "b", 0, text, NULL);
	assert_string_equal(text, "a/b/x a/y a/b");
	struct pending one;
	size_t n;
	assert_int_equal(store_pending(f->store, "new", 3, &one, 1, &n, &f->err), -ENOBUFS);
	assert_int_equal(n, 0);
}

static void a_directory_the_peer_holds_as_a_file_is_an_ancestor_to_send(void **state)
{
	struct fixture *f = *state;
	char text[512];
	capture_dir(f, "");
	capture_file(f, "a", 1);
	ack_current(f, "b", "");
	ack_current(f, "b", "a");
	capture_dir(f, "a");
	capture_file(f, "a/x", 1);
	struct index_entry touched = a_dir("a");
	touched.rec.mode = 0700;
	capture_one(f, a_version(&touched));
	pending_paths(f, "b", 0, text, NULL);
	assert_string_equal(text, "a a/x a");
}

static void acknowledging_moves_the_watermark(void **state)
{
	struct fixture *f = *state;
	char path[16];
	for (int i = 0; i < 10; i++) {
		sprintf(path, "%d", i);
		capture_file(f, path, 1);
	}
	assert_int_equal(summary(f, "b").changes, 10);
	assert_int_equal(summary(f, "b").bytes, 10010);
	assert_int_equal(summary(f, "b").acked_seq, 0);
	ack_current(f, "b", "1");
	assert_int_equal(summary(f, "b").acked_seq, 0);
	assert_int_equal(summary(f, "b").changes, 9);
	ack_current(f, "b", "0");
	assert_int_equal(summary(f, "b").acked_seq, 2);
	for (int i = 3; i < 10; i++) {
		sprintf(path, "%d", i);
		ack_current(f, "b", path);
	}
	assert_int_equal(summary(f, "b").acked_seq, 2);
	capture_file(f, "2", 2); /* its old seq is no record's any longer */
	assert_int_equal(summary(f, "b").acked_seq, 10);
	assert_int_equal(summary(f, "b").changes, 1);
	ack_current(f, "b", "2");
	assert_int_equal(summary(f, "b").acked_seq, 11);
	assert_int_equal(summary(f, "b").bytes, 0);
	assert_int_equal(summary(f, "c").changes, 10);
	fixture_reopen(f);
	assert_int_equal(summary(f, "b").acked_seq, 11);
	assert_int_equal(summary(f, "b").changes, 0);
	const char *paths[] = {"4", "nothing"};
	assert_ok(store_unack(f->store, "b", paths, 2, &f->err), &f->err);
	assert_int_equal(summary(f, "b").acked_seq, 4);
	assert_int_equal(summary(f, "b").changes, 1);
	assert_ok(store_unack_all(f->store, "b", &f->err), &f->err);
	assert_int_equal(summary(f, "b").acked_seq, 0);
	assert_int_equal(summary(f, "b").changes, 10);
}

static void an_old_acknowledgement_is_only_a_basis(void **state)
{
	struct fixture *f = *state;
	char text[512];
	capture_file(f, "a", 1);
	ack_current(f, "b", "a");
	capture_file(f, "a", 2);
	struct index_entry old = a_file("a", 1);
	struct acked ack = {.path = "a", .seq = 1, .kind = RECORD_FILE, .size = 1001}, got;
	memcpy(ack.hash, old.rec.hash, HASH_LEN);
	assert_ok(store_ack(f->store, "b", &ack, 1, &f->err), &f->err);
	pending_paths(f, "b", 0, text, NULL);
	assert_string_equal(text, "a");
	assert_ok(store_acked(f->store, "b", "a", &got, &f->err), &f->err);
	assert_int_equal(got.seq, 1);
	assert_int_equal(got.size, 1001);
	assert_memory_equal(got.hash, ack.hash, HASH_LEN);
	AUTO_FREE char *path = NULL;
	assert_ok(store_acked_content(f->store, "b", ack.hash, &path, &f->err), &f->err);
	assert_string_equal(path, "a");
	ack.hash[0] ^= 1;
	assert_int_equal(store_acked_content(f->store, "b", ack.hash, &path, &f->err), -ENOENT);
	assert_int_equal(store_acked(f->store, "b", "z", &got, &f->err), -ENOENT);
	assert_int_equal(store_acked(f->store, "nobody", "a", &got, &f->err), -ENOENT);
}

static void assert_has_content(struct fixture *f, const char *of, int version, const char *expected)
{
	struct index_entry entry = a_file(of, version);
	char *path = NULL;
	int r = store_acked_content(f->store, "b", entry.rec.hash, &path, &f->err);
	if (expected) {
		assert_ok(r, &f->err);
		assert_string_equal(path, expected);
	} else {
		assert_int_equal(r, -ENOENT);
	}
	free(path);
}

/* The map of it is in memory: it knows what came before this run, and what came at once. */
static void content_is_found_after_a_restart_and_after_a_proof(void **state)
{
	struct fixture *f = *state;
	capture_file(f, "a", 1);
	capture_file(f, "b", 2);
	ack_current(f, "b", "a");
	assert_has_content(f, "a", 1, "a");
	assert_has_content(f, "b", 2, NULL);
	fixture_reopen(f);
	assert_has_content(f, "a", 1, "a");
	assert_ok(store_ack_all(f->store, "b", seq_of(f, "b"), &f->err), &f->err);
	assert_has_content(f, "b", 2, "b");
	capture_file(f, "a", 3);
	ack_current(f, "b", "a");
	assert_has_content(f, "a", 3, "a");
	assert_has_content(f, "a", 1, NULL);
	const char *paths[] = {"b"};
	assert_ok(store_unack(f->store, "b", paths, 1, &f->err), &f->err);
	assert_has_content(f, "b", 2, NULL);
}

/* Two records may carry one seq on a node that was superseded and rejoined: its own from before,
 * and the survivor's. An acknowledgement of one must not count for the other. */
static void equal_seqs_of_two_paths_are_told_apart(void **state)
{
	struct fixture *f = *state;
	struct index_entry a = a_file("a", 1), b = a_file("b", 1);
	a.rec.seq = b.rec.seq = 5;
	a.rec.epoch = 1;
	b.rec.epoch = 2;
	struct installed done[] = {{&a, false}, {&b, false}};
	assert_ok(store_journal_end(f->store, done, 2, NULL, 0, &f->err), &f->err);
	ack_current(f, "p", "a");
	char text[64];
	pending_paths(f, "p", 0, text, NULL);
	assert_string_equal(text, "b");
	assert_int_equal(summary(f, "p").acked_seq, 4);
	ack_current(f, "p", "b");
	assert_int_equal(summary(f, "p").acked_seq, 5);
}

static void a_record_installed_below_the_watermark_is_pending_again(void **state)
{
	struct fixture *f = *state;
	capture_file(f, "a", 1);
	capture_file(f, "b", 1);
	ack_current(f, "p", "a");
	ack_current(f, "p", "b");
	assert_int_equal(summary(f, "p").acked_seq, 2);
	struct index_entry late = a_file("c", 1);
	late.rec.seq = 1;
	late.rec.epoch = 2;
	struct installed done = {&late, false};
	assert_ok(store_journal_end(f->store, &done, 1, NULL, 0, &f->err), &f->err);
	assert_int_equal(summary(f, "p").acked_seq, 0);
	assert_int_equal(summary(f, "p").changes, 1);
}

static void an_equal_peer_has_everything(void **state)
{
	struct fixture *f = *state;
	char text[512];
	struct acked got;
	capture_dir(f, "");
	capture_file(f, "a", 1);
	capture_file(f, "gone", 1);
	capture_loss(f, "gone");
	capture_file(f, "later", 1);
	assert_ok(store_ack_all(f->store, "b", 4, &f->err), &f->err);
	pending_paths(f, "b", 0, text, NULL);
	assert_string_equal(text, "later");
	assert_int_equal(summary(f, "b").changes, 1);
	assert_int_equal(summary(f, "b").acked_seq, 4);
	assert_ok(store_acked(f->store, "b", "gone", &got, &f->err), &f->err);
	assert_int_equal(got.kind, RECORD_ABSENT);
	assert_int_equal(got.size, 0);
	struct index_entry a = a_file("a", 1);
	assert_ok(store_acked(f->store, "b", "a", &got, &f->err), &f->err);
	assert_memory_equal(got.hash, a.rec.hash, HASH_LEN);
}

static void a_peer_whose_first_word_failed_is_no_peer(void **state)
{
	struct fixture *f = *state;
	struct fault fault = {.nth = 2, .err = EIO};
	struct acked ack = {.path = "a", .seq = 1, .kind = RECORD_DIR}, got;
	capture_dir(f, "a");
	fault_arm(&fault);
	assert_int_equal(store_ack(f->store, "lost", &ack, 1, &f->err), -EIO);
	fault_disarm();
	assert_ok(store_ack(f->store, "b", &ack, 1, &f->err), &f->err);
	assert_int_equal(store_acked(f->store, "lost", "a", &got, &f->err), -ENOENT);
	assert_int_equal(summary(f, "lost").changes, 1);
	ack_current(f, "lost", "a");
	assert_int_equal(summary(f, "lost").changes, 0);
	assert_int_equal(summary(f, "b").changes, 0);
}

static void deletions_are_pending_until_acknowledged_then_pruned(void **state)
{
	struct fixture *f = *state;
	char text[512];
	size_t pruned;
	capture_dir(f, "d");
	capture_file(f, "d/x", 1);
	ack_current(f, "b", "d");
	ack_current(f, "b", "d/x");
	capture_loss(f, "d");
	pending_paths(f, "b", 0, text, NULL);
	assert_string_equal(text, "d/x d");
	assert_int_equal(summary(f, "b").bytes, 0);
	const char *peers[] = {"b", "c"};
	ack_current(f, "b", "d/x");
	assert_ok(store_prune_tombstones(f->store, peers, 2, 1000, &pruned, &f->err), &f->err);
	assert_int_equal(pruned, 0);
	assert_ok(store_prune_tombstones(f->store, peers, 1, 1000, &pruned, &f->err), &f->err);
	assert_int_equal(pruned, 1);
	assert_int_equal(kind_of(f, "d/x"), 0);
	assert_int_equal(kind_of(f, "d"), RECORD_ABSENT);
	struct acked acked;
	assert_int_equal(store_acked(f->store, "b", "d/x", &acked, &f->err), -ENOENT);
	assert_ok(store_prune_tombstones(f->store, peers, 2, 0, &pruned, &f->err), &f->err);
	assert_int_equal(pruned, 1);
	assert_int_equal(summary(f, "b").changes, 0);
	assert_int_equal(summary(f, "b").acked_seq, 4);
}

static void many_tombstones_are_pruned_in_chunks(void **state)
{
	struct fixture *f = *state;
	char paths[1300][8];
	struct index_entry entries[1300];
	struct captured items[1300];
	size_t changed, pruned;
	for (size_t i = 0; i < 1300; i++) {
		sprintf(paths[i], "d/%zu", i);
		entries[i] = a_file(paths[i], i);
		items[i] = a_version(&entries[i]);
	}
	capture_dir(f, "d");
	assert_ok(store_capture(f->store, items, 1300, false, &changed, &f->err), &f->err);
	capture_loss(f, "d");
	assert_ok(store_prune_tombstones(f->store, NULL, 0, 1000, &pruned, &f->err), &f->err);
	assert_int_equal(pruned, 1301);
}

static void an_acknowledgement_clears_the_refusal(void **state)
{
	struct fixture *f = *state;
	capture_file(f, "a", 1);
	assert_ok(store_note(f->store, NOTE_REFUSED, "a", "no room", &f->err), &f->err);
	assert_ok(store_note(f->store, NOTE_HELD, "a", "xml", &f->err), &f->err);
	ack_current(f, "b", "a");
	assert_int_equal(store_note_count(f->store, NOTE_REFUSED), 0);
	assert_int_equal(store_note_count(f->store, NOTE_HELD), 1);
}

static void set_paths(struct fixture *f, const char *set, char *out)
{
	static struct pending page[WIRE_SET_MAX + 64];
	size_t above, n;
	assert_ok(store_pending_set(f->store, "b", set, page, ARRAY_LEN(page), &above, &n, &f->err),
		  &f->err);
	*out = '\0';
	for (size_t i = 0; i < n; i++) {
		strcat(out, i == 0 ? "" : i == above ? " | " : " ");
		strcat(out, *page[i].path ? page[i].path : ".");
		free(page[i].path);
	}
}

static struct profile *profile_of(const char *one, const char *other)
{
	struct profile *profile;
	struct err err = {0};
	const char *const rules[] = {one, other};
	assert_ok(profile_new(&profile, "all", rules, 2, true, &err), &err);
	return profile;
}

static void a_set_is_what_is_pending_of_it(void **state)
{
	struct fixture *f = *state;
	char text[512];
	AUTO(profile) *sets = profile_of("+ set=s:{1} d/*.war", "+ set=s:{1} d/*/**");
	AUTO(profile) *others = profile_of("+ set=t d/a.war", "+ set=t d/b");
	capture_dir(f, "");
	capture_dir(f, "d");
	capture_file(f, "d/a.war", 1); /* before anybody said what is a set */
	assert_ok(store_use_profile(f->store, sets, &f->err), &f->err);
	capture_dir(f, "d/a");
	capture_file(f, "d/a/x", 1);
	capture_file(f, "d/b.war", 1);
	capture_file(f, "d/b", 1);
	set_paths(f, "s:a", text);
	assert_string_equal(text, ". d | d/a d/a.war d/a/x");
	ack_current(f, "b", "");
	ack_current(f, "b", "d");
	ack_current(f, "b", "d/a.war");
	set_paths(f, "s:a", text);
	assert_string_equal(text, "d/a d/a/x");
	capture_loss(f, "d/a/x");
	capture_file(f, "d/a.war", 2);
	set_paths(f, "s:a", text);
	assert_string_equal(text, "d/a d/a.war d/a/x"); /* the deletion last */
	set_paths(f, "s:none", text);
	assert_string_equal(text, "");
	char *live[4];
	size_t n;
	assert_ok(store_members(f->store, "s:a", live, 4, &n, &f->err), &f->err);
	assert_int_equal(n, 2);
	free(live[0]);
	free(live[1]);
	fixture_reopen(f);
	assert_ok(store_use_profile(f->store, others, &f->err), &f->err);
	set_paths(f, "s:a", text);
	assert_string_equal(text, "");
	set_paths(f, "t", text);
	assert_string_equal(text, "d/a.war d/b");
	assert_digest_holds(f);
}

#define ACTIVE(test) cmocka_unit_test_setup_teardown(test, fixture_active, fixture_end)

/* A peer's row may be made by the first thing that is heard of it. */
static void the_first_acknowledgement_makes_the_peer(void **state)
{
	struct fixture *f = *state;
	uint64_t n;
	const uint8_t chain[HASH_LEN] = {7};
	uint8_t got[HASH_LEN];
	capture_file(f, "a", 1);
	const struct acked ack = {.path = (char *)"a", .seq = 1, .kind = RECORD_FILE};
	const struct ack_set set = {.acks = &ack, .n = 1, .chain_n = 5, .chain = chain};
	assert_ok(store_ack_chained(f->store, "never heard of", &set, &f->err), &f->err);
	assert_ok(store_peer_chain(f->store, "never heard of", &n, got, &f->err), &f->err);
	assert_int_equal(n, 5);
	assert_memory_equal(got, chain, HASH_LEN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ACTIVE(pending_comes_by_seq_in_pages),
		ACTIVE(an_unacknowledged_ancestor_stands_first),
		ACTIVE(a_directory_the_peer_holds_as_a_file_is_an_ancestor_to_send),
		ACTIVE(acknowledging_moves_the_watermark),
		ACTIVE(an_old_acknowledgement_is_only_a_basis),
		ACTIVE(equal_seqs_of_two_paths_are_told_apart),
		ACTIVE(a_record_installed_below_the_watermark_is_pending_again),
		ACTIVE(an_equal_peer_has_everything),
		ACTIVE(a_peer_whose_first_word_failed_is_no_peer),
		ACTIVE(the_first_acknowledgement_makes_the_peer),
		ACTIVE(deletions_are_pending_until_acknowledged_then_pruned),
		ACTIVE(many_tombstones_are_pruned_in_chunks),
		ACTIVE(an_acknowledgement_clears_the_refusal),
		ACTIVE(a_set_is_what_is_pending_of_it),
		ACTIVE(content_is_found_after_a_restart_and_after_a_proof),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
