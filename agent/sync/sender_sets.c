/* sender_sets.c - consistency sets on the active: what is pending of a set is read as of one moment
 * and offered as a whole, wherever the first of its records stands in the order; and a set that
 * cannot go on is given up as a whole. */
#include "agent/sync/sender_internal.h"

#include <errno.h>
#include <string.h>

#include "agent/base/log.h"
#include "agent/base/quote.h"
#include "protocol/messages.h"

#define ABOVE_MAX 1024 /* directories above the members of one set */

/* ---- reading -------------------------------------------------------------------------------- */

static struct set_page *find_page(struct set_page *pages, const char *key)
{
	while (pages && strcmp(pages->key, key) != 0)
		pages = pages->next;
	return pages;
}

struct set_page *set_page_of(struct sender *sd, struct set_page *pages, const char *path)
{
	char key[PROFILE_SET_MAX];
	if (!sd->setup.profile || !profile_set(sd->setup.profile, path, key))
		return NULL;
	return find_page(pages, key);
}

static int read_set(struct set_page *page, struct sender *sd, struct err *err)
{
	struct err why = {0};
	page->items = x_calloc(WIRE_SET_MAX + ABOVE_MAX, sizeof(*page->items));
	int r = store_pending_set(sd->setup.store, sd->peer, page->key, page->items,
				  WIRE_SET_MAX + ABOVE_MAX, &page->n_above, &page->n, &why);
	if (r < 0 && r != -E2BIG && r != -ENOBUFS) {
		*err = why;
		return r;
	}
	page->too_large = r < 0;
	/* The many small ones must not keep memory for a large one. */
	if (page->n > 0)
		page->items = x_realloc(page->items, page->n, sizeof(*page->items));
	return 0;
}

int set_page_read(struct set_page **out, struct sender *sd, const char *key, size_t row,
		  struct err *err)
{
	struct set_page *one = x_calloc(1, sizeof(*one));
	one->key = x_strdup(key);
	one->row = row;
	one->next = *out;
	*out = one;
	return read_set(one, sd, err);
}

int set_pages_read(struct set_page **out, struct sender *sd, const struct pending *page, size_t *n,
		   size_t room, struct err *err)
{
	char key[PROFILE_SET_MAX];
	size_t total = 0;
	for (size_t i = 0; i < *n && sd->setup.profile; i++) {
		total++;
		if (!profile_set(sd->setup.profile, page[i].path, key) || find_page(*out, key))
			continue;
		int r = set_page_read(out, sd, key, i, err);
		if (r < 0)
			return r;
		total += (*out)->n;
		if (total > room && i > 0) {
			*n = i; /* the rest when there is room; the page is not its end */
			return 1;
		}
	}
	return 0;
}

void set_pages_free(struct set_page *pages)
{
	for (struct set_page *next; pages; pages = next) {
		next = pages->next;
		for (size_t i = 0; i < pages->n; i++)
			free(pages->items[i].path);
		free(pages->items);
		free(pages->key);
		free(pages);
	}
}

/* ---- offering ------------------------------------------------------------------------------- */

static void report_too_large(struct sender *sd, const struct set_page *page)
{
	char q[QUOTED_MAX];
	log_warn("sender",
		 "set=%s action=\"its members travel one by one\" err=\"more than %d changed\"",
		 quote_path(q, page->key), WIRE_SET_MAX);
	store_note(
		sd->setup.store, NOTE_SET, page->key,
		"more members changed at once than one batch takes (2000): they travelled one by "
		"one, and the peer may have shown some new and some old",
		NULL);
}

int set_page_offer(struct sender *sd, const struct set_page *page)
{
	size_t n = page->n - page->n_above;
	for (size_t i = 0; i < page->n_above; i++) {
		if (sender_offer(sd, &page->items[i]) == -EAGAIN)
			return -EAGAIN;
	}
	if (page->too_large)
		report_too_large(sd, page);
	/* None: too large, or acknowledged meanwhile. */
	AUTO_FREE struct outbound_offer *offers = x_calloc(n + 1, sizeof(*offers));
	for (size_t i = 0; i < n; i++) {
		const struct pending *p = &page->items[page->n_above + i];
		offers[i] = (struct outbound_offer){.path = p->path,
						    .seq = p->seq,
						    .size = p->size,
						    .flags = sender_offer_flags(p)};
	}
	int r = outbound_offer_set(sd->outbound, page->key, offers, n);
	BUG_ON(r == -ENOMEM || r == -E2BIG);
	if (r == 0 && n > 0 && store_note_count(sd->setup.store, NOTE_SET) > 0)
		store_unnote(sd->setup.store, NOTE_SET, page->key, NULL);
	return r == -EAGAIN ? r : 0;
}

/* ---- giving up ------------------------------------------------------------------------------ */

static void send_set_abort(struct sender *sd, uint32_t set)
{
	uint8_t body[64];
	struct wire_set_abort m = {.set = set};
	struct wr w;
	wr_init(&w, body, sizeof(body));
	wire_encode_set_abort(&w, &m);
	link_send(sd->setup.link, WIRE_SET_ABORT, body, wr_len(&w));
}

bool parcel_is_orphan(const struct parcel *p)
{
	return p->set != 0 && !outbound_find(p->sd->outbound, p->begun);
}

void sender_break_set(struct sender *sd, uint32_t set)
{
	struct parcel *p, *tmp;
	if (set == 0)
		return;
	HASH_ITER (hh, sd->sent, p, tmp) {
		if (p->set != set)
			continue;
		HASH_DEL(sd->sent, p);
		parcel_end(p);
	}
	/* Before their RECORD: a worker or the peer's SIGNATURE brings them back. */
	for (p = sd->streams; p; p = p->next_stream)
		p->dead |= p->set == set;
	send_set_abort(sd, set);
}
