#include "agent/net/signing.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdbool.h>

static int sign_with(struct buf *out, EVP_PKEY *key, const void *data, size_t len)
{
	size_t size = SIGNATURE_MAX, used = size;
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool good = context && EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key) > 0 &&
		    EVP_DigestSign(context, buf_extend(out, size), &used, data, len) > 0;
	EVP_MD_CTX_free(context);
	if (good)
		out->len -= size - used;
	return good ? 0 : -EINVAL;
}

int signing_sign(struct buf *out, const char *key, const void *data, size_t len, struct err *err)
{
	BIO *file = BIO_new_file(key, "r");
	if (!file)
		return err_set(err, -ENOENT, "the key %s cannot be read", key);
	EVP_PKEY *private_key = PEM_read_bio_PrivateKey(file, NULL, NULL, NULL);
	int r = private_key ? sign_with(out, private_key, data, len) : -EINVAL;
	EVP_PKEY_free(private_key);
	BIO_free(file);
	return r < 0 ? err_set(err, r, "%s is not a key that can sign", key) : 0;
}

int signing_public_key(struct buf *out, const char *certificate, struct err *err)
{
	BIO *file = BIO_new_file(certificate, "r");
	if (!file)
		return err_set(err, -ENOENT, "the certificate %s cannot be read", certificate);
	X509 *x509 = PEM_read_bio_X509(file, NULL, NULL, NULL);
	unsigned char *der = NULL;
	int len = x509 ? i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x509), &der) : -1;
	if (len > 0 && len <= PUBLIC_KEY_MAX)
		buf_append(out, der, (size_t)len);
	OPENSSL_free(der);
	X509_free(x509);
	BIO_free(file);
	return len > 0 && len <= PUBLIC_KEY_MAX
		       ? 0
		       : err_set(err, -EINVAL, "%s is not a certificate", certificate);
}

int signing_check(const uint8_t *public_key, size_t public_key_len, const uint8_t *signature,
		  size_t signature_len, const void *data, size_t len)
{
	const unsigned char *at = public_key;
	if (public_key_len > PUBLIC_KEY_MAX || signature_len > SIGNATURE_MAX)
		return -EBADMSG;
	EVP_PKEY *key = d2i_PUBKEY(NULL, &at, (long)public_key_len);
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool good = key && context &&
		    EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key) > 0 &&
		    EVP_DigestVerify(context, signature, signature_len, data, len) > 0;
	EVP_MD_CTX_free(context);
	EVP_PKEY_free(key);
	return good ? 0 : -EBADMSG;
}
