/* hash.h - SHA-256 for identity, and what expands a set element, both by OpenSSL.
 * Thread: any; one hasher by one thread at a time. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define HASH_LEN 32 /* bytes of a SHA-256 */
#define HASH_HEX_MAX (2 * HASH_LEN + 1)

struct hasher;
struct hasher *hasher_new(void);	 /* never NULL; begins a message */
void hasher_free(struct hasher *hasher); /* NULL is a no-op */
void hasher_restart(struct hasher *hasher);
void hasher_add(struct hasher *hasher, const void *data, size_t len);
void hasher_end(struct hasher *hasher,
		uint8_t out[HASH_LEN]); /* then restart before adding again */

void hash_bytes(uint8_t out[HASH_LEN], const void *data, size_t len);

/* out_len bytes that stand for data as a hash does: the ChaCha20 stream under SHA-256(data). An
 * extendable-output function like SHAKE-128 says the same in one word and takes six times as long,
 * and one of these is made for every record that changes. */
void hash_expand(uint8_t *out, size_t out_len, const void *data, size_t len);

/* Lower-case hexadecimal; returns out. */
const char *hash_hex(char out[HASH_HEX_MAX], const uint8_t hash[HASH_LEN]);

/* @return 0, or -EINVAL when text is not 64 hexadecimal digits */
int hash_from_hex(uint8_t out[HASH_LEN], const char *text);

#endif
