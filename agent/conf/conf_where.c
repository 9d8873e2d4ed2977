#include "agent/conf/conf_where.h"

#include <stdio.h>
#include <string.h>

#include "agent/base/alloc.h"

/* Jansson keeps no positions, so the text is walked once more. It has been parsed before: the walk
 * may rely on it being well formed, and on jansson's limit of nesting. */
struct walk {
	const char *at;
	unsigned line;
	const char *wanted;
	unsigned found; /* line; 0 = not yet */
	char path[CONF_PATH_MAX];
};

static void skip_space(struct walk *w)
{
	for (; *w->at && strchr(" \t\r\n", *w->at); w->at++)
		w->line += *w->at == '\n';
}

static void skip_text(struct walk *w)
{
	for (w->at++; *w->at && *w->at != '"'; w->at++) {
		if (*w->at == '\\' && w->at[1])
			w->at++;
	}
	w->at += *w->at == '"';
}

static void note(struct walk *w)
{
	if (!w->found && strcmp(w->path, w->wanted) == 0)
		w->found = w->line;
}

static void walk_value(struct walk *w);

/* A key of an object, or an element of an array; ends before ',' or the closing bracket. */
static void walk_member(struct walk *w, char open, size_t index)
{
	size_t len = strlen(w->path);
	skip_space(w);
	if (open == '{') {
		const char *key = w->at + 1;
		unsigned line = w->line;
		skip_text(w);
		snprintf(w->path + len, sizeof(w->path) - len, "%s%.*s", len ? "." : "",
			 (int)(w->at - 1 - key), key);
		if (!w->found && strcmp(w->path, w->wanted) == 0)
			w->found = line;
		skip_space(w);
		w->at += *w->at == ':';
	} else {
		snprintf(w->path + len, sizeof(w->path) - len, "[%zu]", index);
		note(w);
	}
	walk_value(w);
	w->path[len] = '\0';
	skip_space(w);
}

static void walk_value(struct walk *w)
{
	skip_space(w);
	char open = *w->at;
	if (open == '"') {
		skip_text(w);
		return;
	}
	if (open != '{' && open != '[') {
		w->at += strcspn(w->at, ",]} \t\r\n");
		return;
	}
	w->at++;
	skip_space(w);
	for (size_t i = 0; *w->at && *w->at != '}' && *w->at != ']'; i++) {
		walk_member(w, open, i);
		w->at += *w->at == ',';
	}
	w->at += *w->at != '\0';
}

unsigned conf_line_of(const char *text, const char *path)
{
	struct walk w = {.at = text, .line = 1, .wanted = path};
	walk_value(&w);
	return w.found;
}

#define COMPARED_MAX 40 /* bytes of a key that count */

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned ab = a < b ? a : b;
	return ab < c ? ab : c;
}

unsigned edit_distance(const char *a, const char *b)
{
	unsigned d[COMPARED_MAX + 1][COMPARED_MAX + 1];
	size_t n = strnlen(a, COMPARED_MAX), m = strnlen(b, COMPARED_MAX);
	for (size_t i = 0; i <= n; i++) {
		for (size_t j = 0; j <= m; j++) {
			if (i == 0 || j == 0) {
				d[i][j] = (unsigned)(i + j);
				continue;
			}
			d[i][j] = min3(d[i - 1][j] + 1, d[i][j - 1] + 1,
				       d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				d[i][j] = min3(d[i][j], d[i - 2][j - 2] + 1, d[i][j]);
		}
	}
	return d[n][m];
}

static const char *last_part(const char *name)
{
	const char *dot = strrchr(name, '.');
	return dot ? dot + 1 : name;
}

const char *conf_nearest_key(const struct conf_key *keys, const char *name)
{
	const char *best = keys[0].name;
	unsigned best_distance = UINT32_MAX;
	for (const struct conf_key *k = keys; k->name; k++) {
		/* A key at the wrong level is as good as a key misspelt by one letter. */
		unsigned whole = edit_distance(k->name, name);
		unsigned part = edit_distance(last_part(k->name), last_part(name)) + 1;
		unsigned distance = whole < part ? whole : part;
		if (distance < best_distance) {
			best_distance = distance;
			best = k->name;
		}
	}
	return best;
}
