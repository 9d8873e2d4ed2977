/* content.h - contents of files are numbers; their bytes and hashes follow from them. The bytes
 * begin with the number, so that whoever puts a content together from pieces learns which one it
 * is, and its hash, which covers all bytes, whether it is whole. */
#ifndef SIM_CONTENT_H
#define SIM_CONTENT_H

#include <stdint.h>

#define CONTENT_MAX 600	       /* bytes */
#define CONTENT_INLINE_MAX 160 /* longer ones are streamed */
#define CONTENT_TORN                                                                \
	UINT64_MAX /* not on the disk yet; a crash makes a content of its own of it \
		    */

uint32_t content_size(uint64_t content);
uint32_t content_bytes(uint8_t out[CONTENT_MAX], uint64_t content); /* their number */
void content_hash(uint8_t out[32], uint64_t content);
void content_hash_bytes(uint8_t out[32], const uint8_t *bytes, uint32_t len);
uint64_t content_of_hash(const uint8_t hash[32]);

/* Any bytes to 32; not for contents. */
void hash32(uint8_t out[32], const void *bytes, uint32_t len, uint64_t start);

#endif
