/* lineage.h - comparing where two nodes come from. Pure. */
#ifndef PROTOCOL_LINEAGE_H
#define PROTOCOL_LINEAGE_H

#include <stdbool.h>
#include <stddef.h>

#include "protocol/wire.h"

enum lineage_relation {
	LINEAGE_SAME,	     /* equal, entry by entry */
	LINEAGE_OURS_LONGER, /* theirs is a prefix of ours: they were superseded, or are behind */
	LINEAGE_THEIRS_LONGER,
	LINEAGE_FORK,	   /* both have an entry after the last common one */
	LINEAGE_UNRELATED, /* not even the first is common */
	LINEAGE_NONE_OURS, /* we have none: never part of the group */
	LINEAGE_NONE_THEIRS,
	LINEAGE_NONE, /* neither has one */
};

/**
 * Compares at the first entry that differs, never by the last number.
 * @param common  receives how many leading entries are equal
 */
enum lineage_relation lineage_compare(const struct epoch_entry *ours, size_t n_ours,
				      const struct epoch_entry *theirs, size_t n_theirs,
				      size_t *common);

/**
 * Of two lineages that fork: has a person ended theirs, or ours, with a later epoch of the other?
 * @param common  from lineage_compare()
 * @return > 0: theirs was ended by ours; < 0: ours by theirs; 0: nobody has decided, or each
 * against the other
 */
int lineage_ended(const struct epoch_entry *ours, size_t n_ours, const struct epoch_entry *theirs,
		  size_t n_theirs, size_t common);

/* @return 0, or -EBADMSG: numbers must grow from 1, ids must not be zero, each parent must be the
 * id before it (zero for the first), base_seq must not shrink. An empty lineage is sound. */
int lineage_check(const struct epoch_entry *entries, size_t n);

/* What a handshake comes to, for the side that asks. docs/PROTOCOL.md has the table. */
enum handshake {
	HANDSHAKE_SEND,	    /* we are active, they follow us: send what is not acknowledged */
	HANDSHAKE_RECEIVE,  /* the mirror image */
	HANDSHAKE_SEND_ALL, /* they are new to the group and empty, or adopted: take our lineage,
			       compare all */
	HANDSHAKE_RECEIVE_ALL,
	HANDSHAKE_RECONCILE_SEND, /* positions cannot be trusted (state rolled back): compare all
				     first */
	HANDSHAKE_RECONCILE_RECEIVE,
	HANDSHAKE_SUPERSEDED, /* they extend our lineage while we believe to be active: we are
				 fenced */
	HANDSHAKE_SUPERSEDES, /* the mirror image: they must fence themselves and rejoin */
	HANDSHAKE_IDLE,	      /* two passives of one group: nothing flows between them */
	HANDSHAKE_REFUSE, /* with the reason in *why: version, group, self, unrelated, not adopted,
			     two actives, split */
};

const char *handshake_name(enum handshake outcome); /* "send", "receive-all", ... */

/**
 * Judges a pair of HELLOs. Symmetric: each side calls it with itself first, the outcomes match and
 * the sentence is the same. A state is rolled back when the other saw a later transaction of it
 * than it has itself: seen_chain_n > chain_n, or equal numbers with another chain hash. A receiver
 * that holds a seq the sender cannot have given it is compared first too.
 * @param why   receives the BYE_* reason for HANDSHAKE_REFUSE, else 0
 * @param text  receives a sentence for people: what was compared, what to do
 */
enum handshake handshake_judge(const struct wire_hello *ours, const struct wire_hello *theirs,
			       enum wire_reason *why, char text[WIRE_TEXT_MAX + 1]);

#endif
