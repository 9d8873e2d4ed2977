#include "agent/watch/child/mounts.h"

#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/alloc.h"

#define ROOT_TEXT_MAX (4 * PATH_MAX) /* every byte may be escaped */

struct mounts {
	FILE *file;
	uint64_t sum; /* of the lines that concern the roots */
	size_t n;
	int fds[];
};

struct mounts *mounts_new(const int *fds, size_t n)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	if (!file)
		return NULL;
	struct mounts *m = x_calloc(1, sizeof(*m) + n * sizeof(*fds));
	m->file = file;
	m->n = n;
	memcpy(m->fds, fds, n * sizeof(*fds));
	mounts_changed(m);
	return m;
}

int mounts_fd(const struct mounts *m)
{
	return fileno(m->file);
}

/* Where the root is, written as mountinfo writes it. "" when it cannot be told. */
static void root_text(int root_fd, char out[ROOT_TEXT_MAX])
{
	char link[48], path[PATH_MAX];
	snprintf(link, sizeof(link), "/proc/self/fd/%d", root_fd);
	ssize_t n = readlink(link, path, sizeof(path) - 1);
	char *at = out;
	for (ssize_t i = 0; i < n; i++) {
		if (strchr(" \t\n\\", path[i]))
			at += sprintf(at, "\\%03o", (unsigned char)path[i]);
		else
			*at++ = path[i];
	}
	*at = '\0';
}

static bool is_within(const char *path, const char *dir)
{
	size_t len = strlen(dir);
	while (len > 0 && dir[len - 1] == '/')
		len--;
	return strncmp(path, dir, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

/* A line's fifth field is where it is mounted. */
static bool concerns(const char *line, const char *root)
{
	char point[ROOT_TEXT_MAX];
	if (sscanf(line, "%*s %*s %*s %*s %16383s", point) != 1)
		return false;
	return is_within(point, root) || is_within(root, point);
}

static uint64_t add_to_sum(uint64_t sum, const char *line)
{
	for (; *line; line++)
		sum = (sum ^ (unsigned char)*line) * 1099511628211u; /* FNV-1a */
	return sum;
}

static uint64_t sum_for_root(struct mounts *m, int root_fd, uint64_t sum)
{
	static char root[ROOT_TEXT_MAX];
	char *line = NULL;
	size_t size = 0;
	root_text(root_fd, root);
	rewind(m->file);
	while (getline(&line, &size, m->file) > 0) {
		if (concerns(line, root))
			sum = add_to_sum(sum, line);
	}
	free(line);
	return sum;
}

bool mounts_changed(struct mounts *m)
{
	uint64_t before = m->sum;
	m->sum = 14695981039346656037u;
	for (size_t i = 0; i < m->n; i++)
		m->sum = sum_for_root(m, m->fds[i], m->sum);
	return m->sum != before;
}
