#include "protocol/relpath.h"

#include <string.h>
#include <strings.h>

#define PATH_MAX_BYTES 4095
#define NAME_MAX_BYTES 255

/* Our own directory in any mixture of cases: on a file system that folds cases (SMB, casefold) such
 * a name would be the staging directory itself. */
static bool is_own_dir(const char *name, size_t len)
{
	return len == strlen(RELPATH_OWN_DIR) && strncasecmp(name, RELPATH_OWN_DIR, len) == 0;
}

static const char *component_wrong(const char *name, size_t len)
{
	if (len == 0)
		return "has an empty component";
	if (len == 1 && name[0] == '.')
		return "has the component \".\"";
	if (len == 2 && name[0] == '.' && name[1] == '.')
		return "has the component \"..\"";
	if (len > NAME_MAX_BYTES)
		return "has a component of more than 255 bytes";
	if (is_own_dir(name, len))
		return "lies in the agent's own directory";
	return NULL;
}

const char *relpath_wrong(const void *path, size_t len, bool allow_root)
{
	if (len == 0)
		return allow_root ? NULL : "is empty";
	if (len > PATH_MAX_BYTES)
		return "is longer than 4095 bytes";
	if (memchr(path, '\0', len))
		return "has a NUL byte";
	const char *at = path, *end = at + len;
	if (*at == '/')
		return "is absolute";
	for (;;) {
		const char *slash = memchr(at, '/', (size_t)(end - at));
		const char *wrong = component_wrong(at, (size_t)((slash ? slash : end) - at));
		if (wrong || !slash)
			return wrong;
		at = slash + 1;
	}
}

bool relpath_is_within(const char *path, const char *dir)
{
	size_t len = strlen(dir);
	if (len == 0)
		return true;
	return strncmp(path, dir, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

size_t relpath_parent_len(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? (size_t)(slash - path) : 0;
}

const char *relpath_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}
