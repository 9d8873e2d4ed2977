/* What comes in from whoever can reach the port: nobody gets far, nobody costs much, and a person
 * can read in the log what happened and what to do. */
#include "tests/unit/net/fixture.h"

#include <stdio.h>

#include "agent/base/alloc.h"
#include "agent/net/link_private.h"
#include "agent/net/peers_private.h"

struct target {
	struct world world;
	struct side b;
};

static void target_begin_timed(struct target *target, const struct peers_timing *timing)
{
	world_begin(&target->world);
	side_begin_timed(&target->b, &target->world, "b", true, "a", timing);
}

static void target_begin(struct target *target)
{
	target_begin_timed(target, &quick);
}

static void target_end(struct target *target)
{
	assert_null(target->b.peers->links);
	assert_int_equal(target->b.peers->half_open, 0);
	side_end(&target->b);
	world_end(&target->world);
}

/* Runs one client to its end. @return the log meanwhile, heap */
static char *suffer(struct target *target, struct raw *raw)
{
	raw->port = peers_port(target->b.peers);
	log_capture();
	raw_start(raw);
	uint64_t began = clock_mono_ms();
	while (!raw->done || target->b.peers->links) {
		if (!run_once(&target->world, began)) {
			free(log_captured());
			fail_msg("the client was not let go");
		}
	}
	raw_join(raw);
	return log_captured();
}

static void assert_says(const char *log, const char *what)
{
	if (!strstr(log, what))
		fail_msg("no \"%s\" in the log:\n%s", what, log);
}

static void plain_text_is_named_as_such(void **state)
{
	struct target target = {0};
	struct raw raw = {.plain = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"};
	target_begin(&target);
	AUTO_FREE char *log = suffer(&target, &raw);
	assert_says(log, "does not speak TLS: it began with \"GET / HTTP/1.1\\x0d\\n\"");
	assert_int_equal(target.b.opens, 0);
	target_end(&target);
}

static void garbage_ends_in_a_reason(void **state)
{
	uint64_t seed = random_seed();
	struct target target = {0};
	char garbage[2000];
	target_begin(&target);
	for (int round = 0; round < 20; round++) {
		for (size_t i = 0; i < sizeof(garbage) - 1; i++)
			garbage[i] = (char)(1 + random_next(&seed) % 255);
		garbage[0] = 0x16; /* looks like a TLS record at first */
		garbage[1] = 0x03;
		garbage[sizeof(garbage) - 1] = '\0';
		garbage[round == 0 ? 40 : sizeof(garbage) - 1] = '\0';
		bool rejected = false;
		/* A promise of more bytes is never kept. One who has sent none in time is no more
		 * than a port probe. */
		for (uint32_t ms = 100; !rejected && ms <= 12800; ms *= 2) {
			struct raw raw = {.plain = garbage};
			target.b.peers->timing.link.handshake_ms = ms;
			AUTO_FREE char *log = suffer(&target, &raw);
			rejected = round >= 10 || strstr(log, "rejected=");
		}
		assert_true(rejected);
	}
	assert_int_equal(target.b.opens, 0);
	target_end(&target);
}

static void an_old_tls_is_refused(void **state)
{
	struct target target = {0};
	struct raw raw = {.node = "a", .max_version = TLS1_2_VERSION};
	target_begin(&target);
	AUTO_FREE char *log = suffer(&target, &raw);
	assert_false(raw.shook_hands);
	assert_says(log, "does not speak TLS 1.3");
	target_end(&target);
}

static void a_client_without_a_certificate_is_refused(void **state)
{
	struct target target = {0};
	struct raw raw = {0};
	target_begin(&target);
	AUTO_FREE char *log = suffer(&target, &raw);
	assert_says(log, "no certificate was shown");
	assert_int_equal(target.b.opens, 0);
	target_end(&target);
}

static void a_stranger_is_named_by_its_key(void **state)
{
	struct target target = {0};
	struct raw raw = {.node = "c"};
	char print[TLS_FINGERPRINT_MAX];
	struct err err;
	target_begin(&target);
	/* c is pinned by b's identity but not one of its peers; then a key nobody knows. */
	free(suffer(&target, &raw));
	assert_int_equal(raw_bye_reason(&raw), BYE_UNKNOWN_PEER);
	assert_int_equal(tls_make_identity(certificate_file("stranger"), key_file("stranger"),
					   "stranger", &err),
			 0);
	struct raw stranger = {.node = "stranger"};
	AUTO_FREE char *second = suffer(&target, &stranger);
	tls_fingerprint(print, certificate_file("stranger"), &err);
	assert_says(second, print);
	assert_says(second, "artifact-sync pair --node NODE");
	assert_int_equal(target.b.opens, 0);
	target_end(&target);
}

static void bad_frames_are_answered_with_their_reason(void **state)
{
	static const struct {
		uint8_t bytes[16];
		size_t len;
		unsigned reason;
	} cases[] = {
		{{0, 0, 0, 1, 0xee, 0}, 6, BYE_MALFORMED},		  /* no such type */
		{{0, 0, 0, 1, WIRE_DATA, 0}, 6, BYE_OUT_OF_PHASE},	  /* before HELLO */
		{{0xff, 0xff, 0xff, 0xff, WIRE_HELLO}, 5, BYE_OVERSIZED}, /* 4 GiB announced */
		{{0, 0, 0, 0, WIRE_HELLO, 0, 8, 0, 0, WIRE_RECORD}, 10, BYE_OVERSIZED},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct target target = {0};
		struct raw raw = {.node = "a", .bytes = cases[i].bytes, .len = cases[i].len};
		target_begin(&target);
		free(suffer(&target, &raw));
		assert_true(raw.shook_hands);
		assert_int_equal(target.b.opens, 1);
		assert_int_equal(target.b.reason, cases[i].reason);
		assert_int_equal(raw_bye_reason(&raw), cases[i].reason);
		target_end(&target);
	}
}

static int live_from_active(struct side *side, struct link *link, const struct frame *frame)
{
	if (frame->type == WIRE_HELLO)
		link_go_live(link, FROM_ACTIVE);
	return 0;
}

static void the_sides_role_limits_what_it_may_send(void **state)
{
	static const uint8_t ack[] = {0, 0, 0, 0, WIRE_HELLO, 0, 0, 0, 0, WIRE_ACK};
	struct target target = {0};
	struct raw raw = {.node = "a", .bytes = ack, .len = sizeof(ack)};
	target.b.on_frame = live_from_active;
	target_begin(&target);
	free(suffer(&target, &raw));
	assert_int_equal(raw_bye_reason(&raw), BYE_OUT_OF_PHASE);
	assert_non_null(strstr(target.b.why, "ACK"));
	target_end(&target);
}

static void a_malformed_bye_is_still_a_goodbye(void **state)
{
	static const uint8_t bye[] = {0, 0, 0, 1, WIRE_BYE, 7};
	struct target target = {0};
	struct raw raw = {.node = "a", .bytes = bye, .len = sizeof(bye)};
	target_begin(&target);
	free(suffer(&target, &raw));
	assert_int_equal(target.b.reason, BYE_MALFORMED);
	target_end(&target);
}

static int pause_every_time(struct side *side, struct link *link, const struct frame *frame)
{
	if (frame->type == WIRE_HELLO)
		link_go_live(link, FROM_EITHER);
	link_pause(link);
	return 0;
}

/* A peer that sends without end while we work slowly: one frame for each resume, and never more
 * than one TLS record and one frame in memory. */
static void a_flood_waits_in_the_kernel_not_in_our_memory(void **state)
{
	enum { FRAMES = 200000, EACH = WIRE_HEADER_LEN + 64 };
	struct target target = {0};
	uint8_t *flood = x_calloc(FRAMES, EACH);
	frame_header(flood, WIRE_HELLO, 64);
	for (size_t i = 1; i < FRAMES; i++)
		frame_header(flood + i * EACH, WIRE_HEARTBEAT, 64);
	struct raw raw = {.node = "a", .bytes = flood, .len = (size_t)FRAMES * EACH};
	target.b.on_frame = pause_every_time;
	target_begin(&target);
	raw.port = peers_port(target.b.peers);
	raw_start(&raw);
	RUN_UNTIL(&target.world, target.b.frames == 1);
	for (unsigned n = 2; n < 3000; n++) {
		link_resume(target.b.link);
		RUN_UNTIL(&target.world, target.b.frames == n);
		assert_true(target.b.link->frames.cap <= 2 * LINK_BUFFER);
		assert_true(BIO_ctrl_pending(SSL_get_rbio(target.b.link->tls)) <= 2 * LINK_BUFFER);
		assert_true(link_bytes_in(target.b.link) <= (uint64_t)n * EACH + 4 * LINK_BUFFER);
	}
	link_close(target.b.link, BYE_SHUTDOWN, "enough");
	RUN_UNTIL(&target.world, raw.done && target.b.closes == 1 && !target.b.peers->links);
	raw_join(&raw);
	free(flood);
	target_end(&target);
}

static void silent_connections_are_few_and_short(void **state)
{
	enum { MANY = PEERS_HALF_OPEN_MAX + 8 };
	struct peers_timing timing = quick;
	struct target target = {0};
	static struct raw raws[MANY];
	memset(raws, 0, sizeof(raws));
	timing.link.handshake_ms = 3000; /* all of them come within it */
	target_begin_timed(&target, &timing);
	log_capture();
	for (int i = 0; i < MANY; i++) {
		raws[i] = (struct raw){.port = peers_port(target.b.peers), .stay_silent = true};
		raw_start(&raws[i]);
	}
	unsigned most = 0, ended = 0;
	uint64_t began = clock_mono_ms();
	while (ended < MANY && run_once(&target.world, began)) {
		most = target.b.peers->half_open > most ? target.b.peers->half_open : most;
		ended = 0;
		for (int i = 0; i < MANY; i++)
			ended += raws[i].done;
	}
	AUTO_FREE char *log = log_captured();
	for (int i = 0; i < MANY; i++)
		raw_join(&raws[i]);
	assert_int_equal(most, PEERS_HALF_OPEN_MAX);
	assert_says(log, "half open");
	RUN_UNTIL(&target.world, !target.b.peers->links);
	target_end(&target);
}

static void both_sides_say_why_a_key_is_refused(void **state)
{
	struct world world;
	struct side a = {0}, b = {0};
	struct err err = {0};
	char print[TLS_FINGERPRINT_MAX], own[TLS_FINGERPRINT_MAX], to[64];
	const char *pin = print;
	world_begin(&world);
	/* b expects c's key from a. */
	tls_fingerprint(print, certificate_file("c"), &err);
	tls_fingerprint(own, certificate_file("a"), &err);
	const struct tls_peer wrong = {.node = "a", .fingerprints = &pin, .n_fingerprints = 1};
	assert_int_equal(tls_identity_new(&b.identity, certificate_file("b"), key_file("b"), &wrong,
					  1, &err),
			 0);
	log_capture();
	side_begin(&b, &world, "b", true, "a");
	snprintf(to, sizeof(to), "b=%s", address_of(&b));
	side_begin(&a, &world, "a", false, to);
	uint64_t began = clock_mono_ms();
	while (peers_last_error(a.peers, "b")[0] == '\0' && run_once(&world, began))
		;
	AUTO_FREE char *log = log_captured();
	assert_says(log, "belongs to no configured peer");
	assert_says(log, own);
	assert_says(log, "b does not accept this node's key");
	assert_non_null(strstr(peers_last_error(a.peers, "b"), own));
	assert_int_equal(a.opens + b.opens, 0);
	side_end(&a);
	side_end(&b);
	world_end(&world);
}

static void the_dialler_says_whose_key_it_met(void **state)
{
	struct world world;
	struct side a = {0}, c = {0};
	char to[64];
	world_begin(&world);
	log_capture();
	side_begin(&c, &world, "c", true, "a b");
	snprintf(to, sizeof(to), "b=%s", address_of(&c)); /* a is sent to the wrong door */
	side_begin(&a, &world, "a", false, to);
	uint64_t began = clock_mono_ms();
	while (peers_last_error(a.peers, "b")[0] == '\0' && run_once(&world, began))
		;
	AUTO_FREE char *log = log_captured();
	assert_non_null(strstr(peers_last_error(a.peers, "b"), "which is not configured for b"));
	assert_says(log, "artifact-sync pair --node b --address");
	assert_int_equal(a.opens, 0);
	side_end(&a);
	side_end(&c);
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_text_is_named_as_such),
		cmocka_unit_test(garbage_ends_in_a_reason),
		cmocka_unit_test(an_old_tls_is_refused),
		cmocka_unit_test(a_client_without_a_certificate_is_refused),
		cmocka_unit_test(a_stranger_is_named_by_its_key),
		cmocka_unit_test(bad_frames_are_answered_with_their_reason),
		cmocka_unit_test(the_sides_role_limits_what_it_may_send),
		cmocka_unit_test(a_malformed_bye_is_still_a_goodbye),
		cmocka_unit_test(a_flood_waits_in_the_kernel_not_in_our_memory),
		cmocka_unit_test(silent_connections_are_few_and_short),
		cmocka_unit_test(both_sides_say_why_a_key_is_refused),
		cmocka_unit_test(the_dialler_says_whose_key_it_met),
	};
	return cmocka_run_group_tests(tests, keys_make, keys_remove);
}
