#include "agent/base/hash.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/alloc.h"

/* Fetching an algorithm by name takes OpenSSL's locks; done once, it halves the cost of hashing
 * a 2 KiB file. */
static const EVP_MD *fetch_once(EVP_MD **md, const char *name)
{
	EVP_MD *have = __atomic_load_n(md, __ATOMIC_ACQUIRE);
	if (!have) {
		have = EVP_MD_fetch(NULL, name, NULL);
		BUG_ON(!have);
		__atomic_store_n(md, have, __ATOMIC_RELEASE);
	}
	return have;
}

static const EVP_MD *sha256(void)
{
	static EVP_MD *md;
	return fetch_once(&md, "SHA256");
}

static const EVP_MD *shake128(void)
{
	static EVP_MD *md;
	return fetch_once(&md, "SHAKE128");
}

struct hasher {
	EVP_MD_CTX *ctx;
};

struct hasher *hasher_new(void)
{
	struct hasher *h = x_calloc(1, sizeof(*h));
	h->ctx = EVP_MD_CTX_new();
	BUG_ON(!h->ctx);
	hasher_restart(h);
	return h;
}

void hasher_free(struct hasher *h)
{
	if (!h)
		return;
	EVP_MD_CTX_free(h->ctx);
	free(h);
}

void hasher_restart(struct hasher *h)
{
	BUG_ON(EVP_DigestInit_ex2(h->ctx, sha256(), NULL) != 1);
}

void hasher_add(struct hasher *h, const void *data, size_t len)
{
	BUG_ON(EVP_DigestUpdate(h->ctx, data, len) != 1);
}

void hasher_end(struct hasher *h, uint8_t out[HASH_LEN])
{
	unsigned len = HASH_LEN;
	BUG_ON(EVP_DigestFinal_ex(h->ctx, out, &len) != 1 || len != HASH_LEN);
}

void hash_bytes(uint8_t out[HASH_LEN], const void *data, size_t len)
{
	unsigned out_len = HASH_LEN;
	BUG_ON(EVP_Digest(data, len, out, &out_len, sha256(), NULL) != 1);
}

void hash_expand(uint8_t *out, size_t out_len, const void *data, size_t len)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	BUG_ON(!ctx || EVP_DigestInit_ex2(ctx, shake128(), NULL) != 1 ||
	       EVP_DigestUpdate(ctx, data, len) != 1 || EVP_DigestFinalXOF(ctx, out, out_len) != 1);
	EVP_MD_CTX_free(ctx);
}

const char *hash_hex(char out[HASH_HEX_MAX], const uint8_t hash[HASH_LEN])
{
	for (size_t i = 0; i < HASH_LEN; i++)
		sprintf(out + 2 * i, "%02x", hash[i]);
	return out;
}

static int hex_digit(char c)
{
	const char *digits = "0123456789abcdef";
	const char *at = c ? strchr(digits, c | 0x20) : NULL;
	return at ? (int)(at - digits) : -1;
}

int hash_from_hex(uint8_t out[HASH_LEN], const char *text)
{
	if (strlen(text) != 2 * HASH_LEN)
		return -EINVAL;
	for (size_t i = 0; i < HASH_LEN; i++) {
		int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
		if (high < 0 || low < 0)
			return -EINVAL;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}
