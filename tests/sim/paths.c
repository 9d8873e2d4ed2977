#include "paths.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/relpath.h"

/* "a-" stands between "a" and what is beneath it: an order that recursion would not give. */
const char *const path_text[N_PATHS] = {
	"",    "a", "a-",  "a/b",   "a/b/c",   "a/b/c/x", "a/b/c/y", "a/b/x", "a/b/y", "a/x", "a/y",
	"a/z", "d", "d/e", "d/e/f", "d/e/f/x", "d/e/x",	  "d/e/y",   "d/x",   "d/y",   "g",   "g/x",
	"g/y", "h", "h/i", "h/i/x", "h/x",     "x",	  "y",	     "z",     "zz",
};

int path_parent[N_PATHS];
uint32_t path_name[N_PATHS];
uint64_t path_beneath[N_PATHS];
uint64_t path_above[N_PATHS];

int path_find(const char *text)
{
	int lo = 0, hi = N_PATHS - 1;
	while (lo <= hi) {
		int mid = (lo + hi) / 2;
		int order = strcmp(text, path_text[mid]);
		if (order == 0)
			return mid;
		if (order < 0)
			hi = mid - 1;
		else
			lo = mid + 1;
	}
	return -1;
}

/* The number of a component: that of the first path that has it. */
static uint32_t number_name(int path)
{
	for (int i = 1; i < path; i++) {
		if (strcmp(relpath_name(path_text[i]), relpath_name(path_text[path])) == 0)
			return path_name[i];
	}
	return (uint32_t)path;
}

void paths_init(void)
{
	for (int i = 0; i < N_PATHS; i++) {
		const char *text = path_text[i];
		if (relpath_wrong(text, strlen(text), true) ||
		    (i > 0 && strcmp(path_text[i - 1], text) >= 0))
			abort();
		path_parent[i] = -1;
		path_name[i] = number_name(i);
		path_beneath[i] = path_above[i] = 0;
		for (int k = 0; k < N_PATHS; k++) {
			if (k != i && relpath_is_within(path_text[k], text))
				path_beneath[i] |= 1ull << k;
			if (k != i && relpath_is_within(text, path_text[k]))
				path_above[i] |= 1ull << k;
		}
		for (int k = 0; k < i; k++) {
			if ((path_above[i] >> k & 1) &&
			    strlen(path_text[k]) == relpath_parent_len(text))
				path_parent[i] = k;
		}
	}
}
