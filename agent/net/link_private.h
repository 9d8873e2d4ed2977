/* link_private.h - a link as seen by link*.c, which are it, and by peers*.c, which make links and
 * decide which of two lives. Not for other folders. Thread: the loop. */
#ifndef NET_LINK_PRIVATE_H
#define NET_LINK_PRIVATE_H

#include "agent/base/buf.h"
#include "agent/net/address.h"
#include "agent/net/link.h"
#include "agent/net/tls_private.h"

#define LINK_BUFFER (64 * 1024) /* bytes moved between socket, TLS and frames at once */
#define LINK_IN_FLIGHT_MAX (4 * LINK_BUFFER) /* encrypted and not yet taken by the kernel */

enum link_state {
	LINK_CONNECT, /* TCP is being set up; only where we dialled */
	LINK_TLS,
	LINK_PROVEN, /* we know who it is; waits for link_admit() and, if we dialled, a word from it
		      */
	LINK_HELLO,  /* open() was reported */
	LINK_LIVE,
	LINK_FLUSH,  /* the last bytes go out; what arrives is thrown away */
	LINK_CLOSED, /* libuv closes the handles */
	LINK_STATES
};

/* Whom a link tells what its user never hears of: peers. */
struct link_guard {
	void *owner;
	/* State PROVEN. Answer with link_admit() or link_close(), at once or later. */
	void (*proven)(void *owner, struct link *link);
	void (*live)(void *owner, struct link *link);
	/* After events.closed(); *link is gone after this call. */
	void (*ended)(void *owner, struct link *link, uint16_t reason, const char *why);
};

struct link_setup {
	uv_loop_t *loop;
	struct tls_identity *identity;
	const struct link_guard *guard;	  /* borrowed for the link's life */
	const struct link_events *events; /* likewise */
	struct link_timing timing;
	const char *expected; /* node we dial, copied; NULL when accepting */
	const char *address;  /* as configured, copied; NULL when accepting: asked of the socket */
	void *slot;	      /* the guard's */
	bool probe;	      /* dialled only to be told that it would be let in */
};

struct link {
	enum link_state state;
	struct link_timing timing;
	const struct link_guard *guard;
	const struct link_events *events;
	void *slot;
	struct link *prev, *next; /* the guard's list */

	uv_tcp_t tcp;
	uv_timer_t deadline;
	uv_idle_t kick; /* flushes, and delivers after a resume, before the loop sleeps */
	unsigned handles;
	uv_connect_t connect;
	uv_shutdown_t shutdown;

	struct tls_identity *identity;
	SSL *tls;
	struct tls_verdict verdict;
	char *expected; /* the node we dialled, or NULL */
	char address[ADDRESS_TEXT_MAX];

	struct frame_reader frames;
	unsigned phase, sender;
	uint8_t input[LINK_BUFFER]; /* from the socket; then, copied into TLS, what TLS yields */

	struct buf plain; /* frames not yet encrypted; those before `sent` are */
	size_t sent;
	size_t in_flight;

	bool dialled, probe, admitted, opened, paused, reading, above_high;
	bool tls_done, tls_broken, said_goodbye, write_failed, last_look;
	uint64_t heard_ms, live_ms; /* clock_mono_ms() */
	uint64_t bytes_in, bytes_out;
	uint16_t reason;
	char why[TLS_WHY_MAX];
};

/* The connection waiting at `listener`; and one to be made. Failures come through guard->ended. */
struct link *link_accept(uv_stream_t *listener, const struct link_setup *setup);
struct link *link_dial(const struct sockaddr *to, const struct link_setup *setup);

/* PROVEN -> HELLO and open(); if we dialled, only when its first frame arrives and is not BYE. In
 * TLS 1.3 the dialler is done before the other side has judged its certificate; and a connection
 * that lost against one that crossed it is told so before anybody hears of it. */
void link_admit(struct link *link);
bool link_is_closing(const struct link *link);

/* Inside link*.c */
void link_become(struct link *l, enum link_state next);
/* Ends it with a word to the peer where TLS allows (BYE when reason != 0), and a flush. */
void link_end(struct link *l, uint16_t reason, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Ends it at once: the other side is gone, or has said BYE. */
void link_drop(struct link *l, uint16_t reason, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void link_destroy(struct link *l);
void link_update_reading(struct link *l);
void link_wake(struct link *l); /* on_kick soon */
void link_write_error(struct link *l);
void link_open(struct link *l);	 /* PROVEN -> HELLO */
void link_start(struct link *l); /* TCP is up: TLS begins */

/* link_tls.c */
void link_flush(struct link *l);	    /* plain -> TLS -> socket, as much as may be */
void link_pump(struct link *l);		    /* TLS -> frames -> events, until empty or paused */
void link_take(struct link *l, size_t len); /* len bytes of l->input arrived */
/* link_io.c */
void link_write(struct link *l);	  /* what TLS produced goes to the socket */
void link_finish_writing(struct link *l); /* FIN once all that is queued is out */
void link_on_connected(uv_connect_t *request, int status);
void link_read(struct link *l, bool wanted); /* starts or stops reading */

#endif
