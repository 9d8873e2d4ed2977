/* A failed handshake in words. OpenSSL says "tlsv1 alert unknown ca"; the person at three in the
 * morning needs to hear which key, on which side, and the command that mends it. */
#include <openssl/err.h>
#include <openssl/sslerr.h>
#include <stdio.h>

#include "agent/net/tls_private.h"

static void explain_our_key_refused(char out[TLS_WHY_MAX], const struct tls_identity *identity,
				    const struct tls_verdict *verdict)
{
	snprintf(out, TLS_WHY_MAX,
		 "%s does not accept this node's key %s; run there: artifact-sync pair --node "
		 "THIS_NODE --address HOST:PORT --fingerprint %s (its log says what it saw)",
		 verdict->expected ? verdict->expected : "the other side", identity->fingerprint,
		 identity->fingerprint);
}

static const char *plain_words(int reason)
{
	switch (reason) {
	case SSL_R_UNSUPPORTED_PROTOCOL:
	case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
	case SSL_R_WRONG_SSL_VERSION:
	case SSL_R_VERSION_TOO_LOW:
		return "the other side does not speak TLS 1.3, the only version spoken here";
	case SSL_R_WRONG_VERSION_NUMBER:
	case SSL_R_HTTP_REQUEST:
	case SSL_R_HTTPS_PROXY_REQUEST: return "the other side does not speak TLS";
	case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
	case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
		return "no certificate was shown; both sides must have one (`artifact-sync init` "
		       "makes it)";
	case SSL_R_NO_SHARED_CIPHER: return "no cipher suite in common";
	case SSL_R_EXCESSIVE_MESSAGE_SIZE: return "its certificate chain is larger than 32 KiB";
	case SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC:
	case SSL_R_SSLV3_ALERT_BAD_RECORD_MAC:
		return "a TLS record was altered on its way, or is not one";
	default: return NULL;
	}
}

static bool is_refusal_of_our_key(int reason)
{
	switch (reason) {
	case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
	case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
	case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
	case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED: return true;
	default: return false;
	}
}

void tls_explain(char out[TLS_WHY_MAX], const struct tls_identity *identity,
		 const struct tls_verdict *verdict, int ssl_error)
{
	unsigned long code = ERR_peek_error();
	int reason = ERR_GET_REASON(code);
	const char *words = plain_words(reason);
	if (ssl_error == SSL_ERROR_ZERO_RETURN)
		snprintf(out, TLS_WHY_MAX, "the other side ended the TLS session");
	else if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED)
		snprintf(out, TLS_WHY_MAX, "%s", verdict->why);
	else if (is_refusal_of_our_key(reason))
		explain_our_key_refused(out, identity, verdict);
	else if (words)
		snprintf(out, TLS_WHY_MAX, "%s", words);
	else
		snprintf(out, TLS_WHY_MAX, "TLS: %s",
			 code ? ERR_reason_error_string(code) : "failed without a reason");
	ERR_clear_error();
}
