/* ledger.h - who was active when, and why: one JSON object a line, each with the hash of the line
 * before and a signature by the node's key. The file can be read by anybody and changed by nobody
 * unnoticed: a changed line breaks its signature or its successor's hash, and a line taken from the
 * end is missed because the state database remembers the last one. Blocking. Thread: any, one at a
 * time.
 *
 * A line's signature covers the object without the member `signature`, written by jansson with
 * sorted keys and without blanks; `previous` is the SHA-256 of the whole line before, without its
 * newline. When the node's key was exchanged, the next line names the one before in `key_before`.
 */
#ifndef OPS_LEDGER_H
#define OPS_LEDGER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/base/hash.h"

#define LEDGER_LINE_MAX (256u * 1024) /* bytes */
#define LEDGER_WHY_MAX 200
#define LEDGER_NAME "ledger.jsonl" /* in the state directory, 0600 */

/* The last line that is known to be durable. */
struct ledger_head {
	uint64_t n; /* lines */
	uint8_t hash[HASH_LEN];
};

struct ledger_place {
	const char *state_dir;
	const char *certificate, *key; /* PEM files of the node */
};

/**
 * Appends an entry, durable when it returns. What a crash left of a line that was never finished is
 * cut off first; a finished line that the head does not know yet is kept and counted, and is this
 * entry's when it has its time, epoch_id and kind: then none is added. Signatures are not looked
 * at: the head vouches for what stands before it.
 * @param head   what the state database knows; receives the new head, to be stored there
 * @param entry  borrowed: an object without n, previous, key_before, public_key,
 *               signature
 * @return 0; -EUCLEAN when the file does not go on from the head (it was changed: `ledger verify`)
 */
int ledger_append(const struct ledger_place *place, struct ledger_head *head, const json_t *entry,
		  struct err *err);

struct ledger_report {
	uint64_t lines;
	bool good;
	uint64_t bad_line; /* the first; counts from 1; 0 when it is the file as a whole */
	char why[LEDGER_WHY_MAX];
};
/**
 * Checks every line: form, number, chain, signature, that a change of keys is a stated one, and the
 * head.
 * @param line  called for each line, with the object that it is (NULL: it is none; borrowed) and
 * what is wrong with it (NULL: nothing); may be NULL
 * @return 0 with *out; negative errno when the file cannot be read (no file and an empty head:
 * good)
 */
int ledger_verify(const struct ledger_place *place, const struct ledger_head *head,
		  void (*line)(void *owner, const json_t *entry, const char *why), void *owner,
		  struct ledger_report *out, struct err *err);

#endif
