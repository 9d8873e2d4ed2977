/* Whose certificate is it? Either the public key is pinned for a configured peer (then names and
 * dates mean nothing: the key is the identity), or the certificate chains to that peer's CA and
 * carries the peer's name. Who we dialled must be who answers. */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/quote.h"
#include "agent/net/tls_private.h"

#define AUTH_LEVEL 2 /* OpenSSL's: 112 bits; refuses RSA below 2048 and SHA-1 in chains */

void tls_key_hash(uint8_t out[HASH_LEN], X509 *certificate)
{
	unsigned char *der = NULL;
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
	BUG_ON(len < 0); /* it was parsed from DER a moment ago */
	hash_bytes(out, der, (size_t)len);
	OPENSSL_free(der);
}

void tls_fingerprint_text(char out[TLS_FINGERPRINT_MAX], const uint8_t hash[HASH_LEN])
{
	char hex[HASH_HEX_MAX];
	snprintf(out, TLS_FINGERPRINT_MAX, "sha256:%s", hash_hex(hex, hash));
}

int tls_fingerprint_check(const char *text)
{
	uint8_t hash[HASH_LEN];
	static const char prefix[] = "sha256:";
	if (!text || strncmp(text, prefix, strlen(prefix)) != 0)
		return -EINVAL;
	return hash_from_hex(hash, text + strlen(prefix));
}

bool tls_has_pin(const struct trusted_peer *peer, const uint8_t hash[HASH_LEN])
{
	for (size_t i = 0; i < peer->n_pins; i++) {
		if (memcmp(peer->pins[i], hash, HASH_LEN) == 0)
			return true;
	}
	return false;
}

static bool chains_to_ca(const struct trusted_peer *peer, const struct tls_verdict *verdict,
			 X509 *leaf, STACK_OF(X509) * chain, const char **why)
{
	X509_STORE_CTX *check = X509_STORE_CTX_new();
	BUG_ON(!check || X509_STORE_CTX_init(check, peer->ca, leaf, chain) != 1);
	X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(check);
	X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN);
	X509_VERIFY_PARAM_set_auth_level(param, AUTH_LEVEL);
	X509_VERIFY_PARAM_set_purpose(param, verdict->peer_is_server ? X509_PURPOSE_SSL_SERVER
								     : X509_PURPOSE_SSL_CLIENT);
	/* A wildcard names a set of machines; a peer is one. */
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_WILDCARDS);
	bool good = X509_VERIFY_PARAM_set1_host(param, peer->name, 0) == 1 &&
		    X509_verify_cert(check) == 1;
	if (!good)
		*why = X509_verify_cert_error_string(X509_STORE_CTX_get_error(check));
	X509_STORE_CTX_free(check);
	ERR_clear_error();
	return good;
}

static void explain_stranger(struct tls_verdict *verdict, const char *ca_says)
{
	const char *key = verdict->presented;
	if (!verdict->expected)
		snprintf(verdict->why, sizeof(verdict->why),
			 "its key %s belongs to no configured peer%s%s; if it should, run here: "
			 "artifact-sync pair --node NODE --address HOST:PORT --fingerprint %s",
			 key, ca_says ? " and its certificate does not help: " : "",
			 ca_says ? ca_says : "", key);
	else if (ca_says)
		snprintf(verdict->why, sizeof(verdict->why),
			 "its certificate is not that of %s: %s (key %s)", verdict->expected,
			 ca_says, key);
	else
		snprintf(verdict->why, sizeof(verdict->why),
			 "it presents the key %s, which is not configured for %s; if %s has a new "
			 "key, "
			 "run here: artifact-sync pair --node %s --address %s --fingerprint %s",
			 key, verdict->expected, verdict->expected, verdict->expected,
			 verdict->address, key);
}

bool tls_judge(const struct tls_identity *identity, struct tls_verdict *verdict, X509 *leaf,
	       STACK_OF(X509) * chain)
{
	uint8_t hash[HASH_LEN];
	const char *ca_says = NULL;
	tls_key_hash(hash, leaf);
	tls_fingerprint_text(verdict->presented, hash);
	for (size_t i = 0; i < identity->n_peers; i++) {
		const struct trusted_peer *peer = &identity->peers[i];
		if (verdict->expected && strcmp(verdict->expected, peer->node) != 0)
			continue;
		if (tls_has_pin(peer, hash) ||
		    (peer->ca && chains_to_ca(peer, verdict, leaf, chain, &ca_says))) {
			snprintf(verdict->node, sizeof(verdict->node), "%s", peer->node);
			return true;
		}
	}
	explain_stranger(verdict, ca_says);
	return false;
}

bool tls_still_trusts(const struct tls_identity *identity, SSL *session,
		      const struct tls_verdict *then)
{
	X509 *leaf = SSL_get0_peer_certificate(session);
	struct tls_verdict now = {.expected = then->node,
				  .address = then->address,
				  .peer_is_server = then->peer_is_server};
	return leaf && tls_judge(identity, &now, leaf, SSL_get_peer_cert_chain(session));
}
