#include "protocol/lineage.h"

#include <errno.h>
#include <string.h>

static bool same_entry(const struct epoch_entry *a, const struct epoch_entry *b)
{
	return a->number == b->number && memcmp(a->id, b->id, WIRE_ID_LEN) == 0 &&
	       memcmp(a->parent, b->parent, WIRE_ID_LEN) == 0 && a->base_seq == b->base_seq &&
	       memcmp(a->ends, b->ends, WIRE_ID_LEN) == 0 && strcmp(a->node, b->node) == 0;
}

enum lineage_relation lineage_compare(const struct epoch_entry *ours, size_t n_ours,
				      const struct epoch_entry *theirs, size_t n_theirs,
				      size_t *common)
{
	size_t n = 0;
	while (n < n_ours && n < n_theirs && same_entry(&ours[n], &theirs[n]))
		n++;
	*common = n;
	if (n_ours == 0)
		return n_theirs == 0 ? LINEAGE_NONE : LINEAGE_NONE_OURS;
	if (n_theirs == 0)
		return LINEAGE_NONE_THEIRS;
	if (n == 0)
		return LINEAGE_UNRELATED;
	if (n == n_ours)
		return n == n_theirs ? LINEAGE_SAME : LINEAGE_THEIRS_LONGER;
	return n == n_theirs ? LINEAGE_OURS_LONGER : LINEAGE_FORK;
}

static bool ends_one_of(const struct epoch_entry *entry, const struct epoch_entry *of, size_t from,
			size_t n)
{
	for (size_t i = from; i < n; i++) {
		if (memcmp(entry->ends, of[i].id, WIRE_ID_LEN) == 0)
			return true;
	}
	return false;
}

static bool ended_by(const struct epoch_entry *entry, const struct epoch_entry *by, size_t from,
		     size_t n)
{
	for (size_t i = from; i < n; i++) {
		if (memcmp(by[i].ends, entry->id, WIRE_ID_LEN) == 0)
			return true;
	}
	return false;
}

/* Is b's fork ended by a, and by a decision that b's own decisions against a do not come after? Who
 * ends an epoch knows all that is before it. */
static bool ends(const struct epoch_entry *a, size_t n_a, const struct epoch_entry *b, size_t n_b,
		 size_t common)
{
	size_t known = n_b;
	while (known > common && !ends_one_of(&b[known - 1], a, common, n_a) &&
	       !ended_by(&b[known - 1], a, common, n_a))
		known--;
	return known > common && ended_by(&b[known - 1], a, common, n_a);
}

int lineage_ended(const struct epoch_entry *ours, size_t n_ours, const struct epoch_entry *theirs,
		  size_t n_theirs, size_t common)
{
	return ends(ours, n_ours, theirs, n_theirs, common) -
	       ends(theirs, n_theirs, ours, n_ours, common);
}

int lineage_check(const struct epoch_entry *entries, size_t n)
{
	static const uint8_t nobody[WIRE_ID_LEN];
	const uint8_t *parent = nobody;
	uint64_t number = 0, base_seq = 0;
	for (size_t i = 0; i < n; i++) {
		const struct epoch_entry *entry = &entries[i];
		if (entry->number <= number || entry->base_seq < base_seq ||
		    memcmp(entry->parent, parent, WIRE_ID_LEN) != 0 ||
		    memcmp(entry->id, nobody, WIRE_ID_LEN) == 0)
			return -EBADMSG;
		number = entry->number;
		base_seq = entry->base_seq;
		parent = entry->id;
	}
	return 0;
}
