#include "agent/sync/plan.h"

#include <string.h>

#include "agent/sync/delta.h"

#define DELTA_SIZE_FACTOR 16 /* a version that grew or shrank more has little left to match */

static bool has_content(const struct plan_facts *f)
{
	return f->acked && f->acked->kind == RECORD_FILE && f->acked->size == f->record->size &&
	       memcmp(f->acked->hash, f->record->hash, RECORD_HASH_LEN) == 0;
}

static bool sizes_suit_delta(uint64_t size, uint64_t basis)
{
	if (size < DELTA_MIN_SIZE || basis < DELTA_MIN_SIZE || size > DELTA_SIZE_MAX ||
	    basis > DELTA_SIZE_MAX)
		return false;
	return size <= basis * DELTA_SIZE_FACTOR && basis <= size * DELTA_SIZE_FACTOR;
}

static bool delta_pays(const struct plan_facts *f)
{
	return !f->delta_given_up && f->acked && f->acked->kind == RECORD_FILE &&
	       sizes_suit_delta(f->record->size, f->acked->size);
}

/* After a NEED the peer does not have what we believed, or not intact: only content helps. After
 * NEED_PARENT all that is known is that something above is missing; a reference elsewhere may still
 * hold. */
static struct plan choose_for_file(const struct plan_facts *f)
{
	bool believed = f->need == 0;
	if (believed && has_content(f))
		return (struct plan){.op = OP_META};
	if ((believed || f->need == NEED_PARENT) && f->bytes_elsewhere && f->record->size > 0)
		return (struct plan){.op = OP_REF};
	if (believed && delta_pays(f))
		return (struct plan){
			.op = OP_DELTA, .streamed = true, .ask_signature = !f->have_signature};
	return (struct plan){.op = OP_WHOLE, .streamed = !f->fits_inline};
}

struct plan plan_choose(const struct plan_facts *f)
{
	switch (f->record->kind) {
	case RECORD_ABSENT: return (struct plan){.op = OP_DELETE};
	case RECORD_DIR:
	case RECORD_SYMLINK: return (struct plan){.op = OP_META};
	case RECORD_FILE: break;
	}
	return choose_for_file(f);
}
