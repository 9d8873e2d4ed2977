/* Identity and trust: what is made, what is refused, whose certificate is whose. */
#include "tests/unit/net/fixture.h"

#include <errno.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/fault.h"
#include "agent/net/tls_private.h"

static void an_identity_is_made_once_and_private(void **state)
{
	struct err err = {0};
	struct stat st;
	char print[TLS_FINGERPRINT_MAX];
	const char *certificate = scratch_file("new.crt"), *key = scratch_file("new.key");
	assert_int_equal(tls_make_identity(certificate, key, "region-a", &err), 0);
	assert_int_equal(stat(key, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(stat(certificate, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(tls_fingerprint(print, certificate, &err), 0);
	assert_int_equal(tls_fingerprint_check(print), 0);
	assert_int_equal(tls_make_identity(certificate, key, "region-a", &err), -EEXIST);
	unlink(key);
	assert_int_equal(tls_make_identity(certificate, key, "region-a", &err), -EEXIST);
	assert_int_equal(access(key, F_OK), -1);
	unlink(certificate);
	assert_int_equal(tls_make_identity(certificate, key, "a,IP:1.2.3.4", &err), -EINVAL);
	assert_int_equal(tls_make_identity(certificate, key, "", &err), -EINVAL);
}

static void a_failed_write_leaves_neither_file(void **state)
{
	const char *certificate = scratch_file("fail.crt"), *key = scratch_file("fail.key");
	for (long nth = 1;; nth++) {
		struct err err = {0};
		struct fault fault = {.nth = nth, .err = ENOSPC};
		fault_arm(&fault);
		int r = tls_make_identity(certificate, key, "x", &err);
		fault_disarm();
		if (!fault.fired) {
			assert_int_equal(r, 0);
			assert_true(nth > 6);
			break;
		}
		assert_int_equal(r, -ENOSPC);
		assert_non_null(strstr(err.msg, "No space left"));
		assert_int_equal(access(key, F_OK), -1);
		assert_int_equal(access(certificate, F_OK), -1);
	}
}

static void fingerprints_are_judged_by_shape(void **state)
{
	static const char good[] =
		"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789ABCDEF";
	char text[sizeof(good)];
	assert_int_equal(tls_fingerprint_check(good), 0);
	assert_int_equal(tls_fingerprint_check(NULL), -EINVAL);
	assert_int_equal(tls_fingerprint_check(""), -EINVAL);
	assert_int_equal(tls_fingerprint_check(good + 7), -EINVAL);
	memcpy(text, good, sizeof(good));
	text[20] = 'g';
	assert_int_equal(tls_fingerprint_check(text), -EINVAL);
	text[sizeof(good) - 2] = '\0';
	assert_int_equal(tls_fingerprint_check(text), -EINVAL);
}

static int load(const struct tls_peer *peers, size_t n, struct err *err)
{
	struct tls_identity *identity = NULL;
	int r = tls_identity_new(&identity, certificate_file("a"), key_file("a"), peers, n, err);
	tls_identity_free(identity);
	return r;
}

static void a_configuration_that_trusts_the_wrong_way_is_refused(void **state)
{
	struct err err = {0};
	char a[TLS_FINGERPRINT_MAX], b[TLS_FINGERPRINT_MAX];
	const char *own = a, *theirs = b, *bad = "sha256:12";
	tls_fingerprint(a, certificate_file("a"), &err);
	tls_fingerprint(b, certificate_file("b"), &err);
	struct tls_peer peers[2] = {{.node = "b", .fingerprints = &theirs, .n_fingerprints = 1},
				    {.node = "c", .fingerprints = &theirs, .n_fingerprints = 1}};
	assert_int_equal(load(peers, 1, &err), 0);
	assert_int_equal(load(peers, 2, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "peers b and c have the same fingerprint"));
	peers[0].fingerprints = &own;
	assert_int_equal(load(peers, 1, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "this node's own"));
	peers[0].fingerprints = &bad;
	assert_int_equal(load(peers, 1, &err), -EINVAL);
	peers[0].n_fingerprints = 0;
	assert_int_equal(load(peers, 1, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "artifact-sync pair --node b"));
	peers[0].ca = "/nonexistent/ca.pem";
	assert_true(load(peers, 1, &err) < 0);
	struct tls_identity *identity = NULL;
	assert_int_equal(
		tls_identity_new(&identity, "/nonexistent/a.crt", key_file("b"), NULL, 0, &err),
		-ENOENT);
	assert_non_null(strstr(err.msg, "a.crt: No such file"));
	assert_int_equal(tls_identity_new(&identity, certificate_file("a"), "/nonexistent/a.key",
					  NULL, 0, &err),
			 -ENOENT);
	assert_true(tls_identity_new(&identity, certificate_file("a"), key_file("b"), NULL, 0,
				     &err) < 0);
	assert_non_null(strstr(err.msg, "does not belong"));
}

struct signer {
	EVP_PKEY *key;
	X509 *certificate;
};

static void extend(X509 *certificate, int nid, const char *value)
{
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
	assert_non_null(extension);
	X509_add_ext(certificate, extension, -1);
	X509_EXTENSION_free(extension);
}

/* @param by  NULL: signs itself, and is a CA */
static struct signer make_certificate(const char *name, const char *usage, const struct signer *by)
{
	struct signer s = {.key = EVP_EC_gen("P-256"), .certificate = X509_new()};
	X509_set_version(s.certificate, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(s.certificate), 7);
	X509_gmtime_adj(X509_getm_notBefore(s.certificate), -10);
	X509_gmtime_adj(X509_getm_notAfter(s.certificate), 3600);
	X509_NAME *subject = X509_get_subject_name(s.certificate);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1,
				   0);
	X509_set_issuer_name(s.certificate, by ? X509_get_subject_name(by->certificate) : subject);
	X509_set_pubkey(s.certificate, s.key);
	if (by)
		extend(s.certificate, NID_ext_key_usage, usage);
	else
		extend(s.certificate, NID_basic_constraints, "critical,CA:TRUE");
	assert_true(X509_sign(s.certificate, by ? by->key : s.key, EVP_sha256()) > 0);
	return s;
}

static void release(struct signer *s)
{
	X509_free(s->certificate);
	EVP_PKEY_free(s->key);
}

static bool is_accepted(struct tls_identity *identity, X509 *leaf, const char *expected,
			struct tls_verdict *verdict)
{
	*verdict = (struct tls_verdict){.expected = expected,
					.address = "10.0.0.1:7443",
					.peer_is_server = expected != NULL};
	return tls_judge(identity, verdict, leaf, NULL);
}

static void a_ca_vouches_only_for_the_peers_name(void **state)
{
	struct err err = {0};
	struct tls_verdict verdict;
	struct tls_identity *identity = NULL;
	struct signer ca = make_certificate("Our CA", NULL, NULL);
	struct signer other_ca = make_certificate("Our CA", NULL, NULL);
	struct signer b = make_certificate("b.region.example", "serverAuth,clientAuth", &ca);
	struct signer wildcard = make_certificate("*.region.example", "serverAuth,clientAuth", &ca);
	struct signer client_only = make_certificate("b.region.example", "clientAuth", &ca);
	struct signer forged =
		make_certificate("b.region.example", "serverAuth,clientAuth", &other_ca);
	const char *ca_file = scratch_file("ca.pem");
	FILE *out = fopen(ca_file, "w");
	PEM_write_X509(out, ca.certificate);
	fclose(out);
	const struct tls_peer peers[] = {{.node = "b", .ca = ca_file, .name = "b.region.example"},
					 {.node = "c", .ca = ca_file}};
	assert_int_equal(
		tls_identity_new(&identity, certificate_file("a"), key_file("a"), peers, 2, &err),
		0);
	assert_true(is_accepted(identity, b.certificate, "b", &verdict));
	assert_true(is_accepted(identity, b.certificate, NULL, &verdict));
	assert_string_equal(verdict.node, "b");
	assert_false(is_accepted(identity, b.certificate, "c", &verdict));
	assert_non_null(strstr(verdict.why, "mismatch"));
	assert_false(is_accepted(identity, wildcard.certificate, "b", &verdict));
	assert_true(is_accepted(identity, client_only.certificate, NULL, &verdict));
	assert_false(is_accepted(identity, client_only.certificate, "b", &verdict));
	assert_false(is_accepted(identity, forged.certificate, "b", &verdict));
	assert_false(is_accepted(identity, ca.certificate, "b", &verdict));
	tls_identity_free(identity);
	release(&ca), release(&other_ca), release(&b);
	release(&wildcard), release(&client_only), release(&forged);
}

static X509 *certificate_of(const char *node)
{
	FILE *in = fopen(certificate_file(node), "r");
	X509 *certificate = PEM_read_X509(in, NULL, NULL, NULL);
	fclose(in);
	assert_non_null(certificate);
	return certificate;
}

static void a_pin_is_the_identity_and_who_was_dialled_must_answer(void **state)
{
	struct tls_verdict verdict;
	struct tls_identity *identity = identity_of("a");
	X509 *b = certificate_of("b"), *a = certificate_of("a");
	assert_true(is_accepted(identity, b, NULL, &verdict));
	assert_string_equal(verdict.node, "b");
	assert_true(is_accepted(identity, b, "b", &verdict));
	assert_false(is_accepted(identity, b, "c", &verdict));
	assert_non_null(strstr(verdict.why, "artifact-sync pair --node c --address 10.0.0.1:7443"));
	assert_non_null(strstr(verdict.why, verdict.presented));
	assert_false(is_accepted(identity, a, NULL, &verdict));
	assert_string_equal(verdict.node, "");
	assert_non_null(strstr(verdict.why, "--fingerprint sha256:"));
	X509_free(a);
	X509_free(b);
	tls_identity_free(identity);
}

static void two_pins_serve_while_a_key_is_changed(void **state)
{
	struct err err = {0};
	struct tls_verdict verdict;
	struct tls_identity *identity = NULL;
	char old[TLS_FINGERPRINT_MAX], new[TLS_FINGERPRINT_MAX];
	tls_fingerprint(old, certificate_file("b"), &err);
	tls_fingerprint(new, certificate_file("c"), &err);
	const char *pins[] = {old, new};
	const struct tls_peer peer = {.node = "b", .fingerprints = pins, .n_fingerprints = 2};
	assert_int_equal(
		tls_identity_new(&identity, certificate_file("a"), key_file("a"), &peer, 1, &err),
		0);
	X509 *b = certificate_of("b"), *c = certificate_of("c");
	assert_true(is_accepted(identity, b, "b", &verdict));
	assert_true(is_accepted(identity, c, "b", &verdict));
	X509_free(b);
	X509_free(c);
	tls_identity_free(identity);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_identity_is_made_once_and_private),
		cmocka_unit_test(a_failed_write_leaves_neither_file),
		cmocka_unit_test(fingerprints_are_judged_by_shape),
		cmocka_unit_test(a_configuration_that_trusts_the_wrong_way_is_refused),
		cmocka_unit_test(a_ca_vouches_only_for_the_peers_name),
		cmocka_unit_test(a_pin_is_the_identity_and_who_was_dialled_must_answer),
		cmocka_unit_test(two_pins_serve_while_a_key_is_changed),
	};
	return cmocka_run_group_tests(tests, keys_make, keys_remove);
}
