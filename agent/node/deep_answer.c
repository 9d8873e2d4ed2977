/* deep_answer.c - the peer's `verify --deep` asks this node to read everything. */
#include "agent/node/node_internal.h"

#include <errno.h>

#include "protocol/messages.h"

static void send_deep(struct session *s, uint8_t flags, uint64_t files, uint64_t bytes,
		      const char *path, const char *text)
{
	uint8_t body[WIRE_PATH_MAX + 512], entry[WIRE_PATH_MAX + 256];
	struct wire_deep_reply m = {
		.id = s->deep_id, .flags = flags, .files = files, .bytes = bytes};
	struct wr w;
	if (path) {
		wr_init(&w, entry, sizeof(entry));
		wire_encode_one_difference(&w, path, text);
		m.n = 1;
		m.entries = entry;
		m.entries_len = (uint32_t)wr_len(&w);
	}
	wr_init(&w, body, sizeof(body));
	wire_encode_deep_reply(&w, &m);
	if (s->link)
		link_send(s->link, WIRE_DEEP_REPLY, body, wr_len(&w));
}

static void on_deep_difference(void *owner, const char *path, const char *why)
{
	send_deep(owner, 0, 0, 0, path, why);
}

static void on_deep_progress(void *owner, uint64_t files, uint64_t bytes)
{
	send_deep(owner, 0, files, bytes, NULL, NULL);
}

static void on_deep_done(void *owner, int result, const char *why)
{
	struct session *s = owner;
	(void)why;
	s->deep = NULL;
	if (s->closing > 0)
		session_module_closed(s);
	else
		send_deep(s, DEEP_LAST | (result < 0 ? DEEP_FAILED : 0), 0, 0, NULL, NULL);
}

int deep_answer_frame(struct session *s, const struct frame *frame)
{
	struct wire_deep_ask m;
	struct rd r;
	struct deep_events events = {.owner = s,
				     .difference = on_deep_difference,
				     .progress = on_deep_progress,
				     .done = on_deep_done};
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_deep_ask(&m, &r) < 0 || s->deep)
		return -EBADMSG;
	s->deep_id = m.id;
	s->deep = deep_start(&s->node->loop, &s->node->capture, &events);
	return 0;
}
