#include "agent/sync/fetch.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/sync/job.h"
#include "protocol/messages.h"

struct fetch {
	struct job job;
	struct fetcher *fetcher;
	struct fetch *next; /* in the queue, or among the running */
	const struct record *record;
	void *arg;
	uint32_t id;
	bool working;	 /* the worker has it */
	uint64_t offset; /* of the window under way */
	uint32_t want, have;
	uint8_t *window;
	struct stage_stream *stream;
	struct staged staged;
	bool finished; /* the worker ended the stream */
	int result;
	struct err err;
};

struct fetcher {
	uv_loop_t *loop;
	struct link *link;
	struct stage_env env;
	struct fetch_events events;
	struct fetch *waiting, **waiting_last;
	struct fetch *running;
	int n_running;
	uint32_t next_id;
	bool closing;
	int calls; /* of ours that go on when an event has been told: it must not be freed there */
};

struct fetcher *fetcher_new(uv_loop_t *loop, struct link *link, const struct stage_env *env,
			    uint32_t first_id, const struct fetch_events *events)
{
	struct fetcher *f = x_calloc(1, sizeof(*f));
	f->loop = loop;
	f->link = link;
	f->env = *env;
	f->events = *events;
	f->next_id = first_id;
	f->waiting_last = &f->waiting;
	return f;
}

static void begin_waiting(struct fetcher *f);

static void finish_close(struct fetcher *f)
{
	if (!f->closing || f->running || f->waiting || f->calls > 0)
		return;
	struct fetch_events events = f->events;
	free(f);
	events.closed(events.owner);
}

/* ---- one content ------------------------------------------------------------------------------
 */

static void send_ask(const struct fetch *one, uint32_t len)
{
	uint8_t body[WIRE_PATH_MAX + 128];
	struct wire_content_ask m = {.id = one->id,
				     .size = one->record->size,
				     .offset = one->offset,
				     .len = len,
				     .path = one->record->path};
	struct wr w;
	memcpy(m.hash, one->record->hash, sizeof(m.hash));
	wr_init(&w, body, sizeof(body));
	wire_encode_content_ask(&w, &m);
	link_send(one->fetcher->link, WIRE_CONTENT_ASK, body, wr_len(&w));
}

static void end(struct fetch *one, int result, const char *why)
{
	struct fetcher *f = one->fetcher;
	struct fetch **at = &f->running;
	while (*at != one)
		at = &(*at)->next;
	*at = one->next;
	f->n_running--;
	f->calls++;
	f->events.fetched(f->events.owner, one->arg, result, &one->staged, why);
	stage_stream_free(one->stream);
	free(one->window);
	free(one);
	begin_waiting(f);
	f->calls--;
	finish_close(f);
}

static void ask_window(struct fetch *one)
{
	uint64_t left = one->record->size - one->offset;
	one->want = left < WIRE_WINDOW_MAX ? (uint32_t)left : WIRE_WINDOW_MAX;
	one->have = 0;
	one->window = x_calloc(1, one->want);
	send_ask(one, one->want);
}

/* worker */
static void store_work(struct job *job)
{
	struct fetch *one = container_of(job, struct fetch, job);
	int r = one->stream ? 0
			    : stage_stream_open(&one->stream, &one->fetcher->env, one->record, NULL,
						&one->err);
	if (r == 0 && one->have > 0)
		r = stage_stream_write(one->stream, one->window, one->have, &one->err);
	one->finished = r == 0 && one->offset + one->have == one->record->size;
	if (one->finished)
		r = stage_stream_finish(&one->staged, one->stream, &one->err);
	one->result = r;
}

static void discard(const struct fetch *one)
{
	const char *sub;
	const struct root *root = tree_resolve(one->fetcher->env.tree, one->record->path, &sub);
	if (one->finished && one->result == 0)
		stage_discard(root, one->staged.temp, NULL);
}

static void store_done(struct job *job)
{
	struct fetch *one = container_of(job, struct fetch, job);
	one->working = false;
	free(STEAL(one->window));
	if (one->fetcher->closing) {
		discard(one);
		end(one, -ECANCELED, "cancelled");
		return;
	}
	if (one->result < 0 || one->finished) {
		if (one->result < 0 && !one->finished)
			send_ask(one, 0);
		end(one, one->result, one->err.msg);
		return;
	}
	one->offset += one->have;
	ask_window(one);
}

static void store_window(struct fetch *one)
{
	one->working = true;
	job_start(one->fetcher->loop, &one->job, store_work, store_done);
}

/* ---- all of them ------------------------------------------------------------------------------
 */

static void begin_waiting(struct fetcher *f)
{
	while (f->waiting && f->n_running < WIRE_CONTENTS_MAX && !f->closing) {
		struct fetch *one = f->waiting;
		f->waiting = one->next;
		if (!f->waiting)
			f->waiting_last = &f->waiting;
		one->next = f->running;
		f->running = one;
		f->n_running++;
		one->id = f->next_id++;
		if (one->record->size > 0)
			ask_window(one);
		else
			store_window(one); /* there is nothing to ask for */
	}
}

void fetcher_get(struct fetcher *f, const struct record *record, void *arg)
{
	struct fetch *one = x_calloc(1, sizeof(*one));
	BUG_ON(f->closing || record->kind != RECORD_FILE);
	one->fetcher = f;
	one->record = record;
	one->arg = arg;
	*f->waiting_last = one;
	f->waiting_last = &one->next;
	begin_waiting(f);
}

int fetcher_frame(struct fetcher *f, const struct frame *frame)
{
	struct wire_content m;
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_content(&m, &r) < 0)
		return -EBADMSG;
	struct fetch *one = f->running;
	while (one && one->id != m.id)
		one = one->next;
	if (!one || f->closing)
		return 0;
	if (one->working || !one->window)
		return -EBADMSG;
	if (m.flags & CONTENT_NONE) {
		end(one, -ENOENT, "the peer has not these bytes, or cannot read them");
		return 1;
	}
	if (m.offset != one->offset + one->have || m.bytes_len > one->want - one->have)
		return -EBADMSG;
	memcpy(one->window + one->have, m.bytes, m.bytes_len);
	one->have += m.bytes_len;
	if (one->have == one->want)
		store_window(one);
	return 1;
}

void fetcher_close(struct fetcher *f)
{
	f->closing = true;
	f->calls++;
	while (f->waiting) {
		struct fetch *one = f->waiting;
		f->waiting = one->next;
		f->events.fetched(f->events.owner, one->arg, -ECANCELED, NULL, "cancelled");
		free(one);
	}
	for (struct fetch *one = f->running, *next; one; one = next) {
		next = one->next;
		if (!one->working) /* else when its worker comes back */
			end(one, -ECANCELED, "cancelled");
	}
	f->calls--;
	finish_close(f);
}
