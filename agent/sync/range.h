/* range.h - digests over ranges of the sorted index: how two nodes find what differs in
 * O(differences * log n) exchanges. The digest of a range is SHA-256 over the SHA-256 of each live
 * record's element, in the order of paths. Blocking; run on a worker. */
#ifndef SYNC_RANGE_H
#define SYNC_RANGE_H

#include "agent/base/buf.h"
#include "agent/base/err.h"
#include "agent/store/store.h"
#include "protocol/wire.h"

#define RANGE_LIST_MAX 64 /* records: a range no larger is listed instead of split */
#define RANGE_PARTS 16	  /* a larger one is split into about so many */

struct range {
	char *lo, *hi; /* heap; lo <= path < hi, "" = no bound */
	uint64_t records;
	uint8_t digest[HASH_LEN];
};
void range_release(struct range *range);

/* Fills in records and digest for lo and hi. @return 0 or negative errno */
int range_digest(struct range *range, struct store *store, struct err *err);

/**
 * Splits a range of more than RANGE_LIST_MAX records into subranges that cover it, in order.
 * @param out  room for WIRE_RANGES_MAX; the caller releases each
 */
int range_split(struct range *out, size_t *n, const struct range *range, struct store *store,
		struct err *err);

/* SHA-256 of a record's element; `scratch` grows to RECORD_ELEMENT_MAX at most. */
void range_element(uint8_t out[HASH_LEN], const struct record *record, bool with_owner,
		   struct buf *scratch);

#endif
