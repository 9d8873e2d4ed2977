/* fixture.h - nodes on one loop over real sockets on 127.0.0.1, and a raw client that says what no
 * link would say. Everything waits on conditions; a watchdog turns "never" into a failure. */
#ifndef TESTS_NET_FIXTURE_H
#define TESTS_NET_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <openssl/ssl.h>
#include <pthread.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/net/peers.h"

#define WATCHDOG_MS 30000
#define NODES 3 /* "a", "b", "c"; each has a key, in a directory made once */

struct world {
	uv_loop_t loop;
	uv_timer_t tick; /* so that a wait without traffic ends */
};

struct side {
	struct world *world;
	const char *name;
	struct tls_identity *identity;
	struct peers *peers;
	bool gone; /* peers_close() has finished */

	struct link *link; /* open now */
	unsigned opens, closes, frames, writables;
	uint64_t body_bytes;
	uint16_t reason; /* of the last closed() */
	char why[600];
	unsigned up; /* links open at once: never above 1 */

	/* What a test wants done; the default sends HELLO, goes live on HELLO. */
	void (*on_open)(struct side *side, struct link *link);
	int (*on_frame)(struct side *side, struct link *link, const struct frame *frame);
	void (*on_writable)(struct side *side, struct link *link);
	void (*on_closed)(struct side *side, struct link *link);
	void *more;
};

int keys_make(void **state);   /* group setup */
int keys_remove(void **state); /* group teardown */
const char *key_file(const char *node);
const char *certificate_file(const char *node);
const char *scratch_file(const char *name);

extern const struct peers_timing quick; /* deadlines of tests */

void world_begin(struct world *world);
void world_end(struct world *world); /* asserts uv_loop_close() == 0 */

/* An identity of `node` that pins the keys of all the others. */
struct tls_identity *identity_of(const char *node);

/* `to`: "b=127.0.0.1:1234 c" - nodes with or without an address, separated by spaces. */
void side_begin(struct side *side, struct world *world, const char *name, bool listens,
		const char *to);
void side_begin_timed(struct side *side, struct world *world, const char *name, bool listens,
		      const char *to, const struct peers_timing *timing);
void side_close(struct side *side); /* asks; wait for side->gone */
void side_end(struct side *side);   /* closes, waits, releases */
void side_go_live(struct link *link);
const char *address_of(const struct side *side); /* "127.0.0.1:port", valid until the next call */

bool run_once(struct world *world, uint64_t began_ms); /* false when the watchdog fired */
#define RUN_UNTIL(world, cond)                                            \
	do {                                                              \
		uint64_t began_ = clock_mono_ms();                        \
		while (!(cond)) {                                         \
			if (!run_once((world), began_))                   \
				fail_msg("never became true: %s", #cond); \
		}                                                         \
	} while (0)

/* A blocking TLS client in a thread of its own. */
struct raw {
	int port;
	const char *node;  /* whose key it shows; NULL: none */
	int max_version;   /* 0: TLS 1.3 */
	const void *bytes; /* sent after the handshake */
	size_t len;
	bool stay_silent;  /* TCP only: neither sends nor reads until the other side closes */
	const char *plain; /* TCP only: sends this instead of TLS */
	/* results, valid after raw_join() or when done */
	pthread_t thread;
	_Atomic bool done;
	bool shook_hands;
	uint8_t got[4096];
	size_t got_len;
};
void raw_start(struct raw *raw);
void raw_join(struct raw *raw);
/* The BYE reason in what the client got, or 0. */
unsigned raw_bye_reason(const struct raw *raw);

/* Everything written to standard error between the two, heap; for what people get to read. */
void log_capture(void);
char *log_captured(void);

uint64_t random_seed(void); /* from TEST_SEED or the clock; printed */
uint32_t random_next(uint64_t *seed);

#endif
