/* messages_private.h - shared by messages_*.c. Nobody else includes it. */
#ifndef PROTOCOL_MESSAGES_PRIVATE_H
#define PROTOCOL_MESSAGES_PRIVATE_H

#include "protocol/messages.h"

/* messages_records.c */
/* A list's bytes must hold exactly n records in ascending order, live ones only unless tombstones
 * are allowed: whoever merges it with its own index may rely on that. Fails in r. */
void wire_check_records(struct rd *r, const uint8_t *records, uint32_t len, uint32_t n,
			bool tombstones);

#endif
