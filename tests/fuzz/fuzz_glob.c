/* Patterns: the matcher against fnmatch() per component and a table for the double star. Patterns
 * with braces, or with what only fnmatch() knows, are run all the same: they must end, and in time.
 */
#include <fnmatch.h>
#include <stdbool.h>

#include "agent/conf/glob.h"
#include "fuzz.h"
#include "protocol/relpath.h"

#define PARTS_MAX 32

struct parts {
	size_t n;
	char text[512];
	char *part[PARTS_MAX];
};

static bool split(struct parts *out, const char *text)
{
	out->n = 0;
	if (strlen(text) >= sizeof(out->text))
		return false;
	strcpy(out->text, text);
	for (char *at = out->text; *text; at = strchr(at, '\0') + 1) {
		if (out->n == PARTS_MAX)
			return false;
		out->part[out->n++] = at;
		char *slash = strchr(at, '/');
		if (!slash)
			break;
		*slash = '\0';
	}
	return true;
}

/* Does pattern from p on match path from s on? Few components: plain recursion with a memory. */
static bool slow_match(const struct parts *pattern, const struct parts *path)
{
	static bool can[PARTS_MAX + 1][PARTS_MAX + 1];
	for (size_t p = pattern->n + 1; p-- > 0;) {
		for (size_t s = path->n + 1; s-- > 0;) {
			if (p == pattern->n)
				can[p][s] = s == path->n;
			else if (strcmp(pattern->part[p], "**") == 0)
				can[p][s] = can[p + 1][s] || (s < path->n && can[p][s + 1]);
			else
				can[p][s] = s < path->n && can[p + 1][s + 1] &&
					    fnmatch(pattern->part[p], path->part[s], 0) == 0;
		}
	}
	return can[0][0];
}

/* fnmatch() knows more of classes than the manual promises, and is slow where stars are many. */
static bool is_plain(const char *pattern)
{
	size_t stars = 0;
	for (const char *c = pattern; *c; c++)
		stars += *c == '*';
	return stars <= 6 && !strpbrk(pattern, "{}[\\") && strlen(pattern) < 100;
}

static bool slow_above(const struct parts *pattern, const char *path)
{
	char cut[512];
	struct parts parts;
	strcpy(cut, path);
	for (;;) {
		split(&parts, cut);
		if (slow_match(pattern, &parts))
			return true;
		if (cut[0] == '\0')
			return false;
		cut[relpath_parent_len(cut)] = '\0';
	}
}

static void compare(const char *pattern, const char *path, struct glob_match m)
{
	struct parts want, have;
	if (!is_plain(pattern) || !split(&want, pattern) || !split(&have, path))
		return;
	CHECK(m.itself == slow_match(&want, &have));
	CHECK(m.above == slow_above(&want, path));
}

/* Input: the pattern, a newline, paths, each ended by a newline. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err = {0};
	struct glob *glob = NULL;
	if (size > 8192)
		return 0;
	char *text = malloc(size + 1);
	CHECK(text);
	memcpy(text, data, size);
	text[size] = '\0';
	char *rest = text, *pattern = strsep(&rest, "\n");
	int r = glob_new(&glob, pattern, &err);
	CHECK(r < 0 ? !glob && err.msg[0] : glob != NULL);
	for (char *path; r == 0 && (path = strsep(&rest, "\n"));) {
		if (relpath_wrong(path, strlen(path), true))
			continue;
		struct glob_match m = glob_match(glob, path);
		CHECK(!m.itself || m.above);
		compare(pattern, path, m);
		/* What matches beneath a directory must have said so at the directory. */
		size_t parent = relpath_parent_len(path);
		if (m.itself && path[0]) {
			path[parent] = '\0';
			CHECK(glob_match(glob, path).beneath);
		}
	}
	glob_free(glob);
	free(text);
	return 0;
}
