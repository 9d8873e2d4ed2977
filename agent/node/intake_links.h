/* intake_links.h - hard links. The kernel tells of a write under the name that was opened and under
 * no other, and whoever has a file open may write through a name that is gone by now. So the other
 * names of what changed, left its name or was deleted are looked at, too. What escapes: a name that
 * came, was written through and went before anybody could look at it; the next whole scan finds it.
 */
#ifndef NODE_INTAKE_LINKS_H
#define NODE_INTAKE_LINKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/sync/capture.h"

/* Which inodes were seen to have several names, or lost one: what another worker read of them at
 * the same time may be from before, and was not in the index yet when it was searched. The loop's.
 */
#define RECENT_LINKS 1024
struct recent_links {
	uint64_t serial; /* of the latest; before a job it is noted, see below */
	uint64_t inodes[RECENT_LINKS];
};

/* Does the item concern an inode that has been added since the serial was `since`? */
bool recent_links_concern(const struct recent_links *recent, const struct capture_item *item,
			  uint64_t since);
void recent_links_add(struct recent_links *recent, const struct capture_item *items, size_t n);

/* worker: the other names that are to be looked at, of items that are indexed by now.
 * @param paths  receives at most `max` heap strings
 * @return how many */
size_t links_find(struct store *store, const struct capture_item *items, size_t n, char **paths,
		  size_t max);

#endif
