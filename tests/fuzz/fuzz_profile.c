/* Rules of a configuration: refused with a reason, or they judge every path; our own directory is
 * never taken, and nothing is wanted beneath a directory that was called not our business. */
#include <stdbool.h>

#include "agent/conf/profile.h"
#include "fuzz.h"
#include "protocol/relpath.h"

#define RULES 24

static bool is_own(const char *path)
{
	return relpath_wrong(path, strlen(path), true) != NULL;
}

static void judge(const struct profile *profile, char *path)
{
	if (is_own(path))
		return;
	struct profile_judgement file = profile_judge(profile, path, false);
	struct profile_judgement dir = profile_judge(profile, path, true);
	CHECK(file.verdict != PROFILE_PASSAGE && file.order_class <= 9 && dir.order_class <= 9);
	if (path[0] == '\0' ||
	    (file.verdict != PROFILE_REPLICATE && dir.verdict != PROFILE_REPLICATE))
		return;
	path[relpath_parent_len(path)] = '\0';
	enum profile_verdict above = profile_judge(profile, path, true).verdict;
	CHECK(above == PROFILE_REPLICATE || above == PROFILE_PASSAGE || above == PROFILE_COMPARE);
}

/* Input: the profile's name, rules, an empty line, paths; each on a line. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *rules[RULES];
	size_t n = 0;
	struct err err = {0};
	struct profile *profile = NULL;
	uint8_t hash[32];
	if (size > 4096)
		return 0;
	char *text = malloc(size + 1);
	CHECK(text);
	memcpy(text, data, size);
	text[size] = '\0';
	char *rest = text, *name = strsep(&rest, "\n"), *line;
	while ((line = strsep(&rest, "\n")) && *line && n < RULES)
		rules[n++] = line;
	int r = profile_new(&profile, name, rules, n, true, &err);
	CHECK(r < 0 ? !profile && err.msg[0] : profile != NULL);
	if (r == 0) {
		char own[] = "a/.artifact-sync/x";
		profile_hash(profile, hash);
		CHECK(profile_text(profile));
		CHECK(profile_judge(profile, own, false).verdict == PROFILE_LEAVE);
		CHECK(profile_judge(profile, own + 2, false).verdict == PROFILE_LEAVE);
		while ((line = strsep(&rest, "\n")))
			judge(profile, line);
	}
	profile_free(profile);
	free(text);
	return 0;
}
