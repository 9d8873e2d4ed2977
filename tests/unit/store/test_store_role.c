/* What is durable of roles: the machine and the epoch it begins are one transaction, whatever disk
 * call fails; refusals and the ledger's head stay. */
#include "tests/unit/store/store_help.h"

#include "agent/base/fault.h"

static struct epoch_entry epoch_of(uint64_t number, uint64_t base_seq)
{
	struct epoch_entry epoch = {.number = number, .base_seq = base_seq, .node = "b"};
	memset(epoch.id, (int)number, sizeof(epoch.id));
	return epoch;
}

static struct role_machine machine_in(enum wire_role role, uint64_t number)
{
	struct role_machine m = {.role = role,
				 .number = number,
				 .due = ROLE_ACTION_AFTER_PROMOTE,
				 .has_offer = true,
				 .offer = {.number = number, .base_seq = 77}};
	memset(m.offer.id, (int)number, sizeof(m.offer.id));
	memset(m.offer.digest, 0xd1, sizeof(m.offer.digest));
	return m;
}

static void assert_same_machine(const struct role_machine *a, const struct role_machine *b)
{
	assert_int_equal(a->role, b->role);
	assert_int_equal(a->number, b->number);
	assert_int_equal(a->due, b->due);
	assert_int_equal(a->has_offer, b->has_offer);
	assert_int_equal(a->offer.number, b->offer.number);
	assert_int_equal(a->offer.base_seq, b->offer.base_seq);
	assert_memory_equal(a->offer.id, b->offer.id, sizeof(a->offer.id));
	assert_memory_equal(a->offer.digest, b->offer.digest, sizeof(a->offer.digest));
}

static void a_machine_outlives_the_agent(void **state)
{
	struct fixture *f = *state;
	struct role_machine m;
	assert_ok(store_role(f->store, &m, &f->err), &f->err);
	assert_int_equal(m.role, WIRE_ROLE_ACTIVE);
	assert_int_equal(m.number, 1); /* the lineage's, until there is more to know */
	assert_false(m.has_offer);
	struct role_machine draining = machine_in(WIRE_ROLE_DRAINING, 4);
	assert_ok(store_set_machine(f->store, &draining, NULL, &f->err), &f->err);
	fixture_reopen(f);
	assert_ok(store_role(f->store, &m, &f->err), &f->err);
	assert_same_machine(&m, &draining);
}

static void an_epoch_begins_once(void **state)
{
	struct fixture *f = *state;
	struct role_machine m = machine_in(WIRE_ROLE_ACTIVE, 4);
	struct epoch_entry epoch = epoch_of(4, 500), *lineage;
	struct store_state now;
	size_t n;
	assert_ok(store_set_machine(f->store, &m, &epoch, &f->err), &f->err);
	assert_int_equal(store_set_machine(f->store, &m, &epoch, &f->err), -EEXIST);
	fixture_reopen(f);
	store_state(f->store, &now);
	assert_int_equal(now.last_seq, 500);
	assert_ok(store_lineage(f->store, &lineage, &n, &f->err), &f->err);
	assert_int_equal(n, 2);
	assert_int_equal(lineage[1].number, epoch.number);
	assert_int_equal(lineage[1].base_seq, epoch.base_seq);
	assert_memory_equal(lineage[1].id, epoch.id, sizeof(epoch.id));
	assert_string_equal(lineage[1].node, epoch.node);
	free(lineage);
	capture_file(f, "a", 1);
	assert_int_equal(seq_of(f, "a"), 501);
	assert_ok(store_cut_lineage(f->store, 1, &f->err), &f->err);
	assert_ok(store_lineage(f->store, &lineage, &n, &f->err), &f->err);
	assert_int_equal(n, 1);
	free(lineage);
}

static void role_and_epoch_are_one_step(void **state)
{
	struct fixture *f = *state;
	bool fired = true;
	for (long nth = 1; fired; nth++) {
		struct role_machine before, after, m = machine_in(WIRE_ROLE_ACTIVE, 10 + nth);
		struct epoch_entry epoch = epoch_of(10 + (uint64_t)nth, 0), *lineage;
		struct fault fault = {.nth = nth, .err = EIO};
		size_t n_before, n;
		assert_ok(store_role(f->store, &before, &f->err), &f->err);
		assert_ok(store_lineage(f->store, &lineage, &n_before, &f->err), &f->err);
		free(lineage);
		fault_arm(&fault);
		int r = store_set_machine(f->store, &m, &epoch, &f->err);
		fault_disarm();
		fired = fault.fired;
		fixture_reopen(f);
		assert_ok(store_role(f->store, &after, &f->err), &f->err);
		assert_ok(store_lineage(f->store, &lineage, &n, &f->err), &f->err);
		free(lineage);
		assert_int_equal(n, n_before + (r == 0));
		if (r == 0)
			assert_same_machine(&after, &m);
		else
			assert_same_machine(&after, &before);
	}
}

static void refusals_are_for_ever(void **state)
{
	struct fixture *f = *state;
	const uint8_t one[WIRE_ID_LEN] = "one", other[WIRE_ID_LEN] = "other";
	assert_int_equal(store_is_epoch_refused(f->store, one, &f->err), 0);
	assert_ok(store_refuse_epoch(f->store, one, &f->err), &f->err);
	assert_ok(store_refuse_epoch(f->store, one, &f->err), &f->err);
	fixture_reopen(f);
	assert_int_equal(store_is_epoch_refused(f->store, one, &f->err), 1);
	assert_int_equal(store_is_epoch_refused(f->store, other, &f->err), 0);
}

static void the_ledgers_head_is_kept(void **state)
{
	struct fixture *f = *state;
	uint8_t hash[HASH_LEN], now[HASH_LEN];
	uint64_t n = 99;
	assert_ok(store_ledger_head(f->store, &n, now, &f->err), &f->err);
	assert_int_equal(n, 0);
	memset(hash, 7, sizeof(hash));
	assert_ok(store_entry_written(f->store, 1, 12, hash, &f->err), &f->err);
	fixture_reopen(f);
	assert_ok(store_ledger_head(f->store, &n, now, &f->err), &f->err);
	assert_int_equal(n, 12);
	assert_memory_equal(now, hash, sizeof(hash));
}

/* An entry of the ledger is as durable as the change that it tells of, and is there until its line
 * is; entries are given out in the order of the changes. */
static void entries_wait_for_their_lines(void **state)
{
	struct fixture *f = *state;
	struct epoch_entry epoch = epoch_of(4, 500), *lineage;
	struct role_machine m = machine_in(WIRE_ROLE_ACTIVE, 4);
	const struct hook_facts owed = {.reason = "failover", .peer = "x", .epoch = 4};
	struct role_change change = {
		.machine = &m, .epoch = &epoch, .owed = &owed, .entry = "first"};
	char *followed[] = {"second", "third"};
	const uint8_t hash[HASH_LEN] = "hash";
	struct hook_facts told;
	uint64_t n = 0, last = 0;
	char *entry;
	size_t n_lineage;
	assert_int_equal(store_next_entry(f->store, 0, &n, &entry, &f->err), 0);
	assert_ok(store_owed(f->store, &told, &f->err), &f->err);
	assert_string_equal(told.reason, "");
	assert_ok(store_change_role(f->store, &change, &f->err), &f->err);
	assert_ok(store_lineage(f->store, &lineage, &n_lineage, &f->err), &f->err);
	assert_ok(store_follow_lineage(f->store, lineage, n_lineage, followed, 2, &last, &f->err),
		  &f->err);
	free(lineage);
	fixture_reopen(f);
	assert_ok(store_owed(f->store, &told, &f->err), &f->err);
	assert_string_equal(told.reason, owed.reason);
	assert_string_equal(told.peer, owed.peer);
	assert_int_equal(told.epoch, owed.epoch);
	static const char *const order[] = {"first", "second", "third"};
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(store_next_entry(f->store, n, &n, &entry, &f->err), 1);
		assert_string_equal(entry, order[i]);
		free(entry);
		if (i == 0)
			assert_int_equal(n, change.entry_n);
	}
	assert_int_equal(n, last);
	assert_int_equal(store_next_entry(f->store, n, &n, &entry, &f->err), 0);
	assert_ok(store_entry_written(f->store, change.entry_n, 1, hash, &f->err), &f->err);
	fixture_reopen(f);
	assert_int_equal(store_next_entry(f->store, 0, &n, &entry, &f->err), 1);
	assert_string_equal(entry, "second");
	free(entry);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_active, fixture_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_machine_outlives_the_agent), TEST(an_epoch_begins_once),
		TEST(role_and_epoch_are_one_step),  TEST(refusals_are_for_ever),
		TEST(the_ledgers_head_is_kept),	    TEST(entries_wait_for_their_lines),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
