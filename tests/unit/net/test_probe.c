/* The direction that was not dialled is tried, and the connection there is stays as it is. */
#include "tests/unit/net/fixture.h"

#include <stdio.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/net/link_private.h"
#include "agent/net/peers_private.h"

static bool is_live(const struct side *side)
{
	return side->link && side->link->state == LINK_LIVE;
}

static bool has_ended(const struct side *side, const char *node)
{
	const struct peers_probe *probe = peers_probed(side->peers, node);
	return probe && probe->ended_ms != 0 && !probe->running;
}

static void address(struct side *side, const char *node, const char *where)
{
	struct err err = {0};
	const struct peer_address to = {.node = node, .address = where};
	assert_int_equal(peers_update(side->peers, side->identity, &to, 1, &err), 0);
}

/* b dials a, and they are connected; then a is told where b is. */
static void begin(struct world *world, struct side *a, struct side *b)
{
	char to[64];
	world_begin(world);
	side_begin(a, world, "a", true, "b");
	snprintf(to, sizeof(to), "a=%s", address_of(a));
	side_begin(b, world, "b", true, to);
	RUN_UNTIL(world, is_live(a) && is_live(b));
}

static void end(struct world *world, struct side *a, struct side *b)
{
	side_end(a);
	side_end(b);
	world_end(world);
}

static void a_probe_says_that_it_would_be_let_in(void **state)
{
	struct world world;
	struct side a = {0}, b = {0};
	begin(&world, &a, &b);
	assert_null(peers_probed(a.peers, "b")); /* without an address there is nothing to try */
	address(&a, "b", address_of(&b));
	for (int round = 0; round < 20; round++) {
		peers_probe(a.peers, "b");
		peers_probe(a.peers, "b"); /* one is enough */
		RUN_UNTIL(&world, has_ended(&a, "b"));
		assert_true(peers_probed(a.peers, "b")->good);
		assert_string_equal(peers_probed(a.peers, "b")->why, "");
		assert_true(peers_probed(a.peers, "b")->certificate.pinned);
	}
	assert_true(is_live(&a) && is_live(&b));
	assert_int_equal(a.opens, 1);
	assert_int_equal(b.opens, 1);
	RUN_UNTIL(&world, b.peers->half_open == 0); /* it ends there a little later */
	end(&world, &a, &b);
}

static void a_probe_that_fails_says_why(void **state)
{
	struct world world;
	struct side a = {0}, b = {0};
	begin(&world, &a, &b);
	address(&a, "b", "127.0.0.1:1");
	peers_probe(a.peers, "b");
	RUN_UNTIL(&world, has_ended(&a, "b"));
	assert_false(peers_probed(a.peers, "b")->good);
	assert_non_null(strstr(peers_probed(a.peers, "b")->why, "connect"));
	address(&a, "b", "no.such.host.invalid:1");
	peers_probe(a.peers, "b");
	RUN_UNTIL(&world, has_ended(&a, "b"));
	assert_non_null(strstr(peers_probed(a.peers, "b")->why, "resolve no.such.host.invalid"));
	/* Itself, with another key than b's. */
	address(&a, "b", address_of(&a));
	peers_probe(a.peers, "b");
	RUN_UNTIL(&world, has_ended(&a, "b"));
	assert_non_null(strstr(peers_probed(a.peers, "b")->why, "not configured for b"));
	assert_true(is_live(&a) && is_live(&b));
	end(&world, &a, &b);
}

/* After every number of turns of the loop: nothing may be left that points into what is gone. */
static void everything_may_end_while_a_probe_runs(void **state)
{
	for (int turns = 0; turns < 12; turns++) {
		struct world world;
		struct side a = {0}, b = {0};
		begin(&world, &a, &b);
		address(&a, "b", turns % 2 ? "localhost:9" : address_of(&b));
		peers_probe(a.peers, "b");
		for (int i = 0; i < turns; i++)
			uv_run(&world.loop, UV_RUN_NOWAIT);
		if (turns % 3 == 0)
			address(&a, "b", "127.0.0.1:2");
		if (turns % 3 == 1)
			side_close(turns % 2 ? &a : &b);
		end(&world, &a, &b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_probe_says_that_it_would_be_let_in),
		cmocka_unit_test(a_probe_that_fails_says_why),
		cmocka_unit_test(everything_may_end_while_a_probe_runs),
	};
	return cmocka_run_group_tests(tests, keys_make, keys_remove);
}
