/* paths.h - the paths of every simulated tree: few, so that schedules meet on them, deep enough
 * that order matters, and in the order of memcmp, so that a number is a path and comparing numbers
 * is comparing paths. */
#ifndef SIM_PATHS_H
#define SIM_PATHS_H

#include <stdbool.h>
#include <stdint.h>

#define N_PATHS 31
#define ALL_PATHS ((1ull << N_PATHS) - 1)

extern const char *const path_text[N_PATHS]; /* [0] is the tree itself, "" */
extern int path_parent[N_PATHS];	     /* -1 for the tree itself */
extern uint32_t path_name[N_PATHS];	     /* of its last component: below PATH_NAMES_END */
extern uint64_t path_beneath[N_PATHS];	     /* masks, without the path itself */
extern uint64_t path_above[N_PATHS];

#define PATH_NAMES_END 64 /* greater than every name of a tree; stage and salvage begin here */

void paths_init(void);
int path_find(const char *text); /* -1 when it is none of them */

#endif
