/* fingerprints.c - compare-only paths: each side tells the hash it has, and a difference is a
 * problem that `status` names. Nothing is copied: a keystore or deployment.toml differs by intent
 * or by mistake, and only a person knows which. */
#include "agent/node/node_internal.h"

#include <string.h>

#include "agent/base/quote.h"
#include "protocol/messages.h"

#define OURS_MAX 20000 /* paths remembered */
#define THEIRS_MAX                                                                    \
	10000 /* once there are so many, a peer adds none: ours find room in any case \
	       */
#define FLUSH (WIRE_FRAME_MAX - WIRE_PATH_MAX - 128)

static struct fingerprint *get(struct node *node, const char *path, unsigned max)
{
	struct fingerprint *f;
	HASH_FIND_STR(node->fingerprints, path, f);
	if (f || HASH_COUNT(node->fingerprints) >= max)
		return f;
	size_t len = strlen(path);
	f = x_calloc(1, sizeof(*f) + len + 1);
	memcpy(f->path, path, len + 1);
	HASH_ADD_STR(node->fingerprints, path, f);
	return f;
}

void fingerprints_set_ours(struct node *node, const char *path, const uint8_t hash[HASH_LEN])
{
	struct fingerprint *f = get(node, path, OURS_MAX);
	if (!f || (f->has_ours && memcmp(f->ours, hash, HASH_LEN) == 0))
		return;
	memcpy(f->ours, hash, HASH_LEN);
	f->has_ours = true;
	node->fingerprints_changed = true;
}

static void flush(struct session *s, struct wr *entries, uint16_t n, bool last)
{
	AUTO_FREE uint8_t *body = x_calloc(1, WIRE_FRAME_MAX);
	struct wire_fingerprints m = {.flags = last ? FINGERPRINTS_LAST : 0, .n = n};
	struct wr w;
	m.entries = entries->start;
	m.entries_len = (uint32_t)wr_len(entries);
	wr_init(&w, body, WIRE_FRAME_MAX);
	wire_encode_fingerprints(&w, &m);
	BUG_ON(w.error);
	link_send(s->link, WIRE_FINGERPRINTS, body, wr_len(&w));
}

/* All of ours: they are few. */
void fingerprints_send(struct session *s)
{
	AUTO_FREE uint8_t *buffer = x_calloc(1, WIRE_FRAME_MAX);
	struct fingerprint *f, *tmp;
	struct wr entries;
	uint16_t n = 0;
	if (!s->live || !s->link)
		return;
	wr_init(&entries, buffer, WIRE_FRAME_MAX);
	HASH_ITER (hh, s->node->fingerprints, f, tmp) {
		if (!f->has_ours)
			continue;
		if (wr_len(&entries) > FLUSH) {
			flush(s, &entries, n, false);
			wr_init(&entries, buffer, WIRE_FRAME_MAX);
			n = 0;
		}
		wire_encode_one_fingerprint(&entries, f->path, f->ours);
		n++;
	}
	flush(s, &entries, n, true);
}

int fingerprints_frame(struct session *s, const struct frame *frame)
{
	struct wire_fingerprints m;
	struct rd r, entries;
	const char *path;
	uint8_t hash[HASH_LEN];
	int more;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_fingerprints(&m, &r) < 0)
		return -1;
	rd_init(&entries, m.entries, m.entries_len);
	while ((more = wire_next_fingerprint(&path, hash, &entries)) > 0) {
		struct fingerprint *f = get(s->node, path, THEIRS_MAX);
		if (!f)
			continue;
		memcpy(f->theirs, hash, HASH_LEN);
		f->has_theirs = true;
	}
	return more;
}

void fingerprints_add_problems(const struct node *node, json_t *problems)
{
	char q[QUOTED_MAX], text[QUOTED_MAX + 100];
	for (const struct fingerprint *f = node->fingerprints; f; f = f->hh.next) {
		if (!f->has_ours || !f->has_theirs || memcmp(f->ours, f->theirs, HASH_LEN) == 0)
			continue;
		snprintf(text, sizeof(text), "compare-differs: %s is not the same on both sides",
			 quote_path(q, f->path));
		json_array_append_new(problems, json_string(text));
	}
}

void fingerprints_free(struct node *node)
{
	struct fingerprint *f, *tmp;
	HASH_ITER (hh, node->fingerprints, f, tmp) {
		HASH_DEL(node->fingerprints, f);
		free(f);
	}
}
