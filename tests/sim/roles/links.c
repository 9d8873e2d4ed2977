/* links.c - connections: what is sent arrives in order, late or not at all; each side learns of the
 * end by itself; of two connections of a pair the newer one is kept. */
#include "roles.h"

#include <stdlib.h>
#include <string.h>

struct connection *connection_find(struct world *w, uint64_t id)
{
	struct connection *c = &w->connections[id % CONNECTIONS_MAX];
	return id != 0 && c->id == id ? c : NULL;
}

static struct end *end_of(struct connection *c, const struct node *n)
{
	return &c->ends[c->ends[0].node == n->at_index ? 0 : 1];
}

static void message_free(struct message *m)
{
	free(m->hello);
	free(m);
}

static void drop(struct end *end)
{
	for (struct message *m = end->first, *next; m; m = next) {
		next = m->next;
		message_free(m);
	}
	end->first = NULL;
	end->last = &end->first;
}

static void free_when_over(struct connection *c)
{
	if (c->ends[0].state != END_CLOSED || c->ends[1].state != END_CLOSED)
		return;
	drop(&c->ends[0]);
	drop(&c->ends[1]);
	c->id = 0;
}

static void post(struct world *w, struct connection *c, struct end *to, const struct message *m,
		 uint64_t in)
{
	struct message *copy = malloc(sizeof(*copy));
	if (!copy)
		abort();
	*copy = *m;
	copy->next = NULL;
	copy->arrives = w->now + in > to->latest ? w->now + in : to->latest;
	to->latest = copy->arrives;
	*to->last = copy;
	to->last = &copy->next;
	world_at(w, copy->arrives - w->now, H_ARRIVE, NULL, c->id, (uint64_t)(to - c->ends));
}

void links_send(struct world *w, struct node *n, unsigned peer, const struct message *m)
{
	struct connection *c = connection_find(w, n->sessions[peer].connection);
	struct end *to = c ? end_of(c, &w->nodes[peer]) : NULL;
	if (!c || c->broken || to->state == END_CLOSED) {
		free(m->hello);
		return;
	}
	post(w, c, to, m, late(w, w->weather.delay));
}

/* ---- begin ---------------------------------------------------------------------------------- */

static struct connection *connection_new(struct world *w)
{
	for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
		uint64_t id = ++w->next_connection;
		struct connection *c = &w->connections[id % CONNECTIONS_MAX];
		if (c->id == 0) {
			*c = (struct connection){.id = id};
			return c;
		}
	}
	return NULL;
}

void links_dial(struct world *w, struct node *n, unsigned peer)
{
	struct session *s = &n->sessions[peer];
	bool crossing = fate(w, 20);
	world_at(w, late(w, 400 * MS), H_DIAL, n, peer, 0);
	if (!w->nodes[peer].up || w->apart_until[n->at_index][peer] > w->now ||
	    ((s->connection || s->next) && !crossing))
		return;
	struct connection *c = connection_new(w);
	if (!c)
		return;
	for (unsigned i = 0; i < 2; i++) {
		struct end *end = &c->ends[i];
		end->node = i == 0 ? n->at_index : peer;
		end->last = &end->first;
		world_at(w, late(w, w->weather.delay), H_ADMIT, NULL, c->id, i);
	}
}

static void start(struct world *w, struct node *n, unsigned peer, struct connection *c)
{
	struct session *s = &n->sessions[peer];
	uint64_t id = c->id;
	s->connection = id;
	end_of(c, n)->state = END_OPEN;
	w->figures.sessions++;
	hello_send(w, n, peer);
	links_arrive(w, id, (unsigned)(end_of(c, n) - c->ends));
}

static void refuse(struct world *w, struct connection *c, struct end *end)
{
	const struct message over = {.kind = M_END};
	struct end *other = &c->ends[end == c->ends ? 1 : 0];
	end->state = END_CLOSED;
	drop(end);
	if (other->state != END_CLOSED && !c->broken)
		post(w, c, other, &over, late(w, w->weather.delay));
	free_when_over(c);
}

void links_admit(struct world *w, uint64_t id, unsigned which)
{
	struct connection *c = connection_find(w, id);
	if (!c || c->ends[which].state != END_COMING)
		return;
	struct node *n = &w->nodes[c->ends[which].node];
	unsigned peer = c->ends[1 - which].node;
	struct session *s = &n->sessions[peer];
	bool refuses = n->machine.role == WIRE_ROLE_FENCED && !n->rejoinable;
	if (!n->up || c->broken || refuses || id < s->connection || id < s->next) {
		refuse(w, c, &c->ends[which]);
		return;
	}
	if (s->next) {
		struct connection *waits = connection_find(w, s->next);
		s->next = 0;
		if (waits)
			refuse(w, waits, end_of(waits, n));
	}
	if (s->connection) {
		w->figures.replaced++;
		links_close(w, n, peer);
	}
	if (n->switching)
		s->next = id;
	else
		start(w, n, peer, c);
}

void links_resume(struct world *w, struct node *n)
{
	for (unsigned peer = 0; peer < w->n_nodes; peer++) {
		struct session *s = &n->sessions[peer];
		struct connection *c = s->next ? connection_find(w, s->next) : NULL;
		s->next = 0;
		if (c)
			start(w, n, peer, c);
	}
}

/* ---- end ------------------------------------------------------------------------------------ */

static void session_over(struct world *w, struct node *n, unsigned peer)
{
	bool live = n->sessions[peer].live, asked = n->sessions[peer].asked_promise;
	n->sessions[peer] = (struct session){.next = n->sessions[peer].next};
	if (live)
		engine_session_lost(w, n, peer, asked);
}

void links_close(struct world *w, struct node *n, unsigned peer)
{
	struct connection *c = connection_find(w, n->sessions[peer].connection);
	if (!c)
		return;
	refuse(w, c, end_of(c, n));
	session_over(w, n, peer);
}

static void take(struct world *w, struct node *n, unsigned peer, const struct message *m)
{
	switch (m->kind) {
	case M_HELLO: hello_take(w, n, peer, m->hello); break;
	case M_WORD:
		if (n->sessions[peer].live)
			words_take(w, n, peer, m);
		break;
	default:
		if (n->sessions[peer].live)
			data_take(w, n, peer, m);
	}
}

/* What has arrived, one after the other; what it leads to may end the connection. */
void links_arrive(struct world *w, uint64_t id, unsigned which)
{
	struct connection *c;
	while ((c = connection_find(w, id)) && c->ends[which].state == END_OPEN &&
	       c->ends[which].first && c->ends[which].first->arrives <= w->now) {
		struct end *end = &c->ends[which];
		struct node *n = &w->nodes[end->node];
		unsigned peer = c->ends[1 - which].node;
		struct message *m = end->first;
		end->first = m->next;
		if (!end->first)
			end->last = &end->first;
		if (m->kind != M_END) {
			take(w, n, peer, m);
		} else {
			end->state = END_CLOSED;
			free_when_over(c);
			session_over(w, n, peer);
		}
		message_free(m);
	}
}

/* Some of what is on its way still arrives; then both learn of it, each at its own time. */
static void break_end(struct world *w, struct connection *c, struct end *end)
{
	const struct message over = {.kind = M_END};
	struct message **at = &end->first;
	while (*at && below(w, 3) > 0)
		at = &(*at)->next;
	struct end rest = {.first = *at};
	drop(&rest);
	*at = NULL;
	end->last = at;
	if (end->state != END_CLOSED)
		post(w, c, end, &over, late(w, below(w, 4) ? 20 * MS : 4 * SECOND));
}

void links_cut(struct world *w, struct connection *c)
{
	c->broken = true;
	break_end(w, c, &c->ends[0]);
	break_end(w, c, &c->ends[1]);
}

void links_power_off(struct world *w, struct node *n)
{
	for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
		struct connection *c = &w->connections[i];
		if (c->id == 0 ||
		    (c->ends[0].node != n->at_index && c->ends[1].node != n->at_index))
			continue;
		if (!c->broken)
			links_cut(w, c);
		end_of(c, n)->state = END_CLOSED;
		free_when_over(c);
	}
}

void links_release(struct world *w)
{
	for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
		struct connection *c = &w->connections[i];
		if (c->id == 0)
			continue;
		drop(&c->ends[0]);
		drop(&c->ends[1]);
		c->id = 0;
	}
}
