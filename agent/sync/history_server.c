#include "agent/sync/history_server.h"

#include <errno.h>
#include <string.h>

#include "agent/base/log.h"
#include "agent/sync/job.h"
#include "protocol/messages.h"

#define PAGE_RECORDS 512
#define PAGE_BYTES (WIRE_FRAME_MAX - RECORD_ELEMENT_MAX - 8192) /* one more record still fits */

/* A content that is being fetched. */
struct given {
	struct job job;
	struct history_server *server;
	bool used, working;
	bool over; /* the asker wants no more of it */
	uint32_t id;
	uint8_t hash[HASH_LEN];
	uint64_t size, offset;
	uint32_t len;
	char *path;
	int fd; /* -1 until the first bytes are read */
	uint8_t *bytes;
	int result;
};

struct page_job {
	struct job job;
	struct history_server *server;
	uint32_t id;
	uint64_t barrier_txn;
	int64_t at_ns;
	char *after; /* NULL: from the beginning */
	struct history_barrier barrier;
	uint8_t *records;
	size_t records_len;
	uint16_t n;
	bool last;
	int result;
	struct err err;
};

struct history_server {
	uv_loop_t *loop;
	struct link *link;
	struct history *history;
	struct store *store;
	struct given given[WIRE_CONTENTS_MAX];
	bool paging, closing;
	int jobs;
	void (*closed)(void *arg);
	void *closed_arg;
};

struct history_server *history_server_new(uv_loop_t *loop, struct link *link,
					  struct history *history, struct store *store)
{
	struct history_server *server = x_calloc(1, sizeof(*server));
	server->loop = loop;
	server->link = link;
	server->history = history;
	server->store = store;
	for (size_t i = 0; i < WIRE_CONTENTS_MAX; i++)
		server->given[i] = (struct given){.server = server, .fd = -1};
	return server;
}

static void finish_close(struct history_server *server)
{
	if (!server->closing || server->jobs > 0)
		return;
	for (size_t i = 0; i < WIRE_CONTENTS_MAX; i++) {
		free(server->given[i].path);
		if (server->given[i].fd >= 0)
			close(server->given[i].fd);
	}
	void (*closed)(void *) = server->closed;
	void *arg = server->closed_arg;
	free(server);
	closed(arg);
}

void history_server_close(struct history_server *server, void (*closed)(void *arg), void *arg)
{
	server->closing = true;
	server->closed = closed;
	server->closed_arg = arg;
	finish_close(server);
}

/* ---- contents -------------------------------------------------------------------------------- */

static void forget(struct given *g)
{
	struct history_server *server = g->server;
	free(g->path);
	if (g->fd >= 0)
		close(g->fd);
	*g = (struct given){.server = server, .fd = -1};
}

static int read_window(struct given *g)
{
	g->bytes = x_calloc(1, g->len);
	for (uint32_t at = 0; at < g->len;) {
		ssize_t n = pread(g->fd, g->bytes + at, g->len - at, (off_t)(g->offset + at));
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		at += (uint32_t)n;
	}
	return 0;
}

/* worker. Opening compares the whole content with its hash, once for each id. */
static void give_work(struct job *job)
{
	struct given *g = container_of(job, struct given, job);
	if (g->fd < 0)
		g->fd = history_open_content(g->server->history, g->hash, g->size, g->path, NULL);
	g->result = g->fd < 0 ? g->fd : read_window(g);
}

static void send_piece(const struct given *g, uint8_t flags, uint32_t at, uint32_t len)
{
	uint8_t *body = x_calloc(1, WIRE_CHUNK_MAX + 64);
	struct wire_content m = {.id = g->id,
				 .flags = flags,
				 .offset = g->offset + at,
				 .bytes = len ? g->bytes + at : NULL,
				 .bytes_len = len};
	struct wr w;
	wr_init(&w, body, WIRE_CHUNK_MAX + 64);
	wire_encode_content(&w, &m);
	link_send(g->server->link, WIRE_CONTENT, body, wr_len(&w));
	free(body);
}

static void send_window(const struct given *g)
{
	for (uint32_t at = 0; at < g->len; at += WIRE_CHUNK_MAX)
		send_piece(g, 0, at, g->len - at < WIRE_CHUNK_MAX ? g->len - at : WIRE_CHUNK_MAX);
}

static void give_done(struct job *job)
{
	struct given *g = container_of(job, struct given, job);
	struct history_server *server = g->server;
	server->jobs--;
	g->working = false;
	if (!server->closing && !g->over) {
		if (g->result < 0)
			send_piece(g, CONTENT_NONE, 0, 0);
		else
			send_window(g);
	}
	free(STEAL(g->bytes));
	if (g->over || g->result < 0 || g->offset + g->len == g->size)
		forget(g);
	finish_close(server);
}

static struct given *find(struct history_server *server, uint32_t id)
{
	for (size_t i = 0; i < WIRE_CONTENTS_MAX; i++) {
		if (server->given[i].used && server->given[i].id == id)
			return &server->given[i];
	}
	return NULL;
}

static struct given *find_free(struct history_server *server)
{
	for (size_t i = 0; i < WIRE_CONTENTS_MAX; i++) {
		if (!server->given[i].used)
			return &server->given[i];
	}
	return NULL;
}

static void give_up(struct given *g)
{
	if (!g)
		return; /* it ended by itself in the meantime */
	g->over = true;
	if (!g->working)
		forget(g);
}

static int on_content_ask(struct history_server *server, const struct frame *frame)
{
	struct wire_content_ask m;
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_content_ask(&m, &r) < 0)
		return -EBADMSG;
	struct given *g = find(server, m.id);
	if (m.len == 0) {
		give_up(g);
		return 0;
	}
	bool begins = !g;
	if (begins)
		g = find_free(server);
	if (!g || g->working || (begins && m.offset != 0) ||
	    (!begins && (g->size != m.size || memcmp(g->hash, m.hash, HASH_LEN) != 0)))
		return -EBADMSG;
	g->used = g->working = true;
	g->id = m.id;
	g->size = m.size;
	g->offset = m.offset;
	g->len = m.len;
	memcpy(g->hash, m.hash, HASH_LEN);
	if (begins)
		g->path = x_strdup(m.path);
	server->jobs++;
	job_start(server->loop, &g->job, give_work, give_done);
	return 0;
}

/* ---- the past -------------------------------------------------------------------------------- */

static int find_barrier(struct page_job *p)
{
	struct store *store = p->server->store;
	if (p->barrier_txn == 0)
		return store_history_barrier(store, p->at_ns, &p->barrier, &p->err);
	p->barrier.txn = p->barrier_txn; /* the rest was said with the first page */
	return 0;
}

static void add_records(struct page_job *p, struct index_entry *page, size_t n)
{
	struct wr w;
	size_t i = 0;
	p->records = x_calloc(1, WIRE_FRAME_MAX);
	wr_init(&w, p->records, WIRE_FRAME_MAX);
	for (; i < n && wr_len(&w) < PAGE_BYTES; i++) {
		const struct record *rec = &page[i].rec;
		if (*rec->path == '\0' && rec->kind != RECORD_DIR)
			continue; /* before there was anything at all */
		wire_encode_one_record(&w, rec);
		p->n++;
	}
	BUG_ON(w.error);
	p->records_len = wr_len(&w);
	p->last = i == n && n < PAGE_RECORDS;
}

/* worker */
static void page_work(struct job *job)
{
	struct page_job *p = container_of(job, struct page_job, job);
	struct index_entry *page = x_calloc(PAGE_RECORDS, sizeof(*page));
	size_t n = 0;
	p->result = find_barrier(p);
	if (p->result == 0)
		p->result = store_history_changes(p->server->store, p->barrier.txn, p->after, page,
						  PAGE_RECORDS, &n, &p->err);
	if (p->result == 0)
		add_records(p, page, n);
	for (size_t i = 0; i < n; i++)
		index_entry_release(&page[i]);
	free(page);
}

static void send_page(const struct page_job *p)
{
	uint8_t *body = x_calloc(1, WIRE_FRAME_MAX);
	struct wire_history_list m = {.id = p->id,
				      .flags = p->result < 0 ? HISTORY_NONE
					       : p->last     ? HISTORY_LAST
							     : 0,
				      .barrier = p->barrier.txn,
				      .seq = p->barrier.seq,
				      .first_ns = p->barrier.first_ns,
				      .last_ns = p->barrier.last_ns,
				      .n = p->n,
				      .records = p->records,
				      .records_len = (uint32_t)p->records_len};
	struct wr w;
	memcpy(m.digest, p->barrier.digest, sizeof(m.digest));
	wr_init(&w, body, WIRE_FRAME_MAX);
	wire_encode_history_list(&w, &m);
	BUG_ON(w.error);
	link_send(p->server->link, WIRE_HISTORY_LIST, body, wr_len(&w));
	free(body);
}

static void page_done(struct job *job)
{
	struct page_job *p = container_of(job, struct page_job, job);
	struct history_server *server = p->server;
	server->jobs--;
	server->paging = false;
	if (p->result < 0 && p->result != -ENOENT)
		log_warn("history", "action=answer-none err=\"%s\"", p->err.msg);
	if (!server->closing)
		send_page(p);
	free(p->records);
	free(p->after);
	free(p);
	finish_close(server);
}

static int on_history_ask(struct history_server *server, const struct frame *frame)
{
	struct wire_history_ask m;
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_history_ask(&m, &r) < 0 || server->paging)
		return -EBADMSG;
	struct page_job *p = x_calloc(1, sizeof(*p));
	p->server = server;
	p->id = m.id;
	p->barrier_txn = m.barrier;
	p->at_ns = m.at_ns;
	p->after = m.flags & HISTORY_AFTER ? x_strdup(m.after) : NULL;
	server->paging = true;
	server->jobs++;
	job_start(server->loop, &p->job, page_work, page_done);
	return 0;
}

int history_server_frame(struct history_server *server, const struct frame *frame)
{
	return frame->type == WIRE_CONTENT_ASK ? on_content_ask(server, frame)
					       : on_history_ask(server, frame);
}
