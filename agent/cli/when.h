/* when.h - a moment as people type it. */
#ifndef CLI_WHEN_H
#define CLI_WHEN_H

#include <stdbool.h>
#include <stdint.h>

/**
 * RFC 3339 as `status` prints it ("2026-01-01T12:30:00.250Z", or with an offset), the same without
 * zone or seconds in this machine's time zone ("2026-01-01 12:30"), or back from now ("-15min", "2
 * hours ago"; s, min, h, d and their words).
 * @param now_ns  the wall clock
 * @param out     nanoseconds since 1970: where a fraction is given, the end of its last digit's
 * unit, so that a time that was printed shorter than it is still includes itself
 * @return false when it is none of these
 */
bool when_parse(int64_t *out, const char *text, int64_t now_ns);

#endif
