/* profile.h - which paths are replicated, compared or left alone, and how: ordered rules, first
 * match wins. Pure after it is built; read from any thread.
 *
 * A rule is "+ PATTERN" (replicate), "- PATTERN" (leave out) or "= PATTERN" (compare only); glob.h
 * says what a pattern is. `-` on a directory also leaves out what is beneath it; `+` and `=` take
 * exactly what they match, so a whole directory needs a last component of two stars. Our own
 * directory is left out whatever the rules say. "+ set=NAME PATTERN" puts what it matches into a
 * consistency set (set_name.h), whose members reach the other node in one batch or not at all. */
#ifndef CONF_PROFILE_H
#define CONF_PROFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/alloc.h"
#include "agent/base/err.h"

#define PROFILE_RULES_MAX 1000 /* in the configuration */

struct profile;

enum profile_verdict {
	PROFILE_LEAVE, /* not our business */
	PROFILE_REPLICATE,
	PROFILE_COMPARE, /* fingerprints only */
	PROFILE_PASSAGE, /* a directory that only leads to replicated paths: its mtime is not
			    replicated */
};

#define GATE_XML 0x01	      /* must be well formed */
#define GATE_JSON 0x02	      /* must parse */
#define GATE_NOT_EMPTIED 0x04 /* zero bytes where the last version had content is held */
#define RULE_MTIME_STEP \
	0x08 /* installed mtime moves 1 s on when content changes within one second */

struct profile_judgement {
	enum profile_verdict verdict;
	unsigned attributes; /* GATE_*, RULE_* */
	uint8_t order_class; /* 0 first ... 9 last: order of publishing within a batch */
};

/**
 * @param name   "wso2is", "all", or several joined by '+': "wso2is+keys+webapps" (sub-profiles
 * keys, conf, webapps, ext)
 * @param rules  the configuration's own, judged before the profile's; "+ pattern", "- pattern", "=
 * pattern"
 * @param gates  false: no GATE_* is ever asked for (this node's own choice: not part of the hash)
 * @return 0, or -EINVAL with the rule or name that is wrong and the ones there are
 */
int profile_new(struct profile **out, const char *name, const char *const *rules, size_t n,
		bool gates, struct err *err);
void profile_free(struct profile *profile);
DEFINE_AUTO(profile)

/* Judges a path. For a directory: may anything beneath it be wanted? */
enum profile_verdict profile_verdict(const struct profile *profile, const char *path, bool is_dir);
/* Whatever it is or was: could it be replicated? For a path whose kind is not known. */
bool profile_may_replicate(const struct profile *profile, const char *path);
/* Also what is asked of it; that is most of the work. */
struct profile_judgement profile_judge(const struct profile *profile, const char *path,
				       bool is_dir);

#define PROFILE_SET_MAX 640 /* bytes of a set's name with what its wildcards stand for, NUL too */

/* The consistency set of a path that is replicated. Directories and other objects of one path are
 * in the same. @return false: in none */
bool profile_set(const struct profile *profile, const char *path, char out[PROFILE_SET_MAX]);

/* All rules in the order they are judged, one on a line. Borrowed until profile_free(). */
const char *profile_text(const struct profile *profile);
/* SHA-256 over profile_text(): nodes compare it. */
void profile_hash(const struct profile *profile, uint8_t out[32]);
uint8_t profile_max_delete(const struct profile *profile); /* per cent, the profile's default */

#endif
