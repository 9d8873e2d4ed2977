/* survey.h - what of a tree is the profile's business: how many directories have to be watched, how
 * many files are there. Reads names and stats only. Blocking; thread: one. */
#ifndef CLI_SURVEY_H
#define CLI_SURVEY_H

#include <stdint.h>

#include "agent/conf/profile.h"
#include "agent/fs/tree.h"

struct survey {
	uint64_t directories;  /* to be watched */
	uint64_t files, bytes; /* to be replicated; links count as files without bytes */
	uint64_t unreadable;   /* directories that could not be read */
	char *unreadable_path; /* the first of them; NULL when there is none */
	char *nested_path; /* a directory that is a root of somebody else's; NULL: none was met */
	int unreadable_error; /* negative errno */
};
void survey_release(struct survey *survey);

/* Roots that are not healthy count as unreadable. */
void survey_tree(struct survey *out, const struct tree *tree, const struct profile *profile);

#endif
