#include "agent/base/quote.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/alloc.h"

/* Length in bytes of the well-formed UTF-8 sequence at s, 0 if there is none (RFC 3629: no
 * overlong forms, no surrogates, nothing above U+10FFFF). */
static size_t utf8_length(const uint8_t *s, size_t len)
{
	if (len == 0)
		return 0;
	if (s[0] < 0x80)
		return 1;
	size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
	if (s[0] < 0xc2 || s[0] > 0xf4 || len < n)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	}
	bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
	bool beyond = (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf4 && s[1] > 0x8f);
	return overlong || beyond ? 0 : n;
}

static size_t quote_one(char out[8], const uint8_t *s, size_t len)
{
	size_t n = utf8_length(s, len);
	if (n == 1 && (s[0] == '"' || s[0] == '\\'))
		return (size_t)sprintf(out, "\\%c", s[0]);
	if (n == 1 && s[0] == '\n')
		return (size_t)sprintf(out, "\\n");
	if (n == 1 && s[0] == '\t')
		return (size_t)sprintf(out, "\\t");
	bool c1_control = n == 2 && s[0] == 0xc2 && s[1] < 0xa0;
	if (n == 0 || c1_control || (n == 1 && (s[0] < 0x20 || s[0] == 0x7f)))
		return (size_t)sprintf(out, "\\x%02x", s[0]);
	memcpy(out, s, n);
	return n;
}

const char *quote_bytes(char out[QUOTED_MAX], const void *text, size_t len)
{
	const uint8_t *s = text;
	size_t used = 0;
	out[used++] = '"';
	for (size_t i = 0; i < len;) {
		char one[8];
		size_t n = quote_one(one, s + i, len - i);
		if (used + n > QUOTED_MAX - 5) {
			memcpy(out + used, "...", 3);
			used += 3;
			break;
		}
		memcpy(out + used, one, n);
		used += n;
		i += one[0] == '\\' ? 1 : n;
	}
	out[used++] = '"';
	out[used] = '\0';
	return out;
}

const char *quote_path(char out[QUOTED_MAX], const char *path)
{
	return quote_bytes(out, path, strlen(path));
}

char *quote_utf8(const char *path)
{
	const uint8_t *s = (const uint8_t *)path;
	size_t len = strlen(path);
	char *out = x_calloc(len + 1, 4);
	size_t used = 0;
	for (size_t i = 0; i < len;) {
		size_t n = utf8_length(s + i, len - i);
		if (n == 0) {
			used += (size_t)sprintf(out + used, "\\x%02x", s[i]);
			i++;
			continue;
		}
		if (s[i] == '\\')
			out[used++] = '\\';
		memcpy(out + used, s + i, n);
		used += n;
		i += n;
	}
	out[used] = '\0';
	return out;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

char *unquote_utf8(const char *text)
{
	char *out = x_calloc(strlen(text) + 1, 1);
	size_t used = 0;
	for (const char *s = text; *s;) {
		if (*s != '\\') {
			out[used++] = *s++;
		} else if (s[1] == '\\') {
			out[used++] = '\\';
			s += 2;
		} else {
			int high = s[1] == 'x' ? hex_value(s[2]) : -1;
			int low = high >= 0 ? hex_value(s[3]) : -1;
			if (low < 0 || high + low == 0) {
				free(out);
				return NULL;
			}
			out[used++] = (char)(high << 4 | low);
			s += 4;
		}
	}
	return out;
}
