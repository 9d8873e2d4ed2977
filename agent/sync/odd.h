/* odd.h - paths that are in the tree and do not arrive as they are, by no fault of anybody: special
 * files, setuid and setgid bits. For status: the first are named, the others counted. Thread: one.
 */
#ifndef SYNC_ODD_H
#define SYNC_ODD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ODD_MAX 64

struct odd { /* all zero: none */
	char *path[ODD_MAX];
	size_t n;
	uint64_t more; /* counted without a name */
};

/* Once each, as far as they are named. */
void odd_add(struct odd *odd, const char *path);
void odd_remove(struct odd *odd, const char *path);
/* `from` becomes empty; what `to` held is forgotten. */
void odd_move(struct odd *to, struct odd *from);
void odd_release(struct odd *odd);
uint64_t odd_count(const struct odd *odd);

#endif
