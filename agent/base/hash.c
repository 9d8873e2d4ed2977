#include "agent/base/hash.h"

#include <errno.h>
#include <limits.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/alloc.h"

/* Fetching an algorithm by name takes OpenSSL's locks; done once, it halves the cost of hashing
 * a 2 KiB file. */
static EVP_MD *sha256_md;
static EVP_CIPHER *chacha20_cipher;

static void fetch_algorithms(void)
{
	sha256_md = EVP_MD_fetch(NULL, "SHA256", NULL);
	chacha20_cipher = EVP_CIPHER_fetch(NULL, "ChaCha20", NULL);
	BUG_ON(!sha256_md || !chacha20_cipher);
}

static void fetch_once(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	BUG_ON(pthread_once(&once, fetch_algorithms) != 0);
}

static const EVP_MD *sha256(void)
{
	fetch_once();
	return sha256_md;
}

static const EVP_CIPHER *chacha20(void)
{
	fetch_once();
	return chacha20_cipher;
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

/* The key is used for this one stream, so its counter and nonce begin at zero. */
void hash_expand(uint8_t *out, size_t out_len, const void *data, size_t len)
{
	static const uint8_t counter_and_nonce[16];
	uint8_t key[HASH_LEN];
	int n;
	hash_bytes(key, data, len);
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	BUG_ON(!ctx || out_len > INT_MAX ||
	       EVP_EncryptInit_ex2(ctx, chacha20(), key, counter_and_nonce, NULL) != 1);
	memset(out, 0, out_len);
	BUG_ON(EVP_EncryptUpdate(ctx, out, &n, out, (int)out_len) != 1 || (size_t)n != out_len);
	EVP_CIPHER_CTX_free(ctx);
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
