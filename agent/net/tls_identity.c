/* The node's key and certificate and whom it trusts, as one SSL_CTX that serves both directions. */
#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509err.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include "agent/base/log.h"
#include "agent/base/quote.h"
#include "agent/net/tls_private.h"

/* A chain of a few certificates; more before authentication is an attempt to make us hold memory.
 */
#define CERTIFICATES_MAX (32 * 1024)

int tls_err(struct err *err, const char *fmt, ...)
{
	char text[160];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	unsigned long code = ERR_peek_error();
	ERR_clear_error();
	if (ERR_SYSTEM_ERROR(code))
		return err_sys(err, ERR_GET_REASON(code), "%s", text);
	const char *reason = ERR_reason_error_string(code);
	return err_set(err, -EIO, "%s: %s", text, reason ? reason : "OpenSSL gives no reason");
}

/* AES-128-GCM runs at more than 3 GB/s with the CPU's instructions and many times slower without
 * them, where ChaCha20 is also free of cache-timing leaks. */
static bool cpu_has_aes(void)
{
#if defined(__x86_64__) || defined(__i386__)
	return __builtin_cpu_supports("aes");
#elif defined(__aarch64__)
	return (getauxval(AT_HWCAP) & HWCAP_AES) != 0;
#else
	return false;
#endif
}

static const char *cipher_suites(void)
{
	return cpu_has_aes() ? "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:"
			       "TLS_AES_256_GCM_SHA384"
			     : "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:"
			       "TLS_AES_256_GCM_SHA384";
}

static int on_verify(X509_STORE_CTX *store, void *arg)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls_verdict *verdict = SSL_get_app_data(ssl);
	if (tls_judge(arg, verdict, X509_STORE_CTX_get0_cert(store),
		      X509_STORE_CTX_get0_untrusted(store)))
		return 1;
	/* The code chooses the alert: unknown_ca is what the other side explains to its people. */
	X509_STORE_CTX_set_error(store, X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT);
	return 0;
}

static const unsigned char probe_protocol[] = {sizeof(WIRE_ALPN_PROBE) - 1,
					       'a',
					       'r',
					       't',
					       'i',
					       'f',
					       'a',
					       'c',
					       't',
					       '-',
					       's',
					       'y',
					       'n',
					       'c',
					       '-',
					       'p',
					       'r',
					       'o',
					       'b',
					       'e'};
static_assert(sizeof(probe_protocol) == sizeof(WIRE_ALPN_PROBE), "the name's length comes first");

static int on_offered(SSL *session, const unsigned char **out, unsigned char *len,
		      const unsigned char *offered, unsigned offered_len, void *arg)
{
	unsigned char *chosen;
	(void)session;
	(void)arg;
	if (SSL_select_next_proto(&chosen, len, probe_protocol, sizeof(probe_protocol), offered,
				  offered_len) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

void tls_ask_as_probe(SSL *session)
{
	BUG_ON(SSL_set_alpn_protos(session, probe_protocol, sizeof(probe_protocol)) != 0);
}

bool tls_is_probe(const SSL *session)
{
	const unsigned char *protocol;
	unsigned len;
	SSL_get0_alpn_selected(session, &protocol, &len);
	return len == sizeof(probe_protocol) - 1 && memcmp(protocol, probe_protocol + 1, len) == 0;
}

static int context_new(struct tls_identity *identity, struct err *err)
{
	SSL_CTX *context = SSL_CTX_new(TLS_method());
	if (!context)
		return tls_err(err, "set up TLS");
	identity->context = context;
	if (!SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) ||
	    !SSL_CTX_set_ciphersuites(context, cipher_suites()))
		return tls_err(err, "set up TLS 1.3");
	/* No tickets and no resumption: each connection proves both keys afresh, so that a key
	 * taken out of the configuration is out at the next connection. */
	SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION |
					     SSL_OP_NO_RENEGOTIATION |
					     SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_num_tickets(context, 0);
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_max_cert_list(context, CERTIFICATES_MAX);
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	SSL_CTX_set_cert_verify_callback(context, on_verify, identity);
	SSL_CTX_set_alpn_select_cb(context, on_offered, NULL);
	return 0;
}

static void warn_of_readable_key(const char *key)
{
	struct stat st;
	char q[QUOTED_MAX];
	if (stat(key, &st) == 0 && (st.st_mode & 0007) != 0)
		log_warn("net",
			 "key=%s mode=%04o err=\"every user of this machine can read the key; "
			 "run: chmod 0600\"",
			 quote_path(q, key), (unsigned)(st.st_mode & 07777));
}

static int load_own(struct tls_identity *identity, const char *certificate, const char *key,
		    struct err *err)
{
	SSL_CTX *context = identity->context;
	uint8_t hash[HASH_LEN];
	if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1)
		return tls_err(err, "read the certificate %.100s", certificate);
	if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) {
		if (ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH)
			return err_set(err, -EINVAL,
				       "the key %.90s does not belong to the certificate %.90s",
				       key, certificate);
		return tls_err(err, "read the key %.100s", key);
	}
	warn_of_readable_key(key);
	tls_key_hash(hash, SSL_CTX_get0_certificate(context));
	tls_fingerprint_text(identity->fingerprint, hash);
	return 0;
}

/* One key that stands for two nodes would let one speak as the other. */
static int add_pin(struct tls_identity *identity, struct trusted_peer *peer, const char *text,
		   struct err *err)
{
	uint8_t *hash = peer->pins[peer->n_pins];
	char canonical[TLS_FINGERPRINT_MAX];
	if (tls_fingerprint_check(text) < 0 || hash_from_hex(hash, text + strlen("sha256:")) < 0)
		return err_set(err, -EINVAL,
			       "peer %s: \"%.80s\" is not a fingerprint; it must be sha256: and 64 "
			       "hexadecimal digits, as `artifact-sync init` prints it there",
			       peer->node, text);
	tls_fingerprint_text(canonical, hash);
	if (strcmp(canonical, identity->fingerprint) == 0)
		return err_set(
			err, -EINVAL,
			"peer %s: %.16s... is this node's own fingerprint; give the one that "
			"`artifact-sync init` printed on %s",
			peer->node, canonical, peer->node);
	for (size_t i = 0; i < identity->n_peers; i++) {
		if (tls_has_pin(&identity->peers[i], hash))
			return err_set(
				err, -EINVAL,
				"peers %s and %s have the same fingerprint %.16s...; each node "
				"needs a key of its own",
				identity->peers[i].node, peer->node, canonical);
	}
	peer->n_pins++;
	return 0;
}

static int load_peer(struct tls_identity *identity, struct trusted_peer *out,
		     const struct tls_peer *peer, struct err *err)
{
	if (strlen(peer->node) > WIRE_NAME_MAX)
		return err_set(err, -EINVAL, "peer name %.80s... is longer than %d bytes",
			       peer->node, WIRE_NAME_MAX);
	out->node = x_strdup(peer->node);
	out->name = x_strdup(peer->name ? peer->name : peer->node);
	out->pins = x_calloc(peer->n_fingerprints, sizeof(*out->pins));
	for (size_t i = 0; i < peer->n_fingerprints; i++) {
		int r = add_pin(identity, out, peer->fingerprints[i], err);
		if (r < 0)
			return r;
	}
	if (peer->ca) {
		out->ca = X509_STORE_new();
		if (!out->ca || X509_STORE_load_file(out->ca, peer->ca) != 1)
			return tls_err(err, "peer %s: read the CA file %.100s", peer->node,
				       peer->ca);
	}
	if (out->n_pins == 0 && !out->ca)
		return err_set(
			err, -EINVAL,
			"peer %s has neither fingerprints nor ca, so nobody could prove to be "
			"it; run: artifact-sync pair --node %s --fingerprint sha256:HEX",
			peer->node, peer->node);
	return 0;
}

int tls_identity_new(struct tls_identity **out, const char *certificate, const char *key,
		     const struct tls_peer *peers, size_t n, struct err *err)
{
	AUTO(tls_identity) *identity = x_calloc(1, sizeof(*identity));
	identity->references = 1;
	identity->peers = x_calloc(n, sizeof(*identity->peers));
	ERR_clear_error();
	int r = context_new(identity, err);
	if (r == 0)
		r = load_own(identity, certificate, key, err);
	for (size_t i = 0; r == 0 && i < n; i++) {
		identity->n_peers++; /* counted first, so that a half-loaded one is freed too */
		r = load_peer(identity, &identity->peers[i], &peers[i], err);
	}
	if (r < 0)
		return r;
	*out = STEAL(identity);
	return 0;
}

struct tls_identity *tls_identity_ref(struct tls_identity *identity)
{
	identity->references++;
	return identity;
}

void tls_identity_free(struct tls_identity *identity)
{
	if (!identity || --identity->references > 0)
		return;
	for (size_t i = 0; i < identity->n_peers; i++) {
		struct trusted_peer *peer = &identity->peers[i];
		free(peer->node);
		free(peer->name);
		free(peer->pins);
		X509_STORE_free(peer->ca);
	}
	free(identity->peers);
	SSL_CTX_free(identity->context);
	free(identity);
}

const char *tls_identity_fingerprint(const struct tls_identity *identity)
{
	return identity->fingerprint;
}

SSL *tls_session_new(struct tls_identity *identity, struct tls_verdict *verdict)
{
	SSL *session = SSL_new(identity->context);
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
	BUG_ON(!session || !in || !out); /* small and fixed: only exhausted memory fails here */
	BIO_set_mem_eof_return(in, -1);	 /* empty means "wait", not "closed" */
	SSL_set_bio(session, in, out);
	SSL_set_app_data(session, verdict);
	if (verdict->peer_is_server)
		SSL_set_connect_state(session);
	else
		SSL_set_accept_state(session);
	return session;
}
