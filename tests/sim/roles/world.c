/* world.c - what happens next: a heap of events, the chance that all of it comes from, rounds of
 * weather and calm. */
#include "roles.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const mutation_names[MUTATIONS] = {
#define X(name, text) [MUTATE_##name] = text,
	MUTATION_LIST(X)
#undef X
};

/* ---- chance and words ----------------------------------------------------------------------- */

uint32_t below(struct world *w, uint32_t n)
{
	return random_below(&w->random, n);
}

bool fate(struct world *w, uint32_t in_1000)
{
	return !w->calm && in_1000 > 0 && random_chance(&w->random, in_1000);
}

uint64_t late(struct world *w, uint64_t usual)
{
	uint32_t kind = below(w, 64);
	uint64_t in = 1 + usual * (1 + below(w, 1000)) / 500;
	return w->calm ? in : kind == 0 ? in * 60 : kind < 5 ? in * 8 : in;
}

void tell(const struct world *w, const char *fmt, ...)
{
	va_list args;
	if (!w->trace)
		return;
	printf("%" PRIu64 " %.6f ", w->steps, (double)w->now / SECOND);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	putchar('\n');
}

void fail(const struct world *w, const char *fmt, ...)
{
	va_list args;
	check_dump(w);
	printf("FAILED seed %" PRIu64 " step %" PRIu64 " time %.3f s: ", w->seed, w->steps,
	       (double)w->now / SECOND);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\nagain: sim_roles --seed %" PRIu64 " --steps %" PRIu64 "%s%s --trace\n", w->seed,
	       w->steps + 1, w->mutation ? " --mutate " : "",
	       w->mutation ? mutation_names[w->mutation] : "");
	exit(1);
}

/* ---- ids of epochs: numbers, so that an onlooker can keep them in a set ---------------------- */

uint64_t id_number(const uint8_t id[WIRE_ID_LEN])
{
	uint64_t number;
	memcpy(&number, id, sizeof(number));
	return number % IDS_MAX;
}

bool bit(const uint8_t *bits, uint64_t n)
{
	return (bits[n / 8] >> n % 8 & 1) != 0;
}

void set_bit(uint8_t *bits, uint64_t n)
{
	bits[n / 8] = (uint8_t)(bits[n / 8] | 1u << n % 8);
}

/* As roles_new_offer(): a number above all that this node has recorded, promised, refused or seen.
 */
void new_offer(struct world *w, const struct node *n, struct role_offer *out, unsigned heir)
{
	*out = (struct role_offer){.number = n->machine.number + 1};
	uint64_t id = w->next_id++;
	memcpy(out->id, &id, sizeof(id));
	strcpy(out->node, w->nodes[heir].name);
}

/* ---- events --------------------------------------------------------------------------------- */

static bool before(const struct event *a, const struct event *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void heap_push(struct world *w, struct event event)
{
	if (w->n_heap == w->cap_heap) {
		w->cap_heap = 2 * w->cap_heap + 64;
		w->heap = realloc(w->heap, w->cap_heap * sizeof(*w->heap));
		if (!w->heap)
			abort();
	}
	size_t i = w->n_heap++;
	for (; i > 0 && before(&event, &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
		w->heap[i] = w->heap[(i - 1) / 2];
	w->heap[i] = event;
}

static struct event heap_pop(struct world *w)
{
	struct event top = w->heap[0], last = w->heap[--w->n_heap];
	size_t i = 0;
	for (;;) {
		size_t child = 2 * i + 1;
		if (child + 1 < w->n_heap && before(&w->heap[child + 1], &w->heap[child]))
			child++;
		if (child >= w->n_heap || !before(&w->heap[child], &last))
			break;
		w->heap[i] = w->heap[child];
		i = child;
	}
	w->heap[i] = last;
	return top;
}

void world_at(struct world *w, uint64_t in, enum happening what, const struct node *n, uint64_t a,
	      uint64_t b)
{
	heap_push(w, (struct event){.at = w->now + in,
				    .order = w->order++,
				    .what = what,
				    .node = n ? n->at_index : 0,
				    .boot = n ? n->boot : 0,
				    .a = a,
				    .b = b});
}

static void happen_at_node(struct world *w, struct node *n, const struct event *e)
{
	if (!n->up || n->boot != e->boot)
		return;
	switch (e->what) {
	case H_TICK:
		engine_tick(w, n);
		world_at(w, 500 * MS + below(w, 10 * MS), H_TICK, n, 0, 0);
		break;
	case H_DIAL: links_dial(w, n, (unsigned)e->a); break;
	case H_STORE: durable_stage(w, n); break;
	case H_PROOF: proofs_go_on(w, n, e->a); break;
	case H_FORCED: proofs_forced(w, n); break;
	case H_HOOK: hooks_end(w, n, e->a != 0); break;
	default: break;
	}
}

static void happen(struct world *w, const struct event *e)
{
	switch (e->what) {
	case H_ARRIVE: links_arrive(w, e->a, (unsigned)e->b); break;
	case H_ADMIT: links_admit(w, e->a, (unsigned)e->b); break;
	case H_WRITE: people_write(w); break;
	case H_PERSON: people_act(w); break;
	case H_FATE: people_fate(w); break;
	case H_BOOT:
		if (!w->nodes[e->node].up)
			engine_boot(w, &w->nodes[e->node]);
		break;
	default: happen_at_node(w, &w->nodes[e->node], e); break;
	}
}

/* ---- the group, and its rounds -------------------------------------------------------------- */

static void node_new(struct world *w, unsigned i)
{
	struct node *n = &w->nodes[i];
	memset(n, 0, sizeof(*n));
	n->at_index = i;
	n->name[0] = (char)('a' + i);
	n->disk.machine.role = i == 0 ? WIRE_ROLE_ACTIVE : WIRE_ROLE_PASSIVE;
	n->disk.machine.number = 1;
	n->disk.n_lineage = 1;
	n->disk.lineage[0] = (struct epoch_entry){.number = 1, .id = {1}, .node = "a"};
	for (unsigned k = 0; k < KEYS; k++)
		n->disk.index[k] = (struct version){.seq = k + 1, .token = k + 1};
	n->disk.last_seq = KEYS;
	for (unsigned p = 0; p < NODES_MAX; p++)
		data_ack_all(n, p, KEYS);
}

/* Lineages grow with each change of roles: now and then a new group begins. */
static void group_new(struct world *w)
{
	links_release(w);
	w->n_heap = 0;
	w->n_nodes = 2 + below(w, 2);
	w->next_id = 2;
	w->next_token = KEYS + 1;
	w->forced = false;
	memset(w->begun, 0, sizeof(w->begun));
	memset(w->refused, 0, sizeof(w->refused));
	memset(w->acknowledged, 0, sizeof(w->acknowledged));
	memset(w->apart_until, 0, sizeof(w->apart_until));
	for (unsigned i = 0; i < w->n_nodes; i++)
		node_new(w, i);
	for (unsigned i = 0; i < w->n_nodes; i++)
		engine_boot(w, &w->nodes[i]);
	world_at(w, SECOND, H_WRITE, NULL, 0, 0);
	world_at(w, SECOND, H_PERSON, NULL, 0, 0);
	world_at(w, SECOND, H_FATE, NULL, 0, 0);
	w->figures.worlds++;
	people_weather(w);
}

static void begin_calm(struct world *w)
{
	w->calm = true;
	w->decided = false;
	w->calm_since = w->now;
	w->calm_steps = w->steps;
	w->keep = (int)below(w, w->n_nodes);
	memset(w->apart_until, 0, sizeof(w->apart_until));
	tell(w, "calm");
}

/* At rest what the active has is what there is. */
static void take_stock(struct world *w)
{
	w->forced = false;
	for (unsigned k = 0; k < KEYS; k++)
		w->acknowledged[k] = w->nodes[0].disk.index[k].token;
}

static void begin_weather(struct world *w)
{
	size_t longest = 0;
	w->calm = false;
	w->figures.rounds++;
	take_stock(w);
	for (unsigned i = 0; i < w->n_nodes; i++) {
		if (w->nodes[i].disk.n_lineage > longest)
			longest = w->nodes[i].disk.n_lineage;
	}
	if (longest + EPOCHS_PER_ROUND + 2 > LINEAGE_SIM_MAX || w->next_id + 512 > IDS_MAX)
		group_new(w);
	else
		people_weather(w);
	tell(w, "weather");
}

void world_run(struct world *w, uint64_t seed, uint64_t steps, enum mutation mutation, bool trace)
{
	memset(w, 0, sizeof(*w));
	w->seed = seed;
	w->random.state = random_mix(seed);
	w->mutation = mutation;
	w->trace = trace;
	group_new(w);
	while (w->steps < steps) {
		struct event e = heap_pop(w);
		w->now = e.at;
		w->steps++;
		happen(w, &e);
		check_step(w);
		if (!w->calm && w->now >= w->weather.calm_at)
			begin_calm(w);
		else if (w->calm && check_rests(w))
			begin_weather(w);
		else if (w->calm)
			check_calm(w);
	}
	links_release(w);
	free(w->heap);
}
