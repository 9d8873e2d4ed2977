/* link.h - bytes to and from one peer: TCP, TLS 1.3 with both sides proven, frames, deadlines. It knows
 * nothing of what the frames mean beyond phase and size (protocol/frame.h). One per connection.
 * Thread: the loop. Cryptography runs on the loop: it is faster than the disks. */
#ifndef NET_LINK_H
#define NET_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "agent/base/err.h"
#include "protocol/frame.h"

struct link;
struct tls_identity; /* own certificate and key, whom to trust: tls.h */

struct link_events {
	void *owner;
	/* TLS is up and the peer's certificate matches a configured peer; name = that peer's node name.
	 * The HELLO should be sent now. */
	void (*open)(void *owner, struct link *link, const char *peer_name);
	/* One frame; borrowed for the call. @return 0, or negative after having called link_close() */
	int (*frame)(void *owner, struct link *link, const struct frame *frame);
	/* The send queue fell below the low watermark after having been above the high one. */
	void (*writable)(void *owner, struct link *link);
	/* The connection is over and *link is gone after this call. `why` is for people; `reason` a BYE_* or 0 */
	void (*closed)(void *owner, struct link *link, uint16_t reason, const char *why);
};

#define LINK_SEND_HIGH (4u << 20) /* bytes queued: stop producing */
#define LINK_SEND_LOW (1u << 20)

/* Sends one frame. The body is copied. False when the queue is above the high watermark (the frame
 * is queued all the same; producers stop until writable). */
bool link_send(struct link *link, uint8_t type, const void *body, size_t len);
bool link_is_writable(const struct link *link);
size_t link_queued(const struct link *link); /* bytes */

/* Back-pressure towards the peer: no more frames are delivered (nor bytes read) until resumed. */
void link_pause(struct link *link);
void link_resume(struct link *link);

/* HELLO was exchanged and judged: later frames are judged for PHASE_LIVE and this sender. Ends the
 * handshake deadline and starts the idle deadline: a link on which nothing arrives for 8 s is closed. */
void link_go_live(struct link *link, unsigned peer_sender);

/* Sends BYE(reason, text), flushes for at most 1 s, closes. Idempotent. */
void link_close(struct link *link, uint16_t reason, const char *text);

const char *link_peer(const struct link *link); /* node name, or NULL before open */
const char *link_address(const struct link *link); /* "127.0.0.1:7443", for messages */
uint64_t link_bytes_in(const struct link *link);
uint64_t link_bytes_out(const struct link *link);

#endif
