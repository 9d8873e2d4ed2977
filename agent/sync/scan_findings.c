/* scan_findings.c - what a scan reports, and what it must keep silent about. */
#include "agent/sync/scan_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/quote.h"
#include "agent/sync/current.h"
#include "protocol/relpath.h"

/* ---- results -------------------------------------------------------------------------------- */

void scan_report(struct scan *s, const char *path)
{
	GROW(s->found, s->found_cap, s->n_found + 1);
	s->found[s->n_found++] = x_strdup(path);
}

static void report_ancestors(struct scan *s)
{
	for (const char *end = s->top; *end; end++) {
		if (end != s->top && *end != '/')
			continue;
		AUTO_FREE char *path = x_strndup(s->top, (size_t)(end - s->top));
		struct index_entry entry;
		int r = store_get(s->store, path, &entry, NULL);
		if (r == 0 ? !entry_is_live(&entry) : r == -ENOENT)
			scan_report(s, path);
		if (r == 0)
			index_entry_release(&entry);
	}
}

void scan_report_present(struct scan *s, const char *path)
{
	for (size_t i = 0; i < s->n_levels; i++) {
		if (s->levels[i].is_owed && i == 0)
			report_ancestors(s);
		else if (s->levels[i].is_owed)
			scan_report(s, s->levels[i].path);
		s->levels[i].is_owed = false;
	}
	scan_report(s, path);
}

static void remember(char out[192], const char *path, const char *why)
{
	char q[QUOTED_MAX];
	if (!*out)
		snprintf(out, 192, "%.120s: %.60s", quote_path(q, path), why);
}

void scan_first(struct scan_first *first, const char *path, const char *why)
{
	if (*first->path)
		return;
	bool fits = strlen(path) < sizeof(first->path);
	snprintf(first->path, sizeof(first->path), fits ? "%s" : "%.250s...", path);
	snprintf(first->why, sizeof(first->why), "%.63s", why);
}

/* ---- what is not to be concluded from ------------------------------------------------------- */

static void uncover_up_to(struct scan *s, const char *path)
{
	while (s->n_covered > 0) {
		const char *last = s->covered[s->n_covered - 1];
		if (strncmp(last, path, strlen(last)) == 0)
			break;
		free(s->covered[--s->n_covered]);
	}
}

void scan_cover(struct scan *s, const char *path)
{
	uncover_up_to(s, path);
	GROW(s->covered, s->covered_cap, s->n_covered + 1);
	s->covered[s->n_covered++] = x_strdup(path);
}

bool scan_is_covered(struct scan *s, const char *path)
{
	uncover_up_to(s, path);
	for (size_t i = 0; i < s->n_covered; i++) {
		if (relpath_is_within(path, s->covered[i]))
			return true;
	}
	return false;
}

void scan_unreadable(struct scan *s, const char *path, const char *why)
{
	s->counts.unreadable++;
	remember(s->counts.first_unreadable, path, why);
	scan_first(&s->counts.unreadable_first, path, why);
	scan_cover(s, path);
}

void scan_foreign_mount(struct scan *s, const char *path)
{
	s->counts.foreign_mounts++;
	remember(s->counts.first_mount, path,
		 "a mount that is not in `follow`: add it there or leave it out");
	scan_cover(s, path);
}

void scan_drop_findings(struct scan *s)
{
	for (size_t i = 0; i < s->n_found; i++)
		free(s->found[i]);
	free(s->found);
	s->found = NULL;
	s->n_found = s->found_cap = 0;
}
