/* link.h - bytes to and from one peer: TCP, TLS 1.3 with both sides proven, frames, deadlines. It
 * knows nothing of what the frames mean beyond phase and size (protocol/frame.h); only BYE is its
 * own. One per connection; peers.h makes them. Thread: the loop. Cryptography runs on the loop: it
 * is faster than the disks. */
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

/* All four are called from the loop, never from within a call to a link_ or peers_ function. Any
 * link_ function may be called in any of them, except in closed(). */
struct link_events {
	void *owner;
	/* TLS is up, the peer's certificate matches a configured peer, and it accepted ours; name =
	 * that peer's node name. The HELLO must be sent now, by both: the side that dialled learns
	 * that it is accepted from the other's HELLO, which is the frame that follows. */
	void (*open)(void *owner, struct link *link, const char *peer_name);
	/* One frame other than BYE; borrowed for the call. To judge a HELLO later than in the call,
	 * pause first: the peer may have gone live and sent more. After link_close() no more come.
	 * @return 0, or negative after having called link_close() */
	int (*frame)(void *owner, struct link *link, const struct frame *frame);
	/* The send queue fell below the low watermark after having been above the high one. */
	void (*writable)(void *owner, struct link *link);
	/* The connection is over and *link is gone after this call. Called once for each open().
	 * `why` is for people, printable; `reason` is the BYE_* of whichever side said BYE, or 0 */
	void (*closed)(void *owner, struct link *link, uint16_t reason, const char *why);
};

/* Milliseconds. What stands here is what LINK_TIMING_DEFAULT gives; tests give less. */
struct link_timing {
	uint32_t handshake_ms; /* 5000: TCP, TLS and HELLO together */
	uint32_t idle_ms;      /* 8000: nothing arrives on a live link (not counted while paused) */
	uint32_t flush_ms;     /* 1000: for the last bytes of a link that is being closed */
};
#define LINK_TIMING_DEFAULT \
	((struct link_timing){.handshake_ms = 5000, .idle_ms = 8000, .flush_ms = 1000})

#define LINK_SEND_HIGH (4u << 20) /* bytes queued: stop producing */
#define LINK_SEND_LOW (1u << 20)
#define LINK_SEND_MAX \
	(32u << 20) /* a peer that makes us answer and does not read is cut off here */

/* Sends one frame. The body is copied. Frames of one turn of the loop leave together. False when
 * the queue is above the high watermark (the frame is queued all the same; producers stop until
 * writable), and when the link is closing (the frame is dropped). */
bool link_send(struct link *link, uint8_t type, const void *body, size_t len);
bool link_is_writable(const struct link *link);
size_t link_queued(const struct link *link); /* bytes */

/* Back-pressure towards the peer: no more frames are delivered (nor bytes read) until resumed. What
 * arrived before is delivered from the loop after link_resume(), not within it. */
void link_pause(struct link *link);
void link_resume(struct link *link);

/* HELLO was exchanged and judged: later frames are judged for PHASE_LIVE and this sender. Ends the
 * handshake deadline and starts the idle deadline. A second call changes the sender. */
void link_go_live(struct link *link, unsigned peer_sender);

/* Sends BYE(reason, text), flushes for at most 1 s, closes. Idempotent. */
void link_close(struct link *link, uint16_t reason, const char *text);

/* The certificate that the other side showed, and what makes it good. */
struct link_certificate {
	bool pinned;	 /* by its key: its dates mean nothing */
	int64_t seconds; /* until it expires; negative: it has */
};
/* @return 0, or -ENOENT before TLS is done */
int link_certificate(const struct link *link, struct link_certificate *out);

const char *link_peer(const struct link *link);	   /* node name, or NULL before open */
const char *link_address(const struct link *link); /* "127.0.0.1:7443", for messages */
bool link_was_dialled(const struct link *link);	   /* by us */
uint64_t link_bytes_in(const struct link *link);   /* on the wire, TLS included */
uint64_t link_bytes_out(const struct link *link);

#endif
