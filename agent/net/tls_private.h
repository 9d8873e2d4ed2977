/* tls_private.h - what tls_*.c and link_tls.c share: one handshake's judgement, and the words for
 * a handshake that failed. Not for other folders. Thread: the loop. */
#ifndef NET_TLS_PRIVATE_H
#define NET_TLS_PRIVATE_H

#include <openssl/ssl.h>
#include <stdbool.h>

#include "agent/base/hash.h"
#include "agent/net/tls.h"
#include "protocol/wire.h"

#define TLS_WHY_MAX 512 /* bytes of an explanation: two fingerprints and a command line fit */

/* What one handshake found out about the peer's certificate. Filled by the verify callback. */
struct tls_verdict {
	const char *expected; /* the node we dialled, borrowed; NULL when the peer dialled us */
	const char *address;  /* of the other side, for the remedy; borrowed */
	bool peer_is_server;  /* we dialled */
	char node[WIRE_NAME_MAX + 1];	     /* whose certificate it is; "" = nobody's */
	char presented[TLS_FINGERPRINT_MAX]; /* "" until a certificate arrived */
	char why[TLS_WHY_MAX];		     /* if nobody's: for people, with the remedy */
};

struct trusted_peer {
	char *node;
	char *name; /* that a certificate under `ca` must carry */
	uint8_t (*pins)[HASH_LEN];
	size_t n_pins;
	X509_STORE *ca; /* NULL: pins only */
};

struct tls_identity {
	unsigned references;
	SSL_CTX *context;
	struct trusted_peer *peers;
	size_t n_peers;
	char fingerprint[TLS_FINGERPRINT_MAX]; /* our own */
};

struct tls_identity *tls_identity_ref(struct tls_identity *identity);

/* @return a session over memory BIOs that reports into *verdict, which must outlive it */
SSL *tls_session_new(struct tls_identity *identity, struct tls_verdict *verdict);

/**
 * Whose certificate is this? Pure but for OpenSSL's clock (validity of a chain under a CA).
 * @param chain  further certificates that the peer sent, or NULL
 * @return true with verdict->node set; false with verdict->why set
 */
bool tls_judge(const struct tls_identity *identity, struct tls_verdict *verdict, X509 *leaf,
	       STACK_OF(X509) * chain);

/* The established session's peer is still who it was under (newer) trust. */
bool tls_still_trusts(const struct tls_identity *identity, SSL *session,
		      const struct tls_verdict *then);

/* A session that only asks whether it would be let in: said by the client before the handshake,
 * known to both after it. */
void tls_ask_as_probe(SSL *session);
bool tls_is_probe(const SSL *session);

bool tls_has_pin(const struct trusted_peer *peer, const uint8_t hash[HASH_LEN]);
void tls_key_hash(uint8_t out[HASH_LEN], X509 *certificate);
void tls_fingerprint_text(char out[TLS_FINGERPRINT_MAX], const uint8_t hash[HASH_LEN]);

/* Why the last SSL call failed, in words a person can act on. Empties OpenSSL's error queue. */
void tls_explain(char out[TLS_WHY_MAX], const struct tls_identity *identity,
		 const struct tls_verdict *verdict, int ssl_error);

/* @return -EIO, or the errno that OpenSSL met, with the reason appended; empties its error queue */
int tls_err(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
