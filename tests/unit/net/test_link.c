/* One link between two nodes: bytes, back-pressure, deadlines, endings. */
#include "tests/unit/net/fixture.h"

#include <errno.h>
#include <stdio.h>

#include "agent/base/alloc.h"
#include "agent/base/hash.h"
#include "agent/net/link_private.h"

struct pair {
	struct world world;
	struct side a, b; /* a dials b */
	char to_b[48];
};

static void pair_begin_timed(struct pair *pair, const struct peers_timing *timing)
{
	world_begin(&pair->world);
	side_begin_timed(&pair->b, &pair->world, "b", true, "a", timing);
	snprintf(pair->to_b, sizeof(pair->to_b), "b=%s", address_of(&pair->b));
	side_begin_timed(&pair->a, &pair->world, "a", false, pair->to_b, timing);
}

static bool is_live(const struct side *side)
{
	return side->link && side->link->state == LINK_LIVE;
}

static void pair_begin(struct pair *pair)
{
	pair_begin_timed(pair, &quick);
	RUN_UNTIL(&pair->world, is_live(&pair->a) && is_live(&pair->b));
}

static void pair_end(struct pair *pair)
{
	side_end(&pair->a);
	side_end(&pair->b);
	world_end(&pair->world);
}

static void two_nodes_meet_and_know_each_other(void **state)
{
	struct pair pair = {0};
	pair_begin(&pair);
	assert_string_equal(link_peer(pair.a.link), "b");
	assert_string_equal(link_peer(pair.b.link), "a");
	assert_true(link_was_dialled(pair.a.link));
	assert_false(link_was_dialled(pair.b.link));
	assert_string_equal(link_address(pair.a.link), address_of(&pair.b));
	assert_ptr_equal(peers_link(pair.a.peers, "b"), pair.a.link);
	assert_null(peers_link(pair.a.peers, "c"));
	assert_string_equal(peers_last_error(pair.a.peers, "b"), "");
	assert_true(link_bytes_in(pair.a.link) > 500);
	assert_string_equal(SSL_get_version(pair.a.link->tls), "TLSv1.3");
	assert_false(SSL_session_reused(pair.a.link->tls));
	pair_end(&pair);
	assert_int_equal(pair.a.opens, 1);
	assert_int_equal(pair.b.opens, 1);
}

#define MASS (100u << 20)
#define MASS_CHUNK 60000u

/* Sends MASS pseudo-random bytes as fast as the watermarks allow. */
struct mass {
	uint64_t seed, left;
	struct hasher *hash;
	uint8_t chunk[MASS_CHUNK];
	size_t most_queued;
};

static void send_mass(struct side *side, struct link *link)
{
	struct mass *mass = side->more;
	while (mass->left > 0 && link_is_writable(link)) {
		uint32_t len = mass->left < MASS_CHUNK ? (uint32_t)mass->left : MASS_CHUNK;
		for (uint32_t i = 0; i < len; i += 4) {
			uint32_t word = random_next(&mass->seed);
			memcpy(mass->chunk + i, &word, len - i < 4 ? len - i : 4);
		}
		hasher_add(mass->hash, mass->chunk, len);
		link_send(link, WIRE_DATA, mass->chunk, len);
		mass->left -= len;
		if (link_queued(link) > mass->most_queued)
			mass->most_queued = link_queued(link);
	}
}

static int hash_mass(struct side *side, struct link *link, const struct frame *frame)
{
	if (frame->type == WIRE_HELLO)
		side_go_live(link);
	else
		hasher_add(side->more, frame->body, frame->len);
	return 0;
}

static void a_hundred_mebibytes_arrive_unchanged_and_memory_stays_bounded(void **state)
{
	struct pair pair = {0};
	struct mass *mass = x_calloc(1, sizeof(*mass));
	struct hasher *received = hasher_new();
	uint8_t sent_hash[HASH_LEN], received_hash[HASH_LEN];
	*mass = (struct mass){.seed = random_seed(), .left = MASS, .hash = hasher_new()};
	pair.a.more = mass;
	pair.a.on_writable = send_mass;
	pair.b.more = received;
	pair.b.on_frame = hash_mass;
	pair_begin(&pair);
	uint64_t began = clock_mono_ms();
	send_mass(&pair.a, pair.a.link);
	RUN_UNTIL(&pair.world, pair.b.body_bytes == MASS + 5);
	print_message("%u MiB in %llu ms\n", MASS >> 20,
		      (unsigned long long)(clock_mono_ms() - began));
	hasher_end(mass->hash, sent_hash);
	hasher_end(received, received_hash);
	assert_memory_equal(sent_hash, received_hash, HASH_LEN);
	assert_true(pair.a.writables > 5);
	assert_true(mass->most_queued <= LINK_SEND_HIGH + MASS_CHUNK + WIRE_HEADER_LEN);
	RUN_UNTIL(&pair.world, link_queued(pair.a.link) == 0);
	assert_true(link_bytes_out(pair.a.link) < MASS + MASS / 100);
	hasher_free(mass->hash);
	hasher_free(received);
	free(mass);
	pair_end(&pair);
}

static void small_frames_leave_together(void **state)
{
	struct pair pair = {0};
	pair_begin(&pair);
	uint64_t before = link_bytes_out(pair.a.link);
	for (int i = 0; i < 1000; i++)
		link_send(pair.a.link, WIRE_HEARTBEAT, "0123456789", 10);
	RUN_UNTIL(&pair.world, pair.b.frames == 1001);
	/* 15 bytes each with header; a TLS record apiece would add 22. */
	assert_true(link_bytes_out(pair.a.link) - before < 1000 * 15 + 200);
	pair_end(&pair);
}

static int pause_at_once(struct side *side, struct link *link, const struct frame *frame)
{
	if (frame->type == WIRE_HELLO)
		side_go_live(link);
	else
		link_pause(link);
	return 0;
}

static void a_paused_link_stops_the_sender(void **state)
{
	struct pair pair = {0};
	static uint8_t chunk[MASS_CHUNK];
	pair.b.on_frame = pause_at_once;
	pair_begin(&pair);
	unsigned sent = 0;
	/* What sockets hold is the kernel's business; far more than that stays with the sender. */
	while (link_is_writable(pair.a.link)) {
		link_send(pair.a.link, WIRE_DATA, chunk, sizeof(chunk));
		sent++;
		uv_run(&pair.world.loop, UV_RUN_NOWAIT);
	}
	assert_int_equal(pair.b.frames, 2); /* HELLO and the one it paused in */
	uint64_t in = link_bytes_in(pair.b.link);
	for (int i = 0; i < 20; i++)
		uv_run(&pair.world.loop, UV_RUN_NOWAIT);
	assert_int_equal(link_bytes_in(pair.b.link), in);
	assert_false(uv_is_active((uv_handle_t *)&pair.b.link->tcp)); /* not polled for reading */
	assert_true(pair.b.link->frames.cap <= 2 * WIRE_FRAME_MAX);
	assert_int_equal(pair.a.writables, 0);
	/* Each resume yields exactly one more, then all. */
	link_resume(pair.b.link);
	assert_int_equal(pair.b.frames, 2); /* not within the call */
	RUN_UNTIL(&pair.world, pair.b.frames == 3);
	pair.b.on_frame = NULL;
	link_resume(pair.b.link);
	RUN_UNTIL(&pair.world, pair.b.frames == 1 + sent);
	assert_int_equal(pair.a.writables, 1);
	pair_end(&pair);
}

static void a_queue_that_nobody_reads_ends_the_link(void **state)
{
	struct pair pair = {0};
	static uint8_t chunk[MASS_CHUNK];
	pair.b.on_frame = pause_at_once;
	pair_begin(&pair);
	struct link *link = pair.a.link;
	while (!link_is_closing(link)) {
		link_send(link, WIRE_DATA, chunk, sizeof(chunk));
		assert_true(link_queued(link) <= LINK_SEND_MAX + sizeof(chunk) + 1024);
	}
	assert_int_equal(pair.a.closes, 0); /* never within a call */
	assert_false(link_send(link, WIRE_DATA, chunk, 1));
	RUN_UNTIL(&pair.world, pair.a.closes == 1);
	assert_non_null(strstr(pair.a.why, "does not read"));
	pair_end(&pair);
}

static void bye_arrives_with_its_reason_behind_what_was_queued(void **state)
{
	struct pair pair = {0};
	static uint8_t chunk[MASS_CHUNK];
	pair_begin(&pair);
	for (int i = 0; i < 20; i++)
		link_send(pair.a.link, WIRE_DATA, chunk, sizeof(chunk));
	link_close(pair.a.link, BYE_LINEAGE, "we are\nsuperseded");
	link_close(pair.a.link, BYE_INTERNAL, "twice");
	RUN_UNTIL(&pair.world, pair.a.closes == 1 && pair.b.closes == 1);
	assert_int_equal(pair.b.frames, 21);
	assert_int_equal(pair.b.reason, BYE_LINEAGE);
	assert_non_null(strstr(pair.b.why, "\"we are\\nsuperseded\""));
	assert_int_equal(pair.a.reason, BYE_LINEAGE);
	RUN_UNTIL(&pair.world, is_live(&pair.a) && is_live(&pair.b)); /* and a dials again */
	pair_end(&pair);
}

static int close_in_frame(struct side *side, struct link *link, const struct frame *frame)
{
	assert_int_equal(side->closes, 0);
	assert_false(link_is_closing(link));
	link_close(link, BYE_GROUP, "another group");
	link_go_live(link, FROM_ACTIVE); /* all harmless now */
	link_resume(link);
	link_pause(link);
	assert_false(link_send(link, WIRE_HEARTBEAT, "x", 1));
	return -EPROTO;
}

static void close_in_open(struct side *side, struct link *link)
{
	link_close(link, BYE_VERSION, "too old");
}

static void a_link_may_be_closed_in_its_own_callbacks(void **state)
{
	struct pair pair = {0};
	pair.b.on_frame = close_in_frame;
	pair_begin_timed(&pair, &quick);
	RUN_UNTIL(&pair.world, pair.a.closes == 1 && pair.b.closes == 1);
	assert_int_equal(pair.a.reason, BYE_GROUP);
	assert_int_equal(pair.b.frames, 1);
	pair.b.on_frame = NULL;
	pair.b.on_open = close_in_open;
	RUN_UNTIL(&pair.world, pair.b.closes == 2 && peers_last_error(pair.a.peers, "b")[0]);
	assert_int_equal(pair.a.opens,
			 1); /* what begins with BYE never was a link to the dialler */
	assert_non_null(strstr(peers_last_error(pair.a.peers, "b"), "too old"));
	pair.b.on_open = NULL;
	pair.a.on_open = close_in_open;
	pair.b.reason = 0;
	RUN_UNTIL(&pair.world, pair.a.closes == 2 && pair.b.reason);
	assert_int_equal(pair.b.reason, BYE_VERSION);
	pair_end(&pair);
}

static void close_in_writable(struct side *side, struct link *link)
{
	link_close(link, BYE_ROLE, "changed");
}

static void a_link_may_be_closed_when_it_becomes_writable(void **state)
{
	struct pair pair = {0};
	static uint8_t chunk[MASS_CHUNK];
	pair.a.on_writable = close_in_writable;
	pair_begin(&pair);
	while (link_send(pair.a.link, WIRE_DATA, chunk, sizeof(chunk)))
		;
	RUN_UNTIL(&pair.world, pair.a.closes == 1 && pair.b.closes == 1);
	assert_int_equal(pair.b.reason, BYE_ROLE);
	pair_end(&pair);
}

static void send_nothing(struct side *side, struct link *link)
{
}

static void a_node_that_never_says_hello_is_let_go(void **state)
{
	struct peers_timing timing = quick;
	struct pair pair = {0};
	timing.link.handshake_ms = 150;
	pair.a.on_open = send_nothing;
	pair.b.on_open = send_nothing;
	pair_begin_timed(&pair, &timing);
	RUN_UNTIL(&pair.world, peers_last_error(pair.a.peers, "b")[0] && pair.b.closes >= 1);
	assert_int_equal(pair.b.reason, BYE_TIMEOUT);
	assert_non_null(strstr(peers_last_error(pair.a.peers, "b"), "HELLO"));
	assert_int_equal(pair.a.opens, 0); /* the dialler was never told that it is welcome */
	pair_end(&pair);
}

static void a_live_link_that_falls_silent_is_closed(void **state)
{
	struct peers_timing timing = quick;
	struct pair pair = {0};
	timing.link.idle_ms = 120;
	pair_begin_timed(&pair, &timing);
	RUN_UNTIL(&pair.world, pair.a.closes >= 1 && pair.b.closes >= 1);
	assert_int_equal(pair.a.reason, BYE_TIMEOUT);
	assert_true(strstr(pair.a.why, "nothing was heard") ||
		    strstr(pair.b.why, "nothing was heard"));
	pair_end(&pair);
}

/* Traffic in one direction keeps only the hearing side; so b beats, a is paused. */
static void a_link_we_paused_is_not_idle(void **state)
{
	struct peers_timing timing = quick;
	struct pair pair = {0};
	timing.link.idle_ms = 150;
	pair_begin_timed(&pair, &timing);
	RUN_UNTIL(&pair.world, is_live(&pair.a) && is_live(&pair.b));
	link_pause(pair.a.link);
	uint64_t began = clock_mono_ms();
	while (clock_mono_ms() - began < 600) {
		/* Before each turn: a turn that comes late finds them in the socket. */
		link_send(pair.a.link, WIRE_HEARTBEAT, "a", 1);
		link_send(pair.b.link, WIRE_HEARTBEAT, "b", 1);
		link_flush(pair.a.link);
		link_flush(pair.b.link);
		uv_run(&pair.world.loop, UV_RUN_ONCE);
		assert_int_equal(pair.a.closes + pair.b.closes, 0);
	}
	unsigned before = pair.a.frames;
	link_resume(pair.a.link);
	RUN_UNTIL(&pair.world, pair.a.frames > before + 5);
	assert_int_equal(pair.a.closes, 0);
	pair_end(&pair);
}

/* The bytes that prove life lie in the socket while the loop is busy elsewhere. */
static void a_loop_that_was_held_up_looks_before_it_judges(void **state)
{
	struct peers_timing timing = quick;
	struct pair pair = {0};
	timing.link.idle_ms = 100;
	pair_begin_timed(&pair, &timing);
	RUN_UNTIL(&pair.world, is_live(&pair.a) && is_live(&pair.b));
	link_send(pair.a.link, WIRE_HEARTBEAT, "a", 1);
	link_send(pair.b.link, WIRE_HEARTBEAT, "b", 1);
	link_flush(pair.a.link);
	link_flush(pair.b.link);
	uint64_t began = clock_mono_ms();
	while (clock_mono_ms() - began < 250)
		; /* busy, as a worker's result handled on the loop might be */
	unsigned frames = pair.a.frames + pair.b.frames;
	RUN_UNTIL(&pair.world, pair.a.frames + pair.b.frames == frames + 2);
	assert_int_equal(pair.a.closes + pair.b.closes, 0);
	pair_end(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_nodes_meet_and_know_each_other),
		cmocka_unit_test(a_hundred_mebibytes_arrive_unchanged_and_memory_stays_bounded),
		cmocka_unit_test(small_frames_leave_together),
		cmocka_unit_test(a_paused_link_stops_the_sender),
		cmocka_unit_test(a_queue_that_nobody_reads_ends_the_link),
		cmocka_unit_test(bye_arrives_with_its_reason_behind_what_was_queued),
		cmocka_unit_test(a_link_may_be_closed_in_its_own_callbacks),
		cmocka_unit_test(a_link_may_be_closed_when_it_becomes_writable),
		cmocka_unit_test(a_node_that_never_says_hello_is_let_go),
		cmocka_unit_test(a_live_link_that_falls_silent_is_closed),
		cmocka_unit_test(a_link_we_paused_is_not_idle),
		cmocka_unit_test(a_loop_that_was_held_up_looks_before_it_judges),
	};
	return cmocka_run_group_tests(tests, keys_make, keys_remove);
}
