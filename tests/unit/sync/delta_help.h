/* delta_help.h - what the delta tests share: printed seeds, files in memory, two ways to patch. */
#ifndef TESTS_SYNC_DELTA_HELP_H
#define TESTS_SYNC_DELTA_HELP_H

#include <librsync.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/buf.h"

struct random {
	uint64_t state;
};

/* Seeded from the clock, or from TEST_SEED; prints the seed. */
struct random random_new(const char *what);
uint64_t random_next(struct random *rng);
uint64_t random_below(struct random *rng, uint64_t limit); /* 0 when limit is 0 */
uint8_t *random_bytes(struct random *rng, size_t len);	   /* heap */
/* A copy with some bytes changed, pieces inserted, removed, moved. Heap. */
uint8_t *random_edit(struct random *rng, const uint8_t *bytes, size_t len, size_t *out_len);

int memory_file(const uint8_t *bytes, size_t len);

rs_result patch_with_librsync(struct buf *out, const uint8_t *basis, size_t basis_len,
			      const uint8_t *delta, size_t delta_len);
/* Feeds our parser in pieces of `step`. @return delta_parser_feed()'s or delta_parser_end()'s
 * result */
int patch_with_parser(struct buf *out, const uint8_t *basis, size_t basis_len, size_t output_len,
		      const uint8_t *delta, size_t delta_len, size_t step);

#endif
