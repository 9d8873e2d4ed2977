#include "content.h"

#include <string.h>

#include "random.h"

uint32_t content_size(uint64_t content)
{
	if (content == 0)
		return 0;
	uint64_t mix = random_mix(content);
	uint32_t max = mix % 10 < 3 ? CONTENT_MAX : CONTENT_INLINE_MAX;
	return 8 + (uint32_t)(mix >> 8) % (max - 7);
}

uint32_t content_bytes(uint8_t out[CONTENT_MAX], uint64_t content)
{
	uint32_t size = content_size(content);
	uint64_t word = content;
	for (uint32_t at = 0; at < size; at += 8) {
		memcpy(out + at, &word, size - at < 8 ? size - at : 8);
		word = (word + 0x9e3779b97f4a7c15u) * 0x100000001b3u;
	}
	return size;
}

void hash32(uint8_t out[32], const void *bytes, uint32_t len, uint64_t start)
{
	const uint8_t *at = bytes;
	uint64_t hash = start ^ len;
	for (; len >= 8; at += 8, len -= 8) {
		uint64_t word;
		memcpy(&word, at, 8);
		hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
		hash ^= hash >> 29;
	}
	for (; len > 0; len--)
		hash = (hash ^ *at++) * 0x100000001b3u;
	for (uint64_t i = 0; i < 4; i++) {
		uint64_t word = random_mix(hash + i * 0x9e3779b97f4a7c15u);
		memcpy(out + 8 * i, &word, 8);
	}
}

void content_hash_bytes(uint8_t out[32], const uint8_t *bytes, uint32_t len)
{
	uint64_t content = 0;
	if (len > 0)
		memcpy(&content, bytes, len < 8 ? len : 8);
	hash32(out, bytes, len, 1);
	memcpy(out, &content, 8);
}

void content_hash(uint8_t out[32], uint64_t content)
{
	uint8_t bytes[CONTENT_MAX];
	content_hash_bytes(out, bytes, content_bytes(bytes, content));
}

uint64_t content_of_hash(const uint8_t hash[32])
{
	uint64_t content;
	memcpy(&content, hash, 8);
	return content;
}
