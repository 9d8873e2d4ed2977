/* One link per peer, whoever dials, whatever crosses; dialling again; reloading; ending at any
 * moment. */
#include "tests/unit/net/fixture.h"

#include <netdb.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/net/link_private.h"
#include "agent/net/peers_private.h"

static bool is_live(const struct side *side)
{
	return side->link && side->link->state == LINK_LIVE;
}

static unsigned count_links(const struct side *side)
{
	unsigned n = 0;
	for (struct link *l = side->peers->links; l; l = l->next)
		n++;
	return n;
}

/* A port that was free a moment ago; both sides must know the other's before they start. */
static int free_port(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	getsockname(fd, (struct sockaddr *)&at, &len);
	close(fd);
	return ntohs(at.sin_port);
}

/* Both listen and dial each other at once. */
static void begin_crossing(struct world *world, struct side *a, struct side *b)
{
	char to[64];
	struct err err = {0};
	side_begin(b, world, "b", true, "a");
	snprintf(to, sizeof(to), "b=%s", address_of(b));
	side_begin(a, world, "a", true, to);
	const struct peer_address back = {.node = "a", .address = address_of(a)};
	assert_int_equal(peers_update(b->peers, b->identity, &back, 1, &err), 0);
}

static bool is_settled(const struct side *a, const struct side *b)
{
	return is_live(a) && is_live(b) && count_links(a) == 1 && count_links(b) == 1;
}

static void crossing_dials_leave_one_link_on_both_sides(void **state)
{
	unsigned replaced = 0;
	for (int round = 0; round < 50; round++) {
		struct world world;
		struct side a = {0}, b = {0};
		world_begin(&world);
		begin_crossing(&world, &a, &b);
		RUN_UNTIL(&world, is_settled(&a, &b));
		link_send(a.link, WIRE_HEARTBEAT, "x", 1);
		unsigned frames = b.frames;
		RUN_UNTIL(&world, b.frames > frames);
		assert_true(is_settled(&a, &b));
		if (a.closes || b.closes)
			replaced++;
		/* The survivor is the one that the first name dialled, if they did cross. */
		assert_int_not_equal(link_was_dialled(a.link), link_was_dialled(b.link));
		side_end(&a);
		side_end(&b);
		world_end(&world);
	}
	print_message("an open link was replaced in %u of 50 rounds\n", replaced);
}

static void dial_although_linked(struct side *side, const char *node, const char *address)
{
	struct err err = {0};
	struct peer *peer = peers_find(side->peers, node);
	struct link *first = peer->link;
	peer->link = NULL;
	if (!peer->address)
		peer->address = x_strdup(address);
	assert_int_equal(address_parse(&peer->target, peer->address, &err), 0);
	peer_dial_now(peer);
	peer->link = first;
}

/* The crossing forced into its worst order: the loser is live before the winner is dialled. */
static void the_first_names_dial_wins_over_a_young_link(void **state)
{
	struct world world;
	struct side a = {0}, b = {0};
	world_begin(&world);
	side_begin(&a, &world, "a", true, "b");
	char to[64];
	snprintf(to, sizeof(to), "a=%s", address_of(&a));
	side_begin(&b, &world, "b", true, to);
	RUN_UNTIL(&world, is_settled(&a, &b));
	assert_false(link_was_dialled(a.link));
	/* As if a's dial had been under way all the time. */
	dial_although_linked(&a, "b", address_of(&b));
	RUN_UNTIL(&world, a.opens == 2 && b.opens == 2 && is_settled(&a, &b));
	assert_true(link_was_dialled(a.link));
	assert_int_equal(a.reason, BYE_REPLACED);
	assert_int_equal(b.reason, BYE_REPLACED);
	assert_string_equal(peers_last_error(a.peers, "b"), "");
	side_end(&a);
	side_end(&b);
	world_end(&world);
}

/* The mirror image: the later dial comes from the name that sorts last, and loses unseen. */
static void a_losing_dial_is_never_reported(void **state)
{
	struct world world;
	struct side a = {0}, b = {0};
	char to[64];
	world_begin(&world);
	side_begin(&b, &world, "b", true, "a");
	snprintf(to, sizeof(to), "b=%s", address_of(&b));
	side_begin(&a, &world, "a", true, to);
	RUN_UNTIL(&world, is_settled(&a, &b));
	struct link *first = b.link;
	dial_although_linked(&b, "a", address_of(&a));
	assert_int_equal(count_links(&b), 2);
	RUN_UNTIL(&world, is_settled(&a, &b));
	assert_ptr_equal(b.link, first);
	assert_int_equal(a.opens + b.opens, 2);
	assert_int_equal(a.closes + b.closes, 0);
	side_end(&a);
	side_end(&b);
	world_end(&world);
}

/* No crossing lasts longer than a handshake may: who dials then has lost the old link. */
static void a_dial_long_after_wins_whoever_dialled(void **state)
{
	struct world world;
	struct side a = {0}, b = {0};
	char to[64];
	world_begin(&world);
	side_begin(&b, &world, "b", true, "a");
	snprintf(to, sizeof(to), "b=%s", address_of(&b));
	side_begin(&a, &world, "a", true, to);
	RUN_UNTIL(&world, is_settled(&a, &b));
	uint32_t handshake_ms = quick.link.handshake_ms;
	a.link->live_ms -= handshake_ms + 1;
	b.link->live_ms -= handshake_ms + 1;
	dial_although_linked(&b, "a", address_of(&a));
	RUN_UNTIL(&world, a.opens == 2 && b.opens == 2 && is_settled(&a, &b));
	assert_true(link_was_dialled(b.link));
	side_end(&a);
	side_end(&b);
	world_end(&world);
}

/* b lost its old link without a word (power, a cut network) and dials again; a still believes. */
static void a_newer_dial_from_the_same_side_takes_over(void **state)
{
	struct world world;
	struct side a = {0}, b = {0}, again = {0};
	struct peers_timing timing = quick;
	char to[64];
	timing.link.handshake_ms = 60000; /* a crossing remains possible: only who dialled counts */
	world_begin(&world);
	side_begin_timed(&a, &world, "a", true, "b", &timing);
	snprintf(to, sizeof(to), "a=%s", address_of(&a));
	side_begin(&b, &world, "b", false, to);
	RUN_UNTIL(&world, is_settled(&a, &b));
	link_pause(b.link); /* hangs: neither reads nor speaks */
	side_begin(&again, &world, "b", false, to);
	RUN_UNTIL(&world, is_live(&again) && is_live(&a) && a.opens == 2);
	assert_int_equal(a.reason, BYE_REPLACED);
	side_end(&again);
	side_end(&b);
	side_end(&a);
	world_end(&world);
}

static void a_peer_that_comes_later_is_found(void **state)
{
	struct world world;
	struct side a = {0}, b = {0};
	struct err err = {0};
	char to[64], listen[32];
	int port = free_port();
	world_begin(&world);
	snprintf(to, sizeof(to), "b=127.0.0.1:%d", port);
	log_capture();
	side_begin(&a, &world, "a", false, to);
	uint64_t began = clock_mono_ms();
	while (peers_find(a.peers, "b")->backoff.attempts < 4 && run_once(&world, began))
		;
	AUTO_FREE char *log = log_captured();
	assert_non_null(strstr(peers_last_error(a.peers, "b"), "connection refused"));
	char *said = strstr(log, "connection refused");
	assert_non_null(said);
	assert_null(strstr(said + 1, "connection refused")); /* once, not once per attempt */
	b.world = &world;
	b.identity = identity_of("b");
	snprintf(listen, sizeof(listen), "127.0.0.1:%d", port);
	side_begin(&b, &world, "b", false, "a");
	assert_int_equal(peers_listen(b.peers, listen, &err), 0);
	peers_redial(a.peers, "b");
	peers_redial(a.peers, "nobody");
	RUN_UNTIL(&world, is_settled(&a, &b));
	assert_string_equal(peers_last_error(a.peers, "b"), "");
	peers_redial(a.peers, "b"); /* connected: nothing */
	assert_int_equal(count_links(&a), 1);
	side_end(&a);
	side_end(&b);
	world_end(&world);
}

static bool localhost_is_known(void)
{
	struct addrinfo *found = NULL;
	bool known = getaddrinfo("localhost", NULL, NULL, &found) == 0;
	if (known)
		freeaddrinfo(found);
	return known;
}

static void names_are_resolved_and_failures_named(void **state)
{
	struct world world;
	struct side a = {0}, b = {0};
	char to[96];
	if (!localhost_is_known())
		skip(); /* a bare root has no /etc/hosts */
	world_begin(&world);
	side_begin(&b, &world, "b", true, "a");
	snprintf(to, sizeof(to), "b=localhost:%d c=no-such-host.invalid:1", peers_port(b.peers));
	log_capture();
	side_begin(&a, &world, "a", false, to);
	uint64_t began = clock_mono_ms();
	while ((!is_settled(&a, &b) || !peers_last_error(a.peers, "c")[0]) &&
	       run_once(&world, began))
		;
	free(log_captured());
	assert_true(is_live(&a));
	assert_non_null(strstr(peers_last_error(a.peers, "c"), "resolve no-such-host.invalid"));
	side_end(&a);
	side_end(&b);
	world_end(&world);
}

static void a_bad_start_is_explained_and_leaves_nothing(void **state)
{
	struct world world;
	struct err err = {0};
	struct peers *peers = NULL;
	struct tls_identity *identity = identity_of("a");
	const struct link_events events = {0};
	const struct peer_address bad = {.node = "b", .address = "nowhere"};
	world_begin(&world);
	assert_int_equal(
		peers_start(&peers, &world.loop, "a", NULL, identity, &bad, 1, &events, &err),
		-EINVAL);
	assert_non_null(strstr(err.msg, "peer b"));
	assert_int_equal(
		peers_start(&peers, &world.loop, "a", "no port", identity, NULL, 0, &events, &err),
		-EINVAL);
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);
	char listen_to[32];
	int taken = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(taken, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(taken, 1), 0);
	getsockname(taken, (struct sockaddr *)&at, &len);
	snprintf(listen_to, sizeof(listen_to), "127.0.0.1:%d", ntohs(at.sin_port));
	assert_int_equal(
		peers_start(&peers, &world.loop, "a", listen_to, identity, NULL, 0, &events, &err),
		-EADDRINUSE);
	assert_non_null(strstr(err.msg, "another agent"));
	close(taken);
	assert_null(peers);
	tls_identity_free(identity);
	world_end(&world);
}

static void a_reload_keeps_what_is_still_trusted(void **state)
{
	struct world world;
	struct side a = {0}, b = {0};
	struct err err = {0};
	char to[64], print[TLS_FINGERPRINT_MAX];
	const char *pin = print;
	struct tls_identity *other = NULL;
	world_begin(&world);
	side_begin(&b, &world, "b", true, "a");
	snprintf(to, sizeof(to), "b=%s", address_of(&b));
	side_begin(&a, &world, "a", false, to);
	RUN_UNTIL(&world, is_settled(&a, &b));
	struct peer_address same[2] = {{.node = "b", .address = address_of(&b)}, {.node = "c"}};
	struct tls_identity *fresh = identity_of("a");
	assert_int_equal(peers_update(a.peers, fresh, same, 2, &err), 0);
	tls_identity_free(fresh);
	uv_run(&world.loop, UV_RUN_ONCE);
	assert_true(is_settled(&a, &b));
	assert_int_equal(a.closes, 0);
	const struct peer_address bad = {.node = "b", .address = "x"};
	assert_int_equal(peers_update(a.peers, a.identity, &bad, 1, &err), -EINVAL);
	assert_true(is_live(&a));
	/* b's key is no longer the one: the link goes, and b is not let in again. */
	assert_int_equal(tls_fingerprint(print, certificate_file("c"), &err), 0);
	const struct tls_peer renewed = {.node = "b", .fingerprints = &pin, .n_fingerprints = 1};
	assert_int_equal(
		tls_identity_new(&other, certificate_file("a"), key_file("a"), &renewed, 1, &err),
		0);
	log_capture();
	assert_int_equal(peers_update(a.peers, other, same, 1, &err), 0);
	tls_identity_free(other);
	uint64_t began = clock_mono_ms();
	while ((a.closes == 0 || b.closes == 0 ||
		!strstr(peers_last_error(a.peers, "b"), "not configured for b")) &&
	       run_once(&world, began))
		;
	free(log_captured());
	assert_int_equal(b.reason, BYE_UNKNOWN_PEER);
	assert_int_equal(a.opens, 1);
	/* And then it is gone from the configuration altogether, and comes back. */
	assert_int_equal(peers_update(a.peers, a.identity, NULL, 0, &err), 0);
	RUN_UNTIL(&world, !a.peers->list && !a.peers->links);
	assert_int_equal(peers_update(a.peers, a.identity, same, 1, &err), 0);
	RUN_UNTIL(&world, is_settled(&a, &b));
	side_end(&a);
	side_end(&b);
	world_end(&world);
}

static void a_removed_peers_link_is_closed(void **state)
{
	struct world world;
	struct side a = {0}, b = {0};
	struct err err = {0};
	world_begin(&world);
	begin_crossing(&world, &a, &b);
	RUN_UNTIL(&world, is_settled(&a, &b));
	assert_int_equal(peers_update(b.peers, b.identity, NULL, 0, &err), 0);
	RUN_UNTIL(&world, a.closes >= 1 && b.closes >= 1 && !b.link);
	assert_int_equal(b.reason, BYE_UNKNOWN_PEER);
	side_end(&a);
	side_end(&b);
	world_end(&world);
}

static void shut_all(struct side *side, struct link *link)
{
	if (side->peers)
		side_close(side);
}

static int shut_all_in_frame(struct side *side, struct link *link, const struct frame *frame)
{
	shut_all(side, link);
	return -ECANCELED;
}

static void everything_may_end_in_any_callback(void **state)
{
	for (int where = 0; where < 3; where++) {
		struct world world;
		struct side a = {0}, b = {0};
		world_begin(&world);
		a.on_open = where == 0 ? shut_all : NULL;
		a.on_frame = where == 1 ? shut_all_in_frame : NULL;
		a.on_closed = where == 2 ? shut_all : NULL;
		begin_crossing(&world, &a, &b);
		if (where == 2) {
			RUN_UNTIL(&world, is_settled(&a, &b));
			link_close(b.link, BYE_GROUP, "go");
		}
		RUN_UNTIL(&world, a.gone);
		side_end(&a);
		side_end(&b);
		world_end(&world);
	}
}

/* Whatever is under way when the end comes (resolving, connecting, TLS, crossing, full queues). */
static void shutdown_is_clean_at_any_moment(void **state)
{
	uint64_t seed = random_seed();
	static uint8_t chunk[60000];
	for (int round = 0; round < 200; round++) {
		struct world world;
		struct side a = {0}, b = {0};
		world_begin(&world);
		begin_crossing(&world, &a, &b);
		unsigned turns = random_next(&seed) % 30;
		for (unsigned i = 0; i < turns; i++) {
			uv_run(&world.loop, UV_RUN_NOWAIT);
			struct side *side = random_next(&seed) % 2 ? &a : &b;
			switch (side->link ? random_next(&seed) % 12 : 99) {
			case 0: link_close(side->link, BYE_INTERNAL, "by chance"); break;
			case 1: link_pause(side->link); break;
			case 2: link_resume(side->link); break;
			case 3: peers_redial(side->peers, side == &a ? "b" : "a"); break;
			case 4:
			case 5:
				if (is_live(side))
					link_send(side->link, WIRE_DATA, chunk, sizeof(chunk));
				break;
			default: break;
			}
		}
		struct side *first = random_next(&seed) % 2 ? &a : &b;
		side_close(first);
		if (random_next(&seed) % 2)
			side_close(first == &a ? &b : &a);
		side_end(&a);
		side_end(&b);
		world_end(&world);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crossing_dials_leave_one_link_on_both_sides),
		cmocka_unit_test(the_first_names_dial_wins_over_a_young_link),
		cmocka_unit_test(a_losing_dial_is_never_reported),
		cmocka_unit_test(a_dial_long_after_wins_whoever_dialled),
		cmocka_unit_test(a_newer_dial_from_the_same_side_takes_over),
		cmocka_unit_test(a_peer_that_comes_later_is_found),
		cmocka_unit_test(names_are_resolved_and_failures_named),
		cmocka_unit_test(a_bad_start_is_explained_and_leaves_nothing),
		cmocka_unit_test(a_reload_keeps_what_is_still_trusted),
		cmocka_unit_test(a_removed_peers_link_is_closed),
		cmocka_unit_test(everything_may_end_in_any_callback),
		cmocka_unit_test(shutdown_is_clean_at_any_moment),
	};
	return cmocka_run_group_tests(tests, keys_make, keys_remove);
}
