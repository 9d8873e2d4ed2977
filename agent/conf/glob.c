#include "agent/conf/glob.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "agent/base/quote.h"

/* One alternative, its components cut apart. `any` marks the components that are "**". */
struct alternative {
	char *text; /* components, each ended by NUL */
	const char *component[GLOB_COMPONENTS_MAX];
	unsigned n;
	uint64_t any;
};

struct glob {
	struct alternative *alternatives;
	size_t n, cap;
};

void glob_free(struct glob *glob)
{
	if (!glob)
		return;
	for (size_t i = 0; i < glob->n; i++)
		free(glob->alternatives[i].text);
	free(glob->alternatives);
	free(glob);
}

/* The byte after a class that begins at `s` (a '['), NULL when it is not closed within its
 * component. */
static const char *class_end(const char *s)
{
	s++;
	if (*s == '!' || *s == '^')
		s++;
	for (bool first = true; *s && *s != '/'; first = false) {
		if (*s == ']' && !first)
			return s + 1;
		if (*s == '\\' && s[1])
			s++;
		s++;
	}
	return NULL;
}

static bool class_has(const char *s, const char *end, unsigned char c)
{
	s++;
	bool negated = *s == '!' || *s == '^';
	if (negated)
		s++;
	bool found = false;
	for (end--; s < end; s++) {
		if (*s == '\\')
			s++;
		unsigned char low = (unsigned char)*s, high = low;
		if (s + 2 < end && s[1] == '-') {
			s += s[2] == '\\' && s + 3 < end ? 3 : 2;
			high = (unsigned char)*s;
		}
		found |= low <= c && c <= high;
	}
	return found != negated;
}

/* Matches one byte-consuming item of the pattern. Returns the item after it, NULL when c is another
 * byte. */
static const char *item_match(const char *p, unsigned char c)
{
	if (*p == '?')
		return p + 1;
	if (*p == '[') {
		const char *end = class_end(p);
		return class_has(p, end, c) ? end : NULL;
	}
	if (*p == '\\')
		p++;
	return (unsigned char)*p == c ? p + 1 : NULL;
}

/* One component against one component. Only the last star is ever tried again: giving an earlier
 * one more bytes can never match what a later one cannot. */
static bool component_match(const char *p, const char *s, size_t len)
{
	const char *after_star = NULL;
	size_t retry = 0;
	for (size_t i = 0; i < len;) {
		if (*p == '*') {
			after_star = ++p;
			retry = i;
			continue;
		}
		const char *next = *p ? item_match(p, (unsigned char)s[i]) : NULL;
		if (next) {
			p = next;
			i++;
		} else if (after_star) {
			p = after_star;
			i = ++retry;
		} else {
			return false;
		}
	}
	while (*p == '*')
		p++;
	return *p == '\0';
}

/* A place before "**" is also the place after it: it may stand for nothing. */
static uint64_t places_closed(const struct alternative *a, uint64_t places)
{
	for (uint64_t more = places & a->any; more; more &= more - 1) {
		unsigned i = (unsigned)__builtin_ctzll(more);
		uint64_t after = UINT64_C(1) << (i + 1);
		places |= after;
		more |= after & a->any;
	}
	return places;
}

static uint64_t places_after(const struct alternative *a, uint64_t places, const char *s,
			     size_t len)
{
	uint64_t next = places & a->any;
	for (uint64_t todo = places & ~a->any; todo; todo &= todo - 1) {
		unsigned i = (unsigned)__builtin_ctzll(todo);
		if (i < a->n && component_match(a->component[i], s, len))
			next |= UINT64_C(1) << (i + 1);
	}
	return places_closed(a, next);
}

static struct glob_match alternative_match(const struct alternative *a, const char *path)
{
	struct glob_match m = {0};
	uint64_t end = UINT64_C(1) << a->n;
	uint64_t places = places_closed(a, 1);
	m.above = places & end;
	while (*path && places) {
		size_t len = strcspn(path, "/");
		places = places_after(a, places, path, len);
		m.above |= (places & end) != 0;
		path += len + (path[len] == '/');
	}
	m.itself = places & end;
	m.beneath = places & (end - 1);
	return m;
}

struct glob_match glob_match(const struct glob *glob, const char *path)
{
	struct glob_match m = {0};
	for (size_t i = 0; i < glob->n; i++) {
		struct glob_match one = alternative_match(&glob->alternatives[i], path);
		m.itself |= one.itself;
		m.above |= one.above;
		m.beneath |= one.beneath;
	}
	return m;
}

/* Most paths differ from most patterns in their name alone. */
static bool may_match(const struct alternative *a, const char *name)
{
	unsigned last = a->n - 1;
	return a->any & UINT64_C(1) << last ||
	       component_match(a->component[last], name, strlen(name));
}

bool glob_matches(const struct glob *glob, const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	for (size_t i = 0; i < glob->n; i++) {
		const struct alternative *a = &glob->alternatives[i];
		if (may_match(a, name) && alternative_match(a, path).itself)
			return true;
	}
	return false;
}

static const char *component_wrong(const char *c)
{
	if (*c == '\0')
		return "has an empty component: write it relative to the tree, without a slash at "
		       "either end or "
		       "two in a row";
	if (strcmp(c, ".") == 0 || strcmp(c, "..") == 0)
		return "has a component \".\" or \"..\", which no path in the tree has";
	for (; *c; c++) {
		if (*c == '\\' && *++c == '\0')
			return "ends a component in a backslash: write \\\\ for the byte itself";
		if (*c == '[') {
			c = class_end(c);
			if (!c)
				return "opens a class with [ that is not closed by ]";
			c--;
		}
	}
	return NULL;
}

/* Takes the text of one alternative, in which braces are gone. */
static int glob_add(struct glob *glob, char *text, struct err *err)
{
	if (glob->n == GLOB_ALTERNATIVES_MAX) {
		free(text);
		return err_set(err, -EINVAL, "its braces make more than %d alternatives",
			       GLOB_ALTERNATIVES_MAX);
	}
	GROW(glob->alternatives, glob->cap, glob->n + 1);
	struct alternative *a = &glob->alternatives[glob->n++];
	*a = (struct alternative){.text = text};
	for (char *c = text, *next; c; c = next) {
		next = strchr(c, '/');
		if (next)
			*next++ = '\0';
		const char *wrong = component_wrong(c);
		if (wrong)
			return err_set(err, -EINVAL, "it %s", wrong);
		if (a->n == GLOB_COMPONENTS_MAX)
			return err_set(err, -EINVAL, "it has more than %d components",
				       GLOB_COMPONENTS_MAX);
		if (strcmp(c, "**") == 0)
			a->any |= UINT64_C(1) << a->n;
		a->component[a->n++] = c;
	}
	return 0;
}

/* The first of `set` at brace depth 0, escapes and classes skipped; the end of the text when there
 * is none. */
static const char *find_outside(const char *s, const char *set)
{
	for (int depth = 0; *s; s++) {
		if (depth == 0 && strchr(set, *s))
			return s;
		const char *end = *s == '[' ? class_end(s) : NULL;
		if (end)
			s = end - 1;
		else if (*s == '\\' && s[1])
			s++;
		else if (*s == '{')
			depth++;
		else if (*s == '}' && depth > 0)
			depth--;
	}
	return s;
}

/* Replaces the first pair of braces by each of its choices in turn. Recursion ends: every call has
 * one pair less, and the alternatives are counted. */
static int glob_expand(struct glob *glob, const char *pattern, struct err *err)
{
	const char *open = find_outside(pattern, "{");
	if (*open == '\0')
		return glob_add(glob, x_strdup(pattern), err);
	const char *close = find_outside(open + 1, "}");
	if (*close == '\0')
		return err_set(err, -EINVAL, "it opens a choice with { that is not closed by }");
	for (const char *choice = open + 1; choice <= close;) {
		const char *end = find_outside(choice, ",}");
		AUTO_FREE char *one = x_asprintf("%.*s%.*s%s", (int)(open - pattern), pattern,
						 (int)(end - choice), choice, close + 1);
		int r = glob_expand(glob, one, err);
		if (r < 0)
			return r;
		choice = end + 1;
	}
	return 0;
}

int glob_new(struct glob **out, const char *pattern, struct err *err)
{
	char q[QUOTED_MAX];
	if (strlen(pattern) > GLOB_LEN_MAX)
		return err_set(err, -EINVAL, "a pattern is longer than %d bytes", GLOB_LEN_MAX);
	AUTO(glob) *glob = x_calloc(1, sizeof(*glob));
	if (glob_expand(glob, pattern, err) < 0)
		return err_wrap(err, "pattern %.100s", quote_path(q, pattern));
	*out = STEAL(glob);
	return 0;
}

/* ---- what a wildcard stood for -------------------------------------------------------------- */

/* A run of wildcards within a component. Every item but a star takes one byte, so with one star in
 * the component the place of each item is known: counted from the left before the star, from the
 * right behind it. */
struct run {
	size_t before, inside; /* items that take one byte */
	bool behind_star, has_star;
};

struct runs {
	unsigned wanted; /* still to be passed */
	struct run run;	 /* the wanted one, once `found` */
	bool found;
	unsigned stars; /* of the component, neighbours counted once */
	size_t bytes;	/* items that take one byte */
};

static const char *item_end(const char *p)
{
	if (*p == '[')
		return class_end(p);
	return *p == '\\' ? p + 2 : p + 1;
}

/* Counts the runs of one component; `r` is kept over the components of an alternative. */
static void count_runs(struct runs *r, const char *p)
{
	bool in_run = false, ours = false;
	r->stars = 0;
	r->bytes = 0;
	for (char last = 0; *p; last = *p, p = item_end(p)) {
		bool wild = *p == '*' || *p == '?' || *p == '[';
		if (wild && !in_run && !r->found) {
			ours = --r->wanted == 0;
			r->found |= ours;
			if (ours)
				r->run = (struct run){.before = r->bytes,
						      .behind_star = r->stars > 0};
		}
		in_run = wild;
		ours &= wild;
		if (*p == '*') {
			r->stars += last != '*';
			r->run.has_star |= ours;
		} else {
			r->bytes++;
			r->run.inside += ours;
		}
	}
}

/* The component of the wanted wildcard; a->n when there is none to be asked for. */
static unsigned find_run(struct runs *r, const struct alternative *a, unsigned which)
{
	*r = (struct runs){.wanted = which};
	for (unsigned i = 0; i < a->n && !(a->any & UINT64_C(1) << i); i++) {
		count_runs(r, a->component[i]);
		if (r->found)
			return r->stars > 1 ? a->n : i;
	}
	return a->n;
}

int glob_has_wildcard(const struct glob *glob, unsigned which, struct err *err)
{
	struct runs r;
	for (size_t i = 0; i < glob->n; i++) {
		if (find_run(&r, &glob->alternatives[i], which) < glob->alternatives[i].n)
			continue;
		if (r.found)
			return err_set(err, -EINVAL,
				       "wildcard %u stands in a component with two stars: what it "
				       "stands for is not certain",
				       which);
		return err_set(err, -EINVAL,
			       "there is no wildcard %u before a \"**\" or the end of the pattern",
			       which);
	}
	return 0;
}

static const char *component_of(const char *path, unsigned i)
{
	while (i-- > 0)
		path += strcspn(path, "/") + 1;
	return path;
}

bool glob_captured(struct glob_capture *out, const struct glob *glob, unsigned which,
		   const char *path)
{
	for (size_t i = 0; i < glob->n; i++) {
		const struct alternative *a = &glob->alternatives[i];
		struct runs r;
		if (!alternative_match(a, path).itself)
			continue;
		unsigned at = find_run(&r, a, which);
		if (at == a->n)
			return false;
		const char *c = component_of(path, at);
		size_t star = strcspn(c, "/") - r.bytes; /* bytes that the star took */
		out->at = c + r.run.before + (r.run.behind_star ? star : 0);
		out->len = r.run.inside + (r.run.has_star ? star : 0);
		return true;
	}
	return false;
}
