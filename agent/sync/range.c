#include "agent/sync/range.h"

#include <string.h>

void range_release(struct range *range)
{
	free(range->lo);
	free(range->hi);
	*range = (struct range){0};
}

void range_element(uint8_t out[HASH_LEN], const struct record *record, bool with_owner,
		   struct buf *scratch)
{
	size_t len = record_element(scratch->data, scratch->cap, record, with_owner);
	if (len > scratch->cap) {
		BUG_ON(len > RECORD_ELEMENT_MAX);
		GROW(scratch->data, scratch->cap, len);
		len = record_element(scratch->data, scratch->cap, record, with_owner);
	}
	hash_bytes(out, scratch->data, len);
}

/* Calls visit() for each live record of the range, in order. */
static int each_live(struct store *store, const char *lo, const char *hi,
		     void (*visit)(void *arg, const struct record *record,
				   const uint8_t element[HASH_LEN]),
		     void *arg, struct err *err)
{
	AUTO(store_cursor) *cursor = NULL;
	struct store_state state;
	struct buf scratch = {0};
	const struct index_entry *entry;
	store_state(store, &state);
	int r = store_cursor_open(&cursor, store, lo, hi, err);
	while (r >= 0 && (r = store_cursor_next(cursor, &entry, err)) > 0) {
		uint8_t element[HASH_LEN];
		if (entry->rec.kind == RECORD_ABSENT)
			continue;
		range_element(element, &entry->rec, state.preserve_ownership, &scratch);
		visit(arg, &entry->rec, element);
	}
	buf_release(&scratch);
	return r;
}

struct summing {
	struct hasher *hasher;
	uint64_t records;
};

static void sum_one(void *arg, const struct record *record, const uint8_t element[HASH_LEN])
{
	struct summing *sum = arg;
	(void)record;
	hasher_add(sum->hasher, element, HASH_LEN);
	sum->records++;
}

int range_digest(struct range *range, struct store *store, struct err *err)
{
	struct summing sum = {.hasher = hasher_new()};
	int r = each_live(store, range->lo, range->hi, sum_one, &sum, err);
	hasher_end(sum.hasher, range->digest);
	hasher_free(sum.hasher);
	range->records = sum.records;
	return r;
}

struct splitting {
	struct summing sum;
	struct range *out;
	size_t n;
	uint64_t per_part;
};

static void begin_part(struct splitting *s, const char *lo)
{
	s->out[s->n] = (struct range){.lo = x_strdup(lo)};
	hasher_restart(s->sum.hasher);
	s->sum.records = 0;
}

static void end_part(struct splitting *s, const char *hi)
{
	struct range *part = &s->out[s->n++];
	part->hi = x_strdup(hi);
	part->records = s->sum.records;
	hasher_end(s->sum.hasher, part->digest);
}

static void split_one(void *arg, const struct record *record, const uint8_t element[HASH_LEN])
{
	struct splitting *s = arg;
	if (s->sum.records == s->per_part && s->n < RANGE_PARTS) {
		end_part(s, record->path);
		begin_part(s, record->path);
	}
	sum_one(&s->sum, record, element);
}

int range_split(struct range *out, size_t *n, const struct range *range, struct store *store,
		struct err *err)
{
	struct splitting s = {.out = out, .per_part = range->records / RANGE_PARTS + 1};
	s.sum.hasher = hasher_new();
	begin_part(&s, range->lo);
	int r = each_live(store, range->lo, range->hi, split_one, &s, err);
	end_part(&s, range->hi);
	hasher_free(s.sum.hasher);
	*n = s.n;
	return r;
}
