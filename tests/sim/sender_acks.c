/* sender_acks.c - acknowledgements become durable here, too, and with them what the peer's state
 * is: after agent/sync/sender_acks.c. */
#include <string.h>

#include "world.h"

static void ack_done(struct session *s, uint32_t arg)
{
	(void)arg;
	s->sender.storing_acks = false;
	if (s->closing)
		return;
	session_want_barrier(s);
	sender_store_acks(s);
	sender_pump(s);
}

static void ack_work(struct session *s, uint32_t arg)
{
	struct sender *sd = &s->sender;
	int paths[2 * PARCELS_MAX];
	struct acked_row rows[2 * PARCELS_MAX];
	(void)arg;
	for (size_t i = 0; i < sd->n_storing; i++) {
		paths[i] = sd->storing[i].path;
		rows[i] = sd->storing[i].row;
	}
	store_ack(&s->node->store, s->peer, paths, rows, sd->n_storing);
	store_set_peer_chain(&s->node->store, s->peer, sd->storing_chain_n, sd->storing_chain);
	s->noted_chain_n = UINT64_MAX;
	s->w->stats.acks += sd->n_storing;
	session_job(s, MS, "ack-done", ack_done, 0);
}

void sender_store_acks(struct session *s)
{
	struct sender *sd = &s->sender;
	if (sd->storing_acks || sd->n_acks == 0)
		return;
	memcpy(sd->storing, sd->acks, sizeof(sd->acks));
	sd->n_storing = sd->n_acks;
	sd->n_acks = 0;
	sd->storing_chain_n = sd->chain_n;
	memcpy(sd->storing_chain, sd->chain, sizeof(sd->chain));
	sd->storing_acks = true;
	session_job(s, MS, "ack", ack_work, 0);
}
