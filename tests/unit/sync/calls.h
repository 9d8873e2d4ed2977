/* calls.h - the system calls that move names, set metadata and make things durable, and the
 * transactions between them, wrapped when a test program is linked (meson.build has the list):
 * noted in their order with what each concerns, and a place where a test can do what somebody else
 * would do meanwhile. Thread: one. */
#ifndef TESTS_CALLS_H
#define TESTS_CALLS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct call {
	const char *name; /* "fsync", "renameat2", "store_journal_begin", ... */
	ino_t ino;	  /* of what is synced or moved; 0: of nothing */
	char from[256];	  /* absolute path of what is synced, or moved from there; "" */
	char to[256];	  /* moved or made there */
};

void calls_note(void); /* from now on, beginning with none */
size_t
calls_noted(const struct call **out); /* ends the noting; valid until the next calls_note() */

/* `act` is called once: before or after the next call of that name whose path ends in `end`. */
void calls_meanwhile(const char *name, const char *end, bool after, void (*act)(void));
bool calls_happened(void); /* it was called; forgets it */

#endif
