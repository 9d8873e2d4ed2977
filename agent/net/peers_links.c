/* Which connection is the peer's one link. Both nodes dial, so two connections may cross; both
 * nodes see both, in any order, and must keep the same one without asking each other. */
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/net/peers_private.h"

#define REJECTS_WINDOW_MS 10000
#define REJECTS_LINES 10 /* in one window; the rest is counted */

static const char *dialler_of(const struct peer *peer, const struct link *l)
{
	return l->dialled ? peer->peers->self : peer->node;
}

static bool newer_wins(const struct peer *peer, const struct link *now, const struct link *newer)
{
	const struct peers *peers = peer->peers;
	if (link_is_closing(now) || now->dialled == newer->dialled)
		return true;
	if (now->state == LINK_LIVE &&
	    clock_mono_ms() - now->live_ms > peers->timing.link.handshake_ms)
		return true; /* no crossing: the other side has lost what we still believe in */
	return strcmp(dialler_of(peer, newer), dialler_of(peer, now)) < 0;
}

static void admit(struct peer *peer, struct link *l)
{
	peer->link = l;
	uv_timer_stop(&peer->retry);
	link_admit(l);
}

static void choose(struct peer *peer, struct link *l)
{
	struct link *now = peer->waiting ? peer->waiting : peer->link;
	if (!now) {
		admit(peer, l);
	} else if (!newer_wins(peer, now, l)) {
		link_close(l, BYE_REPLACED, "there is another connection between the two nodes");
	} else {
		peer->waiting = l; /* until the other has ended: never two at once */
		link_close(now, BYE_REPLACED, "a newer connection between the two nodes took over");
	}
}

void peers_on_proven(void *owner, struct link *l)
{
	struct peers *peers = owner;
	struct peer *peer = peers_find(peers, l->verdict.node);
	if (!peer || (l->slot && l->slot != peer)) {
		link_close(l, BYE_UNKNOWN_PEER, "this peer is no longer configured");
		return;
	}
	if (l->probe) {
		peers_answer_probe(l);
		return;
	}
	if (peer->dialling == l)
		peer->dialling = NULL;
	if (!l->slot)
		peer->references++;
	l->slot = peer;
	choose(peer, l);
}

static bool is_half_open(const struct link *l)
{
	return !l->dialled && l->live_ms == 0;
}

void peers_on_live(void *owner, struct link *l)
{
	struct peers *peers = owner;
	struct peer *peer = l->slot;
	if (!l->dialled)
		peers->half_open--;
	peer->last_error[0] = '\0';
	log_info("net", "peer=%s address=%s connected dialled_by=%s cipher=%s", peer->node,
		 l->address, dialler_of(peer, l), SSL_get_cipher_name(l->tls));
}

/* @return false when this window has had its lines */
static bool may_log_reject(struct peers *peers)
{
	uint64_t now = clock_mono_ms();
	if (now - peers->rejects.window_ms > REJECTS_WINDOW_MS) {
		if (peers->rejects.more > 0)
			log_warn("net", "err=\"%u more connections were rejected\"",
				 peers->rejects.more);
		peers->rejects.window_ms = now;
		peers->rejects.lines = peers->rejects.more = 0;
	}
	if (peers->rejects.lines < REJECTS_LINES) {
		peers->rejects.lines++;
		return true;
	}
	peers->rejects.more++;
	return false;
}

static void log_stranger(struct peers *peers, const struct link *l, const char *why)
{
	if (l->bytes_in == 0 && !peers->closing)
		log_debug("net", "address=%s ended=\"%s\"", l->address, why); /* a port probe */
	else if (!peers->closing && may_log_reject(peers))
		log_warn("net", "address=%s rejected=\"%s\"", l->address, why);
}

static void note_failure(struct peer *peer, const struct link *l, uint16_t reason, const char *why)
{
	bool meant = reason == BYE_REPLACED || reason == BYE_SHUTDOWN;
	if (l->live_ms)
		snprintf(peer->last_error, sizeof(peer->last_error), "%s", why);
	else if (!meant)
		peer_note_failure(peer, l->address, why);
}

/* A link that lived longer than a handshake was a good one: the next attempt is quick again. One
 * that is refused each time is tried less and less often. */
static void judge_backoff(struct peer *peer, const struct link *l)
{
	if (l->live_ms && clock_mono_ms() - l->live_ms > peer->peers->timing.link.handshake_ms)
		backoff_reset(&peer->backoff);
}

static void leave_peer(struct peer *peer, struct link *l, uint16_t reason, const char *why)
{
	struct link *next = peer->waiting;
	peer->references--;
	if (peer->dialling == l)
		peer->dialling = NULL;
	if (peer->waiting == l)
		peer->waiting = next = NULL;
	if (peer->link == l)
		peer->link = NULL;
	if (!peer->link && !next && !peer->peers->closing && !peer->removed)
		note_failure(peer, l, reason, why);
	judge_backoff(peer, l);
	if (!peer->link && next && next->state == LINK_PROVEN) {
		peer->waiting = NULL;
		admit(peer, next);
	}
	peer_dial_soon(peer);
	peer_settle(peer);
}

void peers_on_ended(void *owner, struct link *l, uint16_t reason, const char *why)
{
	struct peers *peers = owner;
	struct peer *peer = l->slot;
	DL_DELETE(peers->links, l);
	if (is_half_open(l))
		peers->half_open--;
	if (peer)
		leave_peer(peer, l, reason, why);
	else if (reason != BYE_PROBED)
		log_stranger(peers, l, why);
	peers_settle(peers);
}
