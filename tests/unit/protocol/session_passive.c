/* The passive side of the random sessions: what an agent does with inbound. */
#include "session_world.h"

/* ---- the passive -------------------------------------------------------------------------- */

static struct slot *slot_of(struct world *w, uint32_t ticket)
{
	for (size_t i = 0; i < COUNT(w->slots); i++) {
		if (w->slots[i].ticket == ticket)
			return &w->slots[i];
	}
	return NULL;
}

static void answer(struct world *w, struct slot *slot, enum frame_kind kind, uint8_t need)
{
	assert_true(inbound_is_wanted(w->ib, slot->ticket));
	session_push(&w->back, (struct message){.kind = kind,
						.ticket = slot->ticket,
						.path = slot->path,
						.need = need});
	inbound_answered(w->ib, slot->ticket, kind == ACK);
	slot->ticket = 0;
	w->acks += kind == ACK;
	w->needs += kind == NEED;
	w->refusals += kind == REFUSED;
}

static void on_record(struct world *w, const struct message *m)
{
	bool streamed = m->version.kind == FILE_LARGE;
	assert_int_equal(inbound_record(w->ib, m->ticket, session_paths[m->path], streamed, 500),
			 0);
	if (m->set)
		assert_int_equal(inbound_member(w->ib, m->ticket, m->set, m->set_n), 0);
	struct slot *slot = slot_of(w, 0);
	assert_non_null(slot);
	/* What has no content is staged by arriving, so that it cannot be overtaken. */
	bool staged = m->version.kind == GONE || m->version.kind == DIRECTORY;
	*slot = (struct slot){m->ticket, m->path, m->version, streamed, staged, m->set};
	if (staged)
		inbound_staged(w->ib, m->ticket);
}

static void on_set_abort(struct world *w, uint32_t set)
{
	uint32_t tickets[WIRE_SET_MAX];
	size_t n = inbound_set_abort(w->ib, set, tickets);
	for (size_t i = 0; i < n; i++)
		slot_of(w, tickets[i])->ticket = 0;
}

void passive_on_frame(struct world *w)
{
	if (w->there.n == 0)
		return;
	struct message m = session_pop(&w->there);
	struct slot *slot = m.ticket ? slot_of(w, m.ticket) : NULL;
	switch (m.kind) {
	case RECORD: on_record(w, &m); break;
	case DATA:
		assert_int_equal(inbound_data(w->ib, m.ticket, 80, m.last), 0);
		assert_int_equal(inbound_is_wanted(w->ib, m.ticket), slot != NULL);
		if (slot && m.last)
			slot->arriving = false;
		break;
	case ABORT:
		assert_int_equal(inbound_abort(w->ib, m.ticket), 0);
		if (slot)
			slot->ticket = 0;
		break;
	case SET_ABORT: on_set_abort(w, m.set); break;
	default: assert_int_equal(inbound_barrier(w->ib, m.id, m.denials), 0);
	}
}

/* Content may turn out to be unusable. */
void passive_stage_something(struct world *w)
{
	struct slot *slot = &w->slots[session_chance(w, COUNT(w->slots))];
	if (!slot->ticket || slot->staged)
		return;
	if (!w->calm && session_chance(w, 8) == 0) {
		answer(w, slot, session_chance(w, 3) ? NEED : REFUSED, NEED_CONTENT);
		return;
	}
	if (slot->arriving)
		return;
	slot->staged = true;
	inbound_staged(w->ib, slot->ticket);
}

void passive_begin_commit(struct world *w)
{
	if (w->n_batch == 0)
		w->n_batch = inbound_batch(w->ib, w->batch, N_RECORDS);
}

static bool has_beneath(const struct world *w, size_t dir)
{
	for (size_t i = 0; i < N_PATHS; i++) {
		if (session_is_beneath(i, dir) && w->copy[i].kind != GONE)
			return true;
	}
	return false;
}

static bool in_batch(const struct world *w, uint32_t ticket)
{
	for (size_t i = 0; i < w->n_batch; i++) {
		if (w->batch[i] == ticket)
			return true;
	}
	return false;
}

/* Will there be a directory for it when the batch is through? */
static bool finds_parent(const struct world *w, const struct slot *slot)
{
	if (slot->version.kind == GONE || slot->path == 0)
		return true;
	size_t parent = session_parent(slot->path);
	for (size_t i = 0; i < COUNT(w->slots); i++) {
		const struct slot *other = &w->slots[i];
		if (other->ticket && in_batch(w, other->ticket) && other->path == parent)
			return other->version.kind == DIRECTORY && finds_parent(w, other);
	}
	return w->copy[parent].kind == DIRECTORY;
}

/* Before anything is journaled: a set of which one cannot go on is left out. */
static void leave_sets_out(struct world *w)
{
	for (size_t i = 0; i < COUNT(w->slots); i++) {
		struct slot *slot = &w->slots[i];
		uint32_t set = slot->set;
		if (!slot->ticket || !in_batch(w, slot->ticket) || !set || finds_parent(w, slot))
			continue;
		answer(w, slot, NEED, NEED_PARENT);
		w->left_out++;
		for (size_t k = 0; k < COUNT(w->slots); k++) {
			struct slot *other = &w->slots[k];
			if (!other->ticket || other->set != set)
				continue;
			inbound_left_out(w->ib, other->ticket);
			for (size_t b = 0; b < w->n_batch; b++)
				w->batch[b] = w->batch[b] == other->ticket ? 0 : w->batch[b];
		}
	}
}

static void install(struct world *w, struct slot *slot)
{
	enum kind kind = slot->version.kind;
	if (kind != GONE && slot->path && w->copy[session_parent(slot->path)].kind != DIRECTORY) {
		answer(w, slot, NEED, NEED_PARENT);
		return;
	}
	if (kind != DIRECTORY && has_beneath(w, slot->path))
		fail_msg("\"%s\" goes while something is beneath it", session_paths[slot->path]);
	w->copy[slot->path] = slot->version;
	answer(w, slot, ACK, 0);
}

static bool equal(struct version a, struct version b)
{
	return a.kind == b.kind && (a.kind == GONE || a.seq == b.seq);
}

/* What no batch may ever show: a set as the active never had it. */
static void check_sets(struct world *w)
{
	for (uint32_t set = 1; set <= N_SETS; set++) {
		bool found = false;
		for (size_t h = w->n_history; h-- > 0 && !found;) {
			found = true;
			for (size_t i = 0; found && i < N_PATHS; i++)
				found = session_set_of[i] != set ||
					equal(w->copy[i], w->history[h][i]);
		}
		if (!found)
			fail_msg("set %u is as it never was", set);
		w->sets++;
	}
}

/* The commit's order: what makes room for a file, directories, files, deletions deepest first. */
static int pass_of(const struct world *w, const struct slot *slot)
{
	if (slot->version.kind == DIRECTORY)
		return 1;
	if (slot->version.kind != GONE)
		return 2;
	for (size_t i = 0; i < w->n_batch; i++) {
		for (size_t k = 0; k < COUNT(w->slots); k++) {
			const struct slot *other = &w->slots[k];
			if (other->ticket == w->batch[i] && other->version.kind != DIRECTORY &&
			    other->version.kind != GONE &&
			    session_is_beneath(slot->path, other->path))
				return 0;
		}
	}
	return 3;
}

void passive_end_commit(struct world *w)
{
	if (w->n_batch == 0)
		return;
	leave_sets_out(w);
	for (int pass = 0; pass < 4; pass++) {
		for (size_t p = 0; p < N_PATHS; p++) {
			size_t path = pass == 0 || pass == 3 ? N_PATHS - 1 - p : p;
			for (size_t i = 0; i < w->n_batch; i++) {
				struct slot *slot = w->batch[i] ? slot_of(w, w->batch[i]) : NULL;
				if (slot && slot->path == path && pass_of(w, slot) == pass)
					install(w, slot);
			}
		}
	}
	w->n_batch = 0;
	check_sets(w);
}

void passive_judge_barrier(struct world *w)
{
	bool clean;
	uint64_t id = inbound_reached_barrier(w->ib, &clean);
	if (id == 0)
		return;
	session_push(&w->back, (struct message){.kind = BARRIER_DONE, .id = id});
	w->clean += clean;
	w->dropped += !clean;
	for (size_t i = 0; clean && i < N_PATHS; i++) {
		struct version was = w->snapshots[id][i];
		if (was.kind != w->copy[i].kind || (was.kind != GONE && was.seq != w->copy[i].seq))
			fail_msg("barrier %d: \"%s\" is %d/%d, was %d/%d", (int)id,
				 session_paths[i], (int)w->copy[i].seq, w->copy[i].kind,
				 (int)was.seq, was.kind);
	}
}
