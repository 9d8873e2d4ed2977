/* Making a node's identity: a P-256 key and a self-signed certificate that says its name. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/base/fault.h"
#include "agent/net/tls_private.h"

#define VALID_DAYS 3650
#define CLOCK_SKEW_SECONDS                                                     \
	86400 /* a peer whose clock is behind must not find it "not yet valid" \
	       */

static bool exists(const char *path)
{
	struct stat st;
	return lstat(path, &st) == 0;
}

static int refuse_existing(const char *path, struct err *err)
{
	if (!exists(path))
		return 0;
	return err_set(
		err, -EEXIST,
		"%.150s exists; a node keeps its key (peers know it by it). To replace it, move "
		"the key and the certificate away first",
		path);
}

/* The name goes into the text that OpenSSL parses for the extension: no comma, no colon. */
static bool is_node_name(const char *node)
{
	size_t len = strlen(node);
	return len > 0 && len <= WIRE_NAME_MAX &&
	       strspn(node, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
		       len;
}

static int add_extension(X509 *certificate, int nid, const char *value)
{
	X509V3_CTX context;
	X509V3_set_ctx_nodb(&context);
	X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	int good = extension && X509_add_ext(certificate, extension, -1);
	X509_EXTENSION_free(extension);
	return good;
}

static int set_serial(X509 *certificate)
{
	unsigned char bytes[16];
	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		return 0;
	bytes[0] = (bytes[0] & 0x7f) | 0x40; /* positive, and never short */
	BIGNUM *number = BN_bin2bn(bytes, sizeof(bytes), NULL);
	int good = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
	BN_free(number);
	return good;
}

static int fill_certificate(X509 *certificate, EVP_PKEY *key, const char *node)
{
	char alternative[WIRE_NAME_MAX + 8];
	X509_NAME *name = X509_get_subject_name(certificate);
	snprintf(alternative, sizeof(alternative), "DNS:%s", node);
	return X509_set_version(certificate, 2) && set_serial(certificate) &&
	       X509_gmtime_adj(X509_getm_notBefore(certificate), -CLOCK_SKEW_SECONDS) &&
	       X509_time_adj_ex(X509_getm_notAfter(certificate), VALID_DAYS, 0, NULL) &&
	       X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)node,
					  -1, -1, 0) &&
	       X509_set_issuer_name(certificate, name) && X509_set_pubkey(certificate, key) &&
	       add_extension(certificate, NID_basic_constraints, "critical,CA:FALSE") &&
	       add_extension(certificate, NID_key_usage, "critical,digitalSignature") &&
	       add_extension(certificate, NID_ext_key_usage, "serverAuth,clientAuth") &&
	       add_extension(certificate, NID_subject_alt_name, alternative) &&
	       X509_sign(certificate, key, EVP_sha256()) > 0;
}

static int sync_directory_of(const char *path, struct err *err)
{
	AUTO_FREE char *copy = x_strdup(path);
	const char *directory = dirname(copy);
	AUTO_CLOSE int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fault = fault_point("tls-sync-directory");
	if (fault || fd < 0 || fsync(fd) < 0)
		return err_sys(err, fault ? fault : errno, "sync the directory %.100s", directory);
	return 0;
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

static int write_synced(const char *path, BIO *pem, struct err *err)
{
	char *data;
	long len = BIO_get_mem_data(pem, &data);
	int fault = fault_point("tls-create");
	if (fault)
		return err_sys(err, fault, "create %.150s", path);
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_sys(err, errno, "create %.150s", path);
	fault = fault_point("tls-write");
	int r = fault ? -fault : write_all(fd, data, (size_t)len);
	if (r == 0)
		r = (fault = fault_point("tls-sync")) ? -fault : fsync(fd) < 0 ? -errno : 0;
	if (r < 0) {
		unlink(path); /* half a key would make the next attempt say "exists" */
		return err_sys(err, -r, "write %.150s", path);
	}
	return 0;
}

static int write_identity(const char *certificate_path, const char *key_path, X509 *certificate,
			  EVP_PKEY *key, struct err *err)
{
	BIO *key_pem = BIO_new(BIO_s_secmem()), *certificate_pem = BIO_new(BIO_s_mem());
	int r;
	if (!key_pem || !certificate_pem ||
	    !PEM_write_bio_PrivateKey(key_pem, key, NULL, NULL, 0, NULL, NULL) ||
	    !PEM_write_bio_X509(certificate_pem, certificate))
		r = tls_err(err, "encode the key and certificate");
	else
		r = write_synced(key_path, key_pem, err);
	if (r == 0) {
		r = write_synced(certificate_path, certificate_pem, err);
		if (r == 0)
			r = sync_directory_of(certificate_path, err);
		if (r == 0)
			r = sync_directory_of(key_path, err);
		if (r < 0) {
			unlink(key_path); /* both or neither */
			if (r != -EEXIST)
				unlink(certificate_path);
		}
	}
	BIO_free(key_pem);
	BIO_free(certificate_pem);
	return r;
}

int tls_make_identity(const char *certificate_path, const char *key_path, const char *node,
		      struct err *err)
{
	int r = refuse_existing(key_path, err);
	if (r == 0)
		r = refuse_existing(certificate_path, err);
	if (r < 0)
		return r;
	if (!is_node_name(node))
		return err_set(err, -EINVAL,
			       "a node's name has 1 to %d letters, digits, '.', '_' or '-'",
			       WIRE_NAME_MAX);
	ERR_clear_error();
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = X509_new();
	if (!key || !certificate || !fill_certificate(certificate, key, node))
		r = tls_err(err, "make a key and certificate for %.64s", node);
	else
		r = write_identity(certificate_path, key_path, certificate, key, err);
	X509_free(certificate);
	EVP_PKEY_free(key);
	return r;
}

int tls_fingerprint(char out[TLS_FINGERPRINT_MAX], const char *path, struct err *err)
{
	uint8_t hash[HASH_LEN];
	ERR_clear_error();
	BIO *file = BIO_new_file(path, "r");
	X509 *certificate = file ? PEM_read_bio_X509(file, NULL, NULL, NULL) : NULL;
	BIO_free(file);
	if (!certificate)
		return tls_err(err, "read the certificate %.100s", path);
	tls_key_hash(hash, certificate);
	tls_fingerprint_text(out, hash);
	X509_free(certificate);
	return 0;
}
