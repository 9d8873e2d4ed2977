/* tls.h - identity and trust: the node's key and certificate, the peers' pinned keys or CA. */
#ifndef NET_TLS_H
#define NET_TLS_H

#include <stddef.h>

#include "agent/base/alloc.h"
#include "agent/base/err.h"

#define TLS_FINGERPRINT_MAX 80 /* "sha256:" and 64 digits */

struct tls_peer {
	const char *node;
	const char *const *fingerprints; /* of public keys (SHA-256 of SubjectPublicKeyInfo);
					    several while keys rotate */
	size_t n_fingerprints;
	const char *ca; /* PEM file, or NULL */
	const char
		*name; /* a DNS name or CN its certificate must carry when ca is used; NULL: node */
};

struct tls_identity;
/* @param certificate, key  PEM files */
int tls_identity_new(struct tls_identity **out, const char *certificate, const char *key,
		     const struct tls_peer *peers, size_t n, struct err *err);
void tls_identity_free(struct tls_identity *identity); /* links hold references */
const char *tls_identity_fingerprint(const struct tls_identity *identity); /* our own; borrowed */
DEFINE_AUTO(tls_identity)

/* Makes a P-256 key (0600) and a self-signed certificate for `node`, 10 years; both synced. -EEXIST
 * when either is there. */
int tls_make_identity(const char *certificate, const char *key, const char *node, struct err *err);
/* "sha256:<hex>" of the certificate's public key. */
int tls_fingerprint(char out[TLS_FINGERPRINT_MAX], const char *certificate, struct err *err);
/* @return 0 when text is sha256: and 64 hex digits, else -EINVAL */
int tls_fingerprint_check(const char *text);

#endif
