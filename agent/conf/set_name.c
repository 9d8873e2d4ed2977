#include "agent/conf/set_name.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "agent/base/quote.h"

/* The number in "{N}", 0 when there is none. */
static unsigned reference(const char *s)
{
	return s[0] == '{' && s[1] >= '1' && s[1] <= '9' && s[2] == '}' ? (unsigned)(s[1] - '0')
									: 0;
}

static int check_references(const char *name, const struct glob *glob, struct err *err)
{
	unsigned n = 0;
	for (const char *s = name; *s; s++) {
		unsigned which = reference(s);
		if (which == 0)
			continue;
		if (++n > SET_NAME_REFS_MAX)
			return err_set(err, -EINVAL, "it refers to more than %d wildcards",
				       SET_NAME_REFS_MAX);
		int r = glob_has_wildcard(glob, which, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int check_text(const char *name, struct err *err)
{
	if (!*name || strlen(name) > SET_NAME_LEN_MAX)
		return err_set(err, -EINVAL, "it has not 1 to %d bytes", SET_NAME_LEN_MAX);
	for (const char *s = name; *s; s += reference(s) ? 3 : 1) {
		if (!reference(s) && !isalnum((unsigned char)*s) && !strchr("_-.:", *s))
			return err_set(
				err, -EINVAL,
				"it is made of letters, digits, \"_-.:\" and {1} to {9} (what "
				"a wildcard of the pattern stands for)");
	}
	return 0;
}

int set_name_check(const char *name, const struct glob *glob, struct err *err)
{
	char q[QUOTED_MAX];
	int r = check_text(name, err);
	if (r == 0)
		r = check_references(name, glob, err);
	return r < 0 ? err_wrap(err, "set name %.80s", quote_path(q, name)) : 0;
}

bool set_name_expand(char *out, size_t size, const char *name, const struct glob *glob,
		     const char *path)
{
	size_t n = 0;
	for (const char *s = name; *s;) {
		struct glob_capture part = {.at = s, .len = 1};
		unsigned which = reference(s);
		if (which > 0 && !glob_captured(&part, glob, which, path))
			return false;
		if (part.len >= size - n)
			return false;
		memcpy(out + n, part.at, part.len);
		n += part.len;
		s += which > 0 ? 3 : 1;
	}
	out[n] = '\0';
	return true;
}
