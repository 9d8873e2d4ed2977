#include "agent/sync/odd.h"

#include <string.h>

#include "agent/base/alloc.h"

static size_t find(const struct odd *odd, const char *path)
{
	size_t i = 0;
	while (i < odd->n && strcmp(odd->path[i], path) != 0)
		i++;
	return i;
}

void odd_add(struct odd *odd, const char *path)
{
	if (find(odd, path) < odd->n)
		return;
	if (odd->n < ODD_MAX)
		odd->path[odd->n++] = x_strdup(path);
	else
		odd->more++;
}

void odd_remove(struct odd *odd, const char *path)
{
	size_t i = find(odd, path);
	if (i == odd->n)
		return;
	free(odd->path[i]);
	odd->n--;
	memmove(&odd->path[i], &odd->path[i + 1], (odd->n - i) * sizeof(odd->path[0]));
}

void odd_release(struct odd *odd)
{
	for (size_t i = 0; i < odd->n; i++)
		free(odd->path[i]);
	*odd = (struct odd){0};
}

void odd_move(struct odd *to, struct odd *from)
{
	odd_release(to);
	*to = *from;
	*from = (struct odd){0};
}

uint64_t odd_count(const struct odd *odd)
{
	return odd->n + odd->more;
}
