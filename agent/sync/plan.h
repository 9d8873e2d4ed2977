/* plan.h - the cheapest way to give a peer one record. Pure: no clock, disk, socket or thread. */
#ifndef SYNC_PLAN_H
#define SYNC_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/store/store.h"
#include "protocol/record.h"
#include "protocol/wire.h"

struct plan_facts {
	const struct record *record; /* borrowed; the version to be sent */
	const struct acked
		*acked;	      /* borrowed; what the peer acknowledged at this path; NULL: nothing */
	bool bytes_elsewhere; /* the peer has these bytes under another path (the hint) */
	bool have_signature;  /* of the acknowledged version, in the cache */
	uint8_t need;	      /* NEED_* with which the last attempt was answered; 0: none */
	bool fits_inline;     /* the content is small enough to go in the RECORD */
	bool delta_given_up;  /* a delta of this version did not pay: not again */
};

struct plan {
	enum wire_op op;
	bool streamed;	    /* content or delta follows in DATA frames */
	bool ask_signature; /* OP_DELTA: the signature must be asked of the peer first;
			       SIGNATURE_NONE: choose again with need = NEED_CONTENT */
};

struct plan plan_choose(const struct plan_facts *facts);

#endif
