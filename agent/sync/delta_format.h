/* delta_format.h - the bytes of librsync's formats, as far as we read or write them ourselves.
 * Shared by delta_*.c only. All numbers are big-endian. */
#ifndef SYNC_DELTA_FORMAT_H
#define SYNC_DELTA_FORMAT_H

#include <stdint.h>

/* Signature: magic, block length, strong length (u32 each), then per block a u32 weak sum and the
 * strong sum. */
#define SIGNATURE_MAGIC 0x72730147u /* RS_RK_BLAKE2_SIG_MAGIC; never negotiated */
#define SIGNATURE_HEADER_LEN 12
#define SIGNATURE_STRONG_LEN 16
#define SIGNATURE_ENTRY_LEN (4 + SIGNATURE_STRONG_LEN)

/* Delta: magic, then commands up to END. */
#define DELTA_MAGIC 0x72730236u
#define DELTA_OP_END 0x00
#define DELTA_OP_LITERAL_IMMEDIATE_MAX 0x40 /* 0x01..0x40: that many bytes follow */
#define DELTA_OP_LITERAL_N1 0x41 /* 0x41..0x44: a length of 1, 2, 4, 8 bytes, the bytes */
#define DELTA_OP_LITERAL_N8 0x44
#define DELTA_OP_COPY_N1_N1 \
	0x45 /* 0x45..0x54: position of 1, 2, 4, 8 bytes, then the length likewise */
#define DELTA_OP_COPY_N8_N8 0x54 /* what lies above is reserved */

static inline uint32_t get_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void put_be64(uint8_t *p, uint64_t v)
{
	for (int i = 7; i >= 0; i--, v >>= 8)
		p[i] = (uint8_t)v;
}

#endif
