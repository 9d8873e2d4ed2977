/* rd.h - reading a message body: a cursor with a sticky error that names the field. After a failure
 * every read yields zeroes, so a decoder is a straight line that ends in rd_end(). Pure. */
#ifndef PROTOCOL_RD_H
#define PROTOCOL_RD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rd {
	const uint8_t *at;
	const uint8_t *end;
	int error;	   /* 0, or the negative errno of the first failure */
	const char *field; /* which field failed: a constant */
};

void rd_init(struct rd *r, const void *body, size_t len);
uint8_t rd_u8(struct rd *r, const char *field);
uint16_t rd_u16(struct rd *r, const char *field);
uint32_t rd_u32(struct rd *r, const char *field);
uint64_t rd_u64(struct rd *r, const char *field);
/* a u64 that counts something: -EBADMSG from WIRE_COUNTER_END on */
uint64_t rd_counter(struct rd *r, const char *field);
void rd_copy(struct rd *r, void *out, size_t len, const char *field);
/* u32 length and bytes, borrowed from the frame; -EMSGSIZE above max */
const uint8_t *rd_bytes(struct rd *r, uint32_t *len, uint32_t max, const char *field);
/* u16 length, bytes, and one NUL that must be there so that the text can be borrowed; -EBADMSG on
 * an inner NUL */
const char *rd_text(struct rd *r, size_t max, const char *field);
/* the same, judged by relpath_wrong(); -EBADMSG. "" yields "" only where allow_root */
const char *rd_path(struct rd *r, bool allow_root, const char *field);
void rd_fail(struct rd *r, int error, const char *field);
/* Fails with -EBADMSG in field unless ok. @return true while nothing has failed */
bool rd_check(struct rd *r, bool ok, const char *field);
/* @return 0, or the error; trailing bytes are -EBADMSG in field "end" */
int rd_end(struct rd *r);

#endif
