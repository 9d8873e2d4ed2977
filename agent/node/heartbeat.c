/* heartbeat.c - each second: the round-trip time, and what status says of the other side. */
#include "agent/node/node_internal.h"

#include <errno.h>

#include "agent/base/clock.h"
#include "protocol/messages.h"

static uint32_t scan_age_s(const struct node *node)
{
	struct intake_counts counts;
	if (!node->intake)
		return UINT32_MAX;
	intake_counts(node->intake, &counts);
	return counts.scanned_ms == 0 ? UINT32_MAX
				      : (uint32_t)((clock_mono_ms() - counts.scanned_ms) / 1000);
}

static void send_beat(struct session *s, uint16_t flags)
{
	uint8_t body[256];
	struct node *node = s->node;
	struct store_state state;
	uint64_t now_us = clock_mono_ns() / 1000;
	store_state(node->store, &state);
	struct wire_heartbeat beat = {
		.nonce = ++s->beat,
		.echo = s->beat_seen,
		.echo_delay_us = s->beat_seen ? (uint32_t)(now_us - s->beat_seen_us) : 0,
		.scan_age_s = scan_age_s(node),
		.scan_interval_s = node_scan_interval_s(node),
		.last_seq = state.last_seq,
		.clock_ns = clock_real_ns(),
		.recovery_ns = node->recovery_ns,
		.held = (uint32_t)store_note_count(node->store, NOTE_HELD),
		.drift = (uint32_t)drift_guard_count(node),
		.salvage = (uint32_t)store_salvage_count(node->store),
	};
	beat.flags = flags | (node_is_healthy(node) ? BEAT_HEALTHY : 0) |
		     (node->paused ? BEAT_PAUSED : 0);
	struct wr w;
	wr_init(&w, body, sizeof(body));
	wire_encode_heartbeat(&w, &beat);
	s->beat_sent_us[s->beat % BEATS_REMEMBERED] = now_us;
	link_send(s->link, WIRE_HEARTBEAT, body, wr_len(&w));
}

void heartbeat_send(struct session *s)
{
	send_beat(s, 0);
}

void heartbeat_ask(struct session *s)
{
	send_beat(s, BEAT_ASK);
	s->asked_beat = s->beat;
}

int heartbeat_frame(struct session *s, const struct frame *frame)
{
	struct wire_heartbeat m;
	struct rd r;
	uint64_t now_us = clock_mono_ns() / 1000;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_heartbeat(&m, &r) < 0)
		return -EBADMSG;
	/* Not only the newest: on a long line another has gone out before the echo comes. */
	uint64_t sent_us = s->beat_sent_us[m.echo % BEATS_REMEMBERED];
	bool known = m.echo != 0 && m.echo <= s->beat && s->beat - m.echo < BEATS_REMEMBERED;
	if (known && now_us - sent_us >= m.echo_delay_us)
		s->rtt_ms = (double)(now_us - sent_us - m.echo_delay_us) / 1000.0;
	s->beat_seen = m.nonce;
	s->beat_seen_us = now_us;
	s->theirs = m;
	s->have_theirs = true;
	if (m.flags & BEAT_ASK)
		heartbeat_send(s);
	if (s->asked_beat != 0 && m.echo >= s->asked_beat) {
		s->asked_beat = 0;
		roles_advance(s->node->roles);
	}
	readiness_heartbeat(s, m.clock_ns);
	if (node_is_active(s->node) && m.recovery_ns > s->recovery_ns)
		s->recovery_ns = m.recovery_ns;
	if (s->sender)
		sender_pause(s->sender, s->node->paused || (m.flags & BEAT_PAUSED));
	return 0;
}
