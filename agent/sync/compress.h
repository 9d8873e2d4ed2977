/* compress.h - one zstd frame per chunk, on its own: no dictionary and no context is ever shared
 * between files or chunks, so nobody can guess a secret from another file's size. A chunk that does
 * not get smaller goes as it is. Thread: any (each keeps a work area of its own). */
#ifndef SYNC_COMPRESS_H
#define SYNC_COMPRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* False for what is known to be compressed already, by its suffix (jar, zip, png, ...). */
bool compress_pays(const char *path);

/* Does a small content look like text? Binary content of a few kilobytes mostly is keys or
 * compressed already, and trying costs more than it saves. Larger content is always worth a try. */
bool compress_looks_worth(const uint8_t *content, size_t len);

/* What was learnt from the chunks of one file. Zeroed: nothing yet. */
struct compress_history {
	unsigned skip;	  /* chunks not to be tried */
	unsigned penalty; /* how many will be skipped after the next failure */
};

/**
 * Compresses one chunk into one frame that carries its length.
 * @param out      at least out_max bytes
 * @param history  of this file, so that incompressible content is probed now and then only; NULL:
 * always try
 * @return length of the frame, at most out_max and at least 10 % less than len; 0 when it does not
 * pay: send the chunk as it is
 */
size_t compress_chunk(uint8_t *out, size_t out_max, const void *in, size_t len,
		      struct compress_history *history);

/**
 * @param out      raw_len bytes
 * @param raw_len  as the peer announced it, 1..WIRE_RAW_MAX
 * @return 0, or -EBADMSG unless `in` is exactly one whole frame that declares and yields raw_len
 * bytes
 */
int decompress_chunk(uint8_t *out, size_t raw_len, const void *in, size_t len);

#endif
