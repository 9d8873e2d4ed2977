/* Random schedules of a whole session: a tree that changes, outbound, a FIFO link each way,
 * inbound, and a passive that stages, commits, denies. What must hold whatever the schedule:
 *  - inbound never sees a violation: no path twice under way, no window exceeded;
 *  - a directory is removed or replaced only when nothing is beneath it;
 *  - a barrier judged clean finds exactly the tree the active had when it sent it;
 *  - after every batch each consistency set is as the active had it at some moment;
 *  - when the denials stop, every newest version is acknowledged, once. */
#include "session_world.h"

/* ---- schedules ---------------------------------------------------------------------------- */

static void step(struct world *w)
{
	switch (session_chance(w, w->calm ? 9 : 10)) {
	case 0: active_offer_pending(w); break;
	case 1: active_begin_one(w); break;
	case 2: active_go_on_with_a_stream(w); break;
	case 3:
		if (session_chance(w, 4) == 0)
			active_send_barrier(w);
		break;
	case 4: active_on_answer(w); break;
	case 5: passive_on_frame(w); break;
	case 6: passive_stage_something(w); break;
	case 7: session_chance(w, 2) ? passive_begin_commit(w) : passive_end_commit(w); break;
	case 8: passive_judge_barrier(w); break;
	default:
		for (uint32_t n = session_chance(w, 3); n > 0; n--)
			active_change_something(w);
	}
}

static void expect_all_acknowledged(const struct world *w)
{
	for (size_t i = 0; i < N_PATHS; i++) {
		if (w->tree[i].seq == 0)
			continue;
		if (w->acked[i] != w->tree[i].seq)
			fail_msg("\"%s\" is not acknowledged", session_paths[i]);
		assert_int_equal(w->times_acked[i], 1);
		assert_int_equal(w->copy[i].seq, w->tree[i].seq);
		assert_int_equal(w->copy[i].kind, w->tree[i].kind);
	}
}

static struct version history[N_HISTORY][N_PATHS];

static void run(struct world *w, uint64_t seed, size_t steps)
{
	const struct outbound_limits out = {.records = N_RECORDS,
					    .bytes = 1000,
					    .streams = N_STREAMS,
					    .pending = 10 + seed % 6, /* all sets, stale */
					    .sets = 2};
	const struct inbound_limits in = {
		.records = N_RECORDS, .streams = N_STREAMS, .batch = 4 + seed % 5, .sets = 2};
	memset(w, 0, sizeof(*w));
	w->history = history;
	active_remember(w); /* nothing at all */
	w->seed = seed;
	w->ob = outbound_new(&out);
	w->ib = inbound_new(&in);
	active_change(w, 0, DIRECTORY);
	active_remember(w);
	for (size_t i = 0; i < steps; i++)
		step(w);
	w->calm = true;
	for (size_t i = 0; i < 20000; i++)
		step(w);
	expect_all_acknowledged(w);
	assert_true(outbound_is_idle(w->ob));
	assert_int_equal(inbound_unanswered(w->ib), 0);
	outbound_free(w->ob);
	inbound_free(w->ib);
}

static void random_sessions_end_in_agreement(void **state)
{
	static struct world w;
	uint64_t seed = random_seed();
	size_t clean = 0, dropped = 0, acks = 0, needs = 0, refusals = 0, aborts = 0;
	size_t set_aborts = 0, sets = 0, left_out = 0;
	for (int i = 0; i < 60; i++) {
		uint64_t one = seed + (uint64_t)i * 0x9e3779b97f4a7c15u;
		print_message("session %llu\n", (unsigned long long)one);
		run(&w, one ? one : 1, 15000);
		clean += w.clean;
		dropped += w.dropped;
		acks += w.acks;
		needs += w.needs;
		refusals += w.refusals;
		aborts += w.aborts;
		set_aborts += w.set_aborts;
		sets += w.sets;
		left_out += w.left_out;
	}
	print_message(
		"acks %zu, needs %zu, refusals %zu, aborts %zu, barriers %zu clean, %zu dropped\n",
		acks, needs, refusals, aborts, clean, dropped);
	assert_true(acks > 1000 && needs > 100 && refusals > 100 && aborts > 100);
	print_message("sets looked at %zu times, aborted %zu, left out %zu\n", sets, set_aborts,
		      left_out);
	assert_true(sets > 1000 && set_aborts > 100);
	assert_true(clean > 100 && dropped > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_sessions_end_in_agreement),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
