/* digest.h - a digest of a set of records that does not depend on their order and can be updated
 * one element at a time: LtHash16 (Bellare and Micciancio 1997; Lewi, Kim, Maykov and Weis,
 * "Securing Update Propagation with Homomorphic Hashing", 2019): 1024 lanes of 16 bits, each
 * element expanded to 2048 bytes that look random and added lane by lane. XOR or
 * one machine word would let a tenant, who chooses contents, build two trees with one digest. Pure;
 * the expansion (hash_expand() of record_element()) is the caller's. */
#ifndef PROTOCOL_DIGEST_H
#define PROTOCOL_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define DIGEST_LANES 1024
#define DIGEST_STATE_LEN (2 * DIGEST_LANES) /* bytes of an expanded element, of a saved state */

struct digest {
	uint16_t lane[DIGEST_LANES]; /* all zero: the empty set */
};

void digest_add(struct digest *d, const uint8_t element[DIGEST_STATE_LEN]);
void digest_remove(struct digest *d, const uint8_t element[DIGEST_STATE_LEN]);
void digest_save(uint8_t out[DIGEST_STATE_LEN], const struct digest *d); /* big-endian lanes */
void digest_load(struct digest *d, const uint8_t in[DIGEST_STATE_LEN]);

#endif
