#include "agent/sync/arrivals.h"

#include <stdlib.h>
#include <string.h>

void arrivals_add(struct arrivals *a, const uint8_t hash[HASH_LEN])
{
	if (a->n == ARRIVALS_MAX)
		return;
	GROW(a->keys, a->cap, a->n + 1);
	memcpy(&a->keys[a->n++], hash, sizeof(a->keys[0]));
}

static int compare_keys(const void *pa, const void *pb)
{
	const uint64_t *a = pa, *b = pb;
	return (*a > *b) - (*a < *b);
}

void arrivals_seal(struct arrivals *a)
{
	size_t n = 0;
	if (a->n == 0)
		return;
	qsort(a->keys, a->n, sizeof(a->keys[0]), compare_keys);
	a->came = x_calloc(a->n, sizeof(a->came[0]));
	a->left = x_calloc(a->n, sizeof(a->left[0]));
	for (size_t i = 0; i < a->n; i++) {
		if (n == 0 || a->keys[n - 1] != a->keys[i])
			a->keys[n++] = a->keys[i];
		a->came[n - 1]++;
	}
	a->n = n;
	arrivals_rewind(a);
}

void arrivals_rewind(struct arrivals *a)
{
	if (a->n > 0)
		memcpy(a->left, a->came, a->n * sizeof(a->left[0]));
}

bool arrivals_take(struct arrivals *a, const uint8_t hash[HASH_LEN])
{
	uint64_t key;
	memcpy(&key, hash, sizeof(key));
	uint64_t *found =
		a->n == 0 ? NULL : bsearch(&key, a->keys, a->n, sizeof(key), compare_keys);
	if (!found || a->left[found - a->keys] == 0)
		return false;
	a->left[found - a->keys]--;
	return true;
}

void arrivals_release(struct arrivals *a)
{
	free(a->keys);
	free(a->came);
	free(a->left);
	*a = (struct arrivals){0};
}
