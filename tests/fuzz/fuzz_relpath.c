/* relpath_wrong() against a second judge that is written the slow way. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "protocol/relpath.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Component by component on a NUL-terminated copy: the state of affairs after each byte. */
static bool is_legal(const char *path, size_t len, bool allow_root)
{
	char component[256];
	size_t n = 0;
	if (len == 0)
		return allow_root;
	if (len > 4095 || strlen(path) != len)
		return false;
	for (size_t i = 0; i <= len; i++) {
		if (path[i] != '/' && path[i] != '\0') {
			if (n == 255)
				return false;
			component[n++] = path[i];
			continue;
		}
		component[n] = '\0';
		if (n == 0 || !strcmp(component, ".") || !strcmp(component, "..") ||
		    !strcasecmp(component, ".artifact-sync"))
			return false;
		n = 0;
	}
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *path = malloc(size + 1);
	char *exact = malloc(size ? size : 1); /* without a NUL behind it */
	if (!path || !exact)
		abort();
	memcpy(path, data, size);
	memcpy(exact, data, size);
	path[size] = '\0';
	for (int allow_root = 0; allow_root < 2; allow_root++) {
		if (!relpath_wrong(exact, size, allow_root) != is_legal(path, size, allow_root))
			abort();
	}
	if (!relpath_wrong(exact, size, false)) {
		size_t parent = relpath_parent_len(path);
		if (strlen(relpath_name(path)) + parent + (parent > 0) != size ||
		    !relpath_is_within(path, path))
			abort();
		path[parent] = '\0';
		memcpy(exact, path, parent);
		if (relpath_wrong(exact, parent, true))
			abort();
	}
	free(exact);
	free(path);
	return 0;
}
