/* messages.h - each message's encoder and decoder. Encoders write into the caller's buffer, of the
 * type's body_max so that every legal message fits. Decoders borrow from the frame, bound every
 * count, judge every value that can be judged without knowing the session, and return 0 or a
 * negative errno with the field in r->field; *out means nothing after a failure. Pure. */
#ifndef PROTOCOL_MESSAGES_H
#define PROTOCOL_MESSAGES_H

#include "protocol/rd.h"
#include "protocol/wire.h"
#include "protocol/wr.h"

/* wire_encode_X(struct wr *w, const struct wire_x *m): leaves its error in w->error; text longer
 * than the message allows and counts above their limit are -EMSGSIZE.
 * wire_decode_X(struct wire_x *out, struct rd *r): 0, -EBADMSG (malformed), -EMSGSIZE (too much).
 */
#define WIRE_CODEC(name)                                                    \
	void wire_encode_##name(struct wr *w, const struct wire_##name *m); \
	int wire_decode_##name(struct wire_##name *out, struct rd *r);

WIRE_CODEC(bye)
WIRE_CODEC(heartbeat)
WIRE_CODEC(readiness)
WIRE_CODEC(record)
WIRE_CODEC(data)
WIRE_CODEC(set_abort)
WIRE_CODEC(announce)
WIRE_CODEC(canary)
WIRE_CODEC(canary_done)
WIRE_CODEC(barrier)
WIRE_CODEC(barrier_done)
WIRE_CODEC(need)
WIRE_CODEC(refused)
WIRE_CODEC(signature_ask)
WIRE_CODEC(signature)
WIRE_CODEC(resend)
WIRE_CODEC(range_ask)
WIRE_CODEC(range_list)
WIRE_CODEC(fingerprints)
WIRE_CODEC(deep_ask)
WIRE_CODEC(deep_reply)
WIRE_CODEC(history_ask)
WIRE_CODEC(history_list)
WIRE_CODEC(content_ask)
WIRE_CODEC(content)
WIRE_CODEC(handover)
WIRE_CODEC(obstacles)

void wire_encode_hello(struct wr *w, const struct wire_hello *m);
/* @param lineage  room for WIRE_LINEAGE_MAX entries; out->lineage points to it.
 * Of a HELLO of another version only out->version is set, so that both sides can refuse by name. */
int wire_decode_hello(struct wire_hello *out, struct epoch_entry *lineage, struct rd *r);

void wire_encode_ack(struct wr *w, const struct wire_ack *m);
int wire_decode_ack(struct wire_ack *out, uint32_t tickets[WIRE_ACKS_MAX], struct rd *r);

void wire_encode_range_split(struct wr *w, const struct wire_range_split *m);
int wire_decode_range_split(struct wire_range_split *out,
			    struct wire_subrange ranges[WIRE_RANGES_MAX], struct rd *r);

/* An entry of RANGE_LIST, HISTORY_LIST, FINGERPRINTS, DEEP_REPLY: rd_init() over the list's bytes,
 * then until 0. The lists' decoders have checked count, form and (RANGE_LIST) order and liveness,
 * so that these cannot fail on them.
 * @return 1, 0 at the end, negative on error with the field in r->field */
void wire_encode_one_record(struct wr *w, const struct record *m);
int wire_next_record(struct record *out, struct rd *r);
void wire_encode_one_fingerprint(struct wr *w, const char *path, const uint8_t hash[32]);
int wire_next_fingerprint(const char **path, uint8_t hash[32], struct rd *r);
void wire_encode_one_announced(struct wr *w, const struct wire_announced *m);
int wire_next_announced(struct wire_announced *out, struct rd *r);
void wire_encode_one_difference(struct wr *w, const char *path, const char *text);
int wire_next_difference(const char **path, const char **text, struct rd *r);

#endif
