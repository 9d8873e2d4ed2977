/* signing.h - signatures with the node's key, for records that must show who wrote them and that
 * nobody changed them since. ECDSA or whatever the key is for, over SHA-256, by OpenSSL. Blocking:
 * reads files. Thread: any. */
#ifndef NET_SIGNING_H
#define NET_SIGNING_H

#include <stddef.h>
#include <stdint.h>

#include "agent/base/buf.h"
#include "agent/base/err.h"

#define PUBLIC_KEY_MAX 4096 /* bytes of a SubjectPublicKeyInfo */
#define SIGNATURE_MAX 1024  /* bytes */

/* @param key  PEM file. @return 0 with the signature appended to *out; -ENOENT, -EINVAL not a key
 */
int signing_sign(struct buf *out, const char *key, const void *data, size_t len, struct err *err);
/* The SubjectPublicKeyInfo, DER, of a PEM certificate: what a fingerprint is the SHA-256 of. */
int signing_public_key(struct buf *out, const char *certificate, struct err *err);
/* @return 0; -EBADMSG when it is not the signature of this by that key, or no key at all */
int signing_check(const uint8_t *public_key, size_t public_key_len, const uint8_t *signature,
		  size_t signature_len, const void *data, size_t len);

#endif
